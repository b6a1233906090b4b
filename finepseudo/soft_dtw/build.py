"""Builds the CPU kernels on first use: a few seconds of g++, then a shared object in the user's cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

SOURCES = ("kernel.cpp", "table.h", "tiles.h", "lanes.h")
COMMON = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-ffp-contract=off", "-Wno-psabi")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
ISA_FLAGS: dict[str, tuple[str, ...]] = {
    "amx": (*AVX512, "-mamx-tile", "-mamx-bf16"),
    "avx512bf16": (*AVX512, "-mavx512bf16"),
    "avx512": AVX512,
    "avx2": ("-mavx2", "-mfma"),
    "baseline": (),
}
"""Compiler flags of each instruction set, best first."""
AVX512_NEEDS = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
ISA_NEEDS: dict[str, frozenset[str]] = {
    "amx": AVX512_NEEDS | {"amx_tile", "amx_bf16"},
    "avx512bf16": AVX512_NEEDS | {"avx512_bf16"},
    "avx512": AVX512_NEEDS,
    "avx2": frozenset({"avx2", "fma"}),
    "baseline": frozenset(),
}
"""Processor features, as /proc/cpuinfo names them, that each needs."""


class BuildError(Exception):
    """The kernels cannot be built here; the message says why."""


@functools.cache
def processor_features() -> frozenset[str]:
    """Return the feature flags of this machine's processor (none where /proc/cpuinfo does not exist)."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())


@functools.cache
def isas() -> tuple[str, ...]:
    """Name the instruction sets this processor has, best first."""
    found = (name for name, needs in ISA_NEEDS.items() if needs <= processor_features())
    return tuple(name for name in found if name != "amx" or _may_use_tiles())


def _may_use_tiles() -> bool:
    """Ask Linux for the state of the matrix unit's tiles, which a process gets on request only (arch_prctl)."""
    arch_prctl, request, tile_data = 158, 0x1023, 18
    return bool(ctypes.CDLL(None).syscall(arch_prctl, request, tile_data) == 0)


def compiler() -> tuple[str, ...]:
    """Return the command of the C++ compiler: $CXX, else g++, c++ or clang++. Raises BuildError without one."""
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [["g++"], ["c++"], ["clang++"]]:
        if shutil.which(command[0]):
            return tuple(command)
    raise BuildError(f"no C++ compiler ({' '.join(named) or 'g++, c++, clang++'}) on PATH")


def cache_folder() -> Path:
    """Return where the objects are kept: $XDG_CACHE_HOME/finepseudo, by default ~/.cache/finepseudo."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finepseudo"


def object_name(isa: str) -> str:
    """Name the object after everything it depends on: sources, compiler and its version, flags, machine."""
    version = subprocess.run([*compiler(), "--version"], capture_output=True, check=False).stdout
    digest = hashlib.sha256()
    for part in (*(Path(__file__).with_name(name).read_bytes() for name in SOURCES), version):
        digest.update(hashlib.sha256(part).digest())
    digest.update(repr((compiler(), COMMON, ISA_FLAGS[isa], platform.machine())).encode())
    return f"soft_dtw-{isa}-{digest.hexdigest()[:24]}.so"


def build(isa: str) -> Path:
    """Return the shared object for an instruction set, compiling it if the cache lacks it.

    Compiles to a name of its own and renames, so processes that build at once do not disturb each other. A cache
    that cannot be written is replaced by a private temporary folder. Raises BuildError with the compiler's words.
    """
    name, folder = object_name(isa), cache_folder()
    if (folder / name).is_file():
        return folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
    except OSError as error:
        folder = Path(tempfile.mkdtemp(prefix="finepseudo-"))
        warnings.warn(f"{cache_folder()} cannot be written ({error}); kernels are built into {folder}")
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
    os.close(handle)
    source = Path(__file__).with_name("kernel.cpp")
    command = [*compiler(), *COMMON, *ISA_FLAGS[isa], str(source), "-o", temporary]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        Path(temporary).unlink()
        raise BuildError(f"{shlex.join(command)} failed: {done.stderr.strip()[-2000:]}")
    Path(temporary).replace(folder / name)
    return folder / name


@functools.cache
def library(isa: str) -> ctypes.CDLL:
    """Load (building it first if need be) the kernels of an instruction set, with their argument types declared."""
    try:
        found = ctypes.CDLL(str(build(isa)))
    except OSError as error:
        raise BuildError(f"cannot load the kernels: {error}") from error
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    sides: tuple[type, ...] = (pointer, pointer, integer, integer, integer, pointer, pointer, integer, integer)
    found.soft_dtw_lanes.restype = integer
    found.soft_dtw_probe.restype, found.soft_dtw_probe.argtypes = integer, [integer, pointer]
    found.soft_dtw_forward.argtypes = [
        *(*sides, integer, ctypes.c_double, ctypes.c_int, ctypes.c_int, pointer, pointer, integer),
    ]
    found.soft_dtw_backward.argtypes = [
        *(*sides, ctypes.c_double, pointer, pointer, integer, integer, pointer, pointer, integer),
    ]
    return found
