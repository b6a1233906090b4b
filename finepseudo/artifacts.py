"""Files of a run that other processes may read: hashes, DONE records, the layout of a run folder.

Every file is written as `shards.files` does it: a reader, or the same command after a kill, sees the old file or the
new one, never a part of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards import files
from shards.errors import UserError
from shards.files import TEMPORARY_SUFFIX, atomic

DONE = "DONE.json"
STARTED = "STARTED.json"

Json = Any
"""What a JSON file can hold."""

_hashes: dict[tuple[str, int, int, int], str] = {}


def sha256_file(path: Path) -> str:
    """Hash a file's bytes; the value is kept for as long as size, inode and modification time stay."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _hashes:
        _hashes[key] = files.sha256_file(path)
    return _hashes[key]


def sha256_json(value: Json) -> str:
    """Hash a JSON-able value by its canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Json) -> None:
    """Write JSON atomically, indented, keys in the given order."""
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def read_json(path: Path) -> Json:
    """Read a JSON file; a damaged one is the user's business, in one line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it and type the same command again") from error


def write_table(path: Path, table: pa.Table) -> None:
    """Write a parquet table atomically; equal tables give equal bytes."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What decides whether a stage is done.

    kind: what it does (`embeddings`); folder: where it writes; config: the part of the configuration its results
    depend on; inputs: DONE records of earlier stages, or files from outside; outputs: patterns below `folder` of the
    files that are hashed into the record; scratch: patterns of what else it may leave there (checkpoints, logs).
    """

    kind: str
    folder: Path
    config: Mapping[str, Any]
    inputs: Mapping[str, Path]
    outputs: Sequence[str]
    scratch: Sequence[str] = ()

    @property
    def record(self) -> Path:
        """The DONE record."""
        return self.folder / DONE

    def missing(self) -> list[Path]:
        """List the inputs that do not exist yet."""
        return [path for path in self.inputs.values() if not path.exists()]

    def key(self) -> dict[str, Any]:
        """Hash the configuration part and every input. All inputs must exist."""
        inputs = {name: _input_hash(path) for name, path in sorted(self.inputs.items())}
        return {"stage": self.kind, "config_sha256": sha256_json(self.config), "inputs": inputs}


def _input_hash(path: Path) -> str:
    """Hash what an earlier stage has written, not when it did so; a file from outside by its bytes."""
    return sha256_json(read_json(path)["outputs"]) if path.name == DONE else sha256_file(path)


def _matches(path: Path, key: Mapping[str, Any]) -> bool:
    if not path.exists():
        return False
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(record, dict) and all(record.get(name) == value for name, value in key.items())


def _output_files(stage: Stage) -> dict[str, Path]:
    found = (path for pattern in stage.outputs for path in sorted(stage.folder.glob(pattern)))
    return {path.relative_to(stage.folder).as_posix(): path for path in found if path.is_file()}


def hash_outputs(stage: Stage) -> dict[str, str]:
    """Hash what a stage has written; `UserError` when one of its outputs is missing."""
    for pattern in stage.outputs:
        if not any(stage.folder.glob(pattern)):
            raise UserError(f"{stage.folder}: {stage.kind} ended without {pattern}; type the same command again")
    return {name: sha256_file(path) for name, path in _output_files(stage).items()}


def is_done(stage: Stage) -> bool:
    """Tell whether the DONE record exists and still matches configuration, inputs and outputs."""
    if stage.missing() or not _matches(stage.record, stage.key()):
        return False
    recorded, present = read_json(stage.record)["outputs"], _output_files(stage)
    return set(recorded) == set(present) and all(sha256_file(present[name]) == sha for name, sha in recorded.items())


def is_started(stage: Stage) -> bool:
    """Tell whether a run of exactly this stage was begun and may go on."""
    return not stage.missing() and _matches(stage.folder / STARTED, stage.key())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def begin(stage: Stage) -> bool:
    """Make the folder ready to run the stage; return True when a started run of exactly this stage may go on.

    Whatever belongs to another configuration or other inputs is removed first, its DONE record before all else.
    """
    key = stage.key()
    stage.record.unlink(missing_ok=True)
    if _matches(stage.folder / STARTED, key):
        return True
    (stage.folder / STARTED).unlink(missing_ok=True)
    for pattern in (*stage.outputs, *stage.scratch, f".*{TEMPORARY_SUFFIX}"):
        for path in sorted(stage.folder.glob(pattern)):
            _remove(path)
    write_json(stage.folder / STARTED, key)
    return False


def finish(stage: Stage, *, wall_s: float, code_version: str) -> None:
    """Write the DONE record: the last thing a stage does."""
    record = {**stage.key(), "outputs": hash_outputs(stage), "code_version": code_version, "wall_s": round(wall_s, 3)}
    write_json(stage.record, {**record, "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
    (stage.folder / STARTED).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where the files of one run are (README: "What you get")."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.yaml"

    @property
    def clips(self) -> Path:
        """Every clip of the data set that can be used."""
        return self.root / "data" / "clips.parquet"

    @property
    def data(self) -> Path:
        """Clip table, quarantine and shards."""
        return self.root / "data"

    @property
    def quarantine(self) -> Path:
        """Clips that cannot be used, with the reason."""
        return self.root / "data" / "quarantine.parquet"

    @property
    def shards(self) -> Path:
        """Tar shards, index, manifest."""
        return self.root / "data" / "shards"

    @property
    def metrics(self) -> Path:
        """Every curve, one JSON object a line."""
        return self.root / "metrics.jsonl"

    def seed(self, seed: int) -> Path:
        """Everything that depends on one label draw."""
        return self.root / f"seed-{seed}"

    def split(self, seed: int) -> Path:
        """Who is labelled."""
        return self.seed(seed) / "split.parquet"

    def round(self, seed: int, strategy: str | None, number: int) -> Path:
        """One round; round 0 of the encoders (strategy None) is shared by all strategies of a seed."""
        base = self.seed(seed) if strategy is None else self.seed(seed) / strategy
        return base / f"round-{number:02d}"

    def evaluation(self, seed: int, strategy: str) -> Path:
        """Test results of one strategy."""
        return self.seed(seed) / strategy / "evaluation"


def code_version(packages: Sequence[Path]) -> str:
    """Identify the code that runs: the version and a hash of the packages' source files."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    try:
        version = metadata.version("finepseudo")
    except metadata.PackageNotFoundError:
        version = "source"
    return f"{version}+{digest.hexdigest()[:12]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """On what a run ran."""

    code_version: str
    python: str
    platform: str
    host: str
    cpus: int
    device: str
    packages: Mapping[str, str]
    command: Sequence[str]


def environment(code: str, device: str) -> dict[str, Any]:
    """Describe this machine and the versions of what decides the numbers."""
    names = ("torch", "torchvision", "numpy", "pyarrow", "ray", "av", "webdataset", "nvidia-dali-cuda120", "submitit")
    versions = {name: _version(name) for name in names}
    return asdict(
        Environment(
            code_version=code,
            python=platform.python_version(),
            platform=platform.platform(),
            host=platform.node(),
            cpus=os.cpu_count() or 1,
            device=device,
            packages={name: version for name, version in versions.items() if version},
            command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        )
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
