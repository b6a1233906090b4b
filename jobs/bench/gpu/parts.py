"""The parts in order, each a process of its own with a limit; what is known is on disk after each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from finepseudo.bench.race import say
from jobs.bench.gpu.timing import Numbers, Row
from shards.files import write_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One process: its command, seconds after which it is ended, and modules without which it is left out."""

    command: Sequence[str]
    limit: float
    needs: Sequence[str] = ()

    def lacks(self) -> list[str]:
        """List what is not installed here."""
        return [name for name in self.needs if not installed(name)]


def installed(name: str) -> bool:
    """Tell whether a module can be found, without importing it."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package above it is missing
        return False


READING = ("av", "webdataset", "nvidia.dali")


def own_parts(tiny: bool) -> dict[str, Part]:
    """Return the parts of the command itself, the most valuable first."""
    limits = {"probe": 30, "pairs": 70, "classifier": 90, "training": 90}
    limits |= {"reading": 140, "alignment": 100, "encoders": 60}
    command = [sys.executable, "-m", "jobs.bench.gpu", *(["--tiny"] if tiny else []), "--one"]
    return {
        name: Part(command=[*command, name], limit=limit, needs=READING if name == "reading" else ())
        for name, limit in limits.items()
    }


def measure(name: str, tiny: bool) -> Iterator[Row]:
    """Run one part in this process, giving its rows as it measures them."""
    yield from import_module(f"jobs.bench.gpu.{name}").measure(tiny)


def run(parts: Mapping[str, Part], out: Path, budget: float) -> dict[str, Numbers]:
    """Run parts one after the other within `budget` seconds; keep results.json and the logs of those that failed."""
    out.mkdir(parents=True, exist_ok=True)
    end, results = time.monotonic() + budget, {"began": {"time": datetime.now(UTC).isoformat(timespec="seconds")}}
    results["began"]["device"] = described_device()
    for name, part in parts.items():
        limit = min(part.limit, end - time.monotonic())
        if lacks := part.lacks():
            results[name] = {"left out": f"not installed: {', '.join(lacks)}"}
        elif limit < 10:
            results[name] = {"left out": "no time left"}
        else:
            results[name] = _run_part(part, out / f"{name}.log", limit)
        write_bytes(out / "results.json", json.dumps(results, indent=1).encode())
        say(f"{name}: {json.dumps(results[name])[:700]}")
    return results


def described_device() -> str:
    """Name the GPU, its driver and the versions that figures depend on, without starting torch."""
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        told = "no GPU"
    device = told.strip().replace(", ", ", driver ")
    return ", ".join([device, *(f"{name} {version(name)}" for name in ("torch", "triton") if installed(name))])


def _run_part(part: Part, log: Path, limit: float) -> Numbers:
    start = time.monotonic()
    with log.open("wb") as sink:
        child = subprocess.Popen(part.command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = child.wait(limit)
        except subprocess.TimeoutExpired:
            code = 124
        finally:  # and what it has started, or that would be on the device beside the next part
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    result: Numbers = {"code": code, "s": round(time.monotonic() - start, 1)}
    if found := _rows(lines):
        result["found"] = found
    if code == 0:
        log.unlink()
    else:
        result["last line"] = lines[-1][-300:]
    return result


def _rows(lines: Sequence[str]) -> Numbers:
    """Collect the rows among the lines that a part has printed: JSON objects."""
    found: Numbers = {}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found |= row if isinstance(row, dict) else {}
    return found
