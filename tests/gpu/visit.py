"""One visit to a machine with a GPU: the GPU tests and the parts of `finepseudo bench gpu`, what has no figure first.

    python -m tests.gpu.visit [--out DIR] [--device cpu] [CALL | PART ...] [--budget S]
    python -m tests.gpu.visit --table DIR/results.json          the rows for RESULTS.md

Each part is a process with a limit; results.json is rewritten after each. `--device cpu` rehearses it without a GPU:
tests are skipped and figures mean nothing. RESULTS.md says how a visit goes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.bench.gpu.parts import READING, Part, installed, own_parts, run

DEVICE_S, COMMAND_S = 900, 600
"""Seconds that a visit may take, and a command of it."""
START_S, TRANSFER_S, UNPACK_S = 90, 20, 30
"""Seconds that the machine takes to start, a transfer there and back, and `unpack.sh`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One command on the machine: parts in order, and seconds for all of them together."""

    parts: Sequence[str]
    budget: float


CALLS = {
    "first": Call(parts=("pairs", "classifier", "training"), budget=250),
    "second": Call(
        parts=(
            *("test-ray", "reading", "test-kernels", "test-stages"),
            *("test-norm", "alignment", "probe", "encoders"),
        ),
        budget=480,
    ),
}
"""The first needs nothing but what is on the machine (RESULTS.md); each has first what no visit has measured yet."""
NEW = ("pairs", "classifier", "training", "test-ray", "reading")
"""Parts whose figures are missing in RESULTS.md: time suffices for them even where each runs into its limit."""
TESTS = {
    "test-norm": ("test_batch_norm.py", "test_steps.py"),
    "test-kernels": ("test_soft_dtw.py",),
    "test-stages": ("test_reader.py", "test_run.py"),
    "test-ray": ("test_run.py",),
}
LIMITS = {"test-norm": 60, "test-kernels": 100, "test-stages": 90, "test-ray": 300}
"""Seconds; kernels are compiled in many processes at once, and two runs under Ray go side by side."""
NEEDS = {"test-stages": READING, "test-ray": (*READING, "ray")}


def parts(out: Path, tiny: bool) -> dict[str, Part]:
    """Return every part of a visit."""
    return own_parts(tiny) | {name: test_part(name, out) for name in TESTS}


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
    device, date = results["began"]["device"], str(results["began"]["time"])[:10]
    for part, result in results.items():
        found = result.get("found", result.get("last line", result.get("left out")))
        items = found.items() if isinstance(found, dict) else [("", found)] if found else []
        for what, value in items:
            yield f"| {part} {what} | {written(value)} | {device} | `{command} {part}` | {date} |"


def written(value: object) -> str:
    """Write a figure with four digits, a mapping as its parts."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {written(inner)}" for name, inner in value.items())
    return str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    named = ", ".join([*CALLS, *parts(Path(), tiny=True)])
    parser.add_argument("part", nargs="*", help=f"one call or some parts of {named} (default: all parts)")
    parser.add_argument("--out", type=Path, default=Path("gpu-visit"))
    parser.add_argument("--budget", type=float, metavar="S", help="seconds for all parts (default: the call's)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--table", type=Path, metavar="FILE")
    told = parser.parse_args()
    if told.table:
        print("\n".join(rows(json.loads(told.table.read_text()), "python -m tests.gpu.visit")))
        return 0
    names = told.part or list(dict.fromkeys(name for call in CALLS.values() for name in call.parts))
    budget = sum(call.budget for call in CALLS.values())
    if len(names) == 1 and names[0] in CALLS:
        names, budget = CALLS[names[0]].parts, CALLS[names[0]].budget
    known = parts(told.out, told.device == "cpu")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"{unknown[0]}: no such part or call; known: {named}")
    results = run({name: known[name] for name in names}, told.out, told.budget or budget)
    return int(any(result.get("code", 0) for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
