"""From the notice that a run must stop to its end: the recipe `smoke`, stopped again and again, wherever it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

STEP_S = 7.0
SPREAD = 0.618
"""Seconds that a run goes on before its notice: STEP_S more than the last one by turns, spread by the golden ratio."""
LIMIT_S = 120.0
"""What Slurm gives (`--signal=B:USR1@120`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """One notice: what the run was doing, seconds to its end, how it ended (75: stopped, the same command goes on)."""

    doing: str
    seconds: float
    code: int


def notices(folder: Path, count: int, longest_s: float) -> list[Notice]:
    """Start the recipe, give it notice after some seconds, start it again; a new run where one is finished."""
    found: list[Notice] = []
    run, turn = 0, 0
    while len(found) < count:
        turn += 1
        after = 2 + (longest_s - 2) * (turn * SPREAD % 1)
        one = notice_after(folder / f"run{run}", after)
        if one is None:
            run += 1
        else:
            found.append(one)
    return found


def notice_after(folder: Path, seconds: float) -> Notice | None:
    """Start or continue the run and give it notice after some seconds; None where it was finished before."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    log.write_bytes(b"")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-m", "jobs", "run", "--recipe", "smoke", f"out={folder}"]
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        else:
            if process.returncode:
                raise RuntimeError(f"the recipe smoke failed: {log.read_text(errors='replace')[-2000:]}")
            return None
        told = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        began = time.monotonic()
        process.send_signal(signal.SIGUSR1)
        code = process.wait()
    return Notice(doing=(told or ["starting"])[-1], seconds=time.monotonic() - began, code=code)
