"""One visit to a machine with a GPU: the GPU tests and the parts of `finepseudo bench gpu`, most valuable first.

    python -m tests.gpu.visit [--out DIR] [--budget S] [--device cpu] [PART ...]
    python -m tests.gpu.visit --table DIR/results.json          the rows for RESULTS.md

Each part is a process with a limit; results.json is rewritten after each. `--device cpu` rehearses it without a GPU:
tests are skipped and figures mean nothing. RESULTS.md says how a visit goes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from jobs.bench.gpu.parts import READING, Part, installed, own_parts, run

ORDER = (
    "probe",
    "test-norm",
    "test-kernels",
    "alignment",
    "training",
    "encoders",
    "test-ray",
    "reading",
    "test-stages",
)
"""The first six need nothing but what is on the machine (RESULTS.md); what failed on the visit before comes early."""
TESTS = {
    "test-norm": ("test_batch_norm.py", "test_steps.py"),
    "test-kernels": ("test_soft_dtw.py",),
    "test-stages": ("test_reader.py", "test_run.py"),
    "test-ray": ("test_run.py",),
}
LIMITS = {"test-norm": 60, "test-kernels": 100, "test-stages": 90, "test-ray": 240}
"""Seconds; kernels are compiled in many processes at once, and a run under Ray begins with 40 s of its start."""
NEEDS = {"test-stages": READING, "test-ray": (*READING, "ray")}


def parts(out: Path, tiny: bool) -> dict[str, Part]:
    """Return every part of a visit in order."""
    known = own_parts(tiny) | {name: test_part(name, out) for name in TESTS}
    return {name: known[name] for name in ORDER}


def test_part(name: str, out: Path) -> Part:
    """Run files of GPU tests; those of kernels in many processes where pytest-xdist is there."""
    options = ["-n", str(min(12, os.cpu_count() or 1))] if name == "test-kernels" and installed("xdist") else []
    options += ["-m", "ray" if name == "test-ray" else "not ray"]
    files = [f"tests/gpu/{file}" for file in TESTS[name]]
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *files]
    report = f"--junit-xml={out / f'{name}.xml'}"
    return Part(command=[*command, *options, report], limit=LIMITS[name], needs=NEEDS.get(name, ()))


def rows(results: Mapping[str, Mapping[str, object]], command: str) -> Iterator[str]:
    """Write the rows of RESULTS.md: what, figure, device, command, date."""
    probe = results["probe"].get("found", {})
    assert isinstance(probe, dict)
    device = f"{probe.get('gpu', 'no GPU')}, torch {probe.get('versions', {}).get('torch')}"
    date = str(results["began"]["time"])[:10]
    for part, result in results.items():
        found = result.get("found", result.get("last line", result.get("left out")))
        items = found.items() if isinstance(found, dict) else [("", found)] if found else []
        for what, value in items:
            yield f"| {part} {what} | {written(value)} | {device} | `{command}` | {date} |"


def written(value: object) -> str:
    """Write a figure with four digits, a mapping as its parts."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {written(inner)}" for name, inner in value.items())
    return str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help=f"{', '.join(ORDER)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path("gpu-visit"))
    parser.add_argument("--budget", type=float, default=540, metavar="S")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--table", type=Path, metavar="FILE")
    told = parser.parse_args()
    if told.table:
        print("\n".join(rows(json.loads(told.table.read_text()), "python -m tests.gpu.visit")))
        return 0
    known = parts(told.out, told.device == "cpu")
    results = run({name: known[name] for name in told.part or ORDER}, told.out, told.budget)
    return int(any(result.get("code", 0) for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
