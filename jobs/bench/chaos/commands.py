"""Commands that may be disturbed: each in a process of its own, with what it said, how it ended and what it left."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.bench.chaos.points import Fault, clock_back, die_with_parent, watch
from shards.errors import UserError

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["jobs.bench.chaos.one_process", "jobs.pipeline.runner", "jobs.cli.run"])
LIMIT_S = 300.0
"""A command that takes longer hangs."""
LEFT_S = 5.0
"""Processes of a command that has ended may be there for so long."""
QUICK = (
    "methods=[finepseudo]",
    "method.finepseudo.theta=0.2",
    "data.synthetic.train_per_class=4",
    "data.synthetic.test_per_class=2",
    "split.ratio=0.5",
    "shards.clips_per_shard=10",
    "pretrain.train.steps=4",
    "pretrain.train.log_every=2",
    "pretrain.train.checkpoint_every=2",
    "frame_stage.train.steps=4",
    "frame_stage.train.log_every=2",
    "frame_stage.train.checkpoint_every=2",
    "frame_stage.self_train.steps=2",
    "frame_stage.self_train.checkpoint_every=1",
    "action_stage.train.steps=6",
    "action_stage.train.log_every=2",
    "action_stage.train.checkpoint_every=2",
    "action_stage.self_train.steps=2",
    "action_stage.self_train.checkpoint_every=1",
    "embed.chunk=4",
    "evaluate.chunk=4",
    "resources.workers=2",
    "resources.write_tasks=0",
    "resources.parallel_encoders=false",
)
"""What makes the recipe `smoke` a matter of seconds, with two ranks."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a command is disturbed: points are logged, a fault strikes, storage is slow, the clock goes a day behind."""

    log: Path | None = None
    fault: Fault | None = None
    slow: bool = False
    clock: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a command. code: as a shell has it, negative for a signal; left: processes that outlived it."""

    code: int
    out: str
    err: str
    seconds: float
    left: tuple[int, ...] = ()

    @property
    def crashed(self) -> bool:
        """Tell whether it ended in a trace in place of a line."""
        return "Traceback (most recent call last)" in self.err or (self.code > 0 and self.code not in (2, 75))

    @property
    def refusal(self) -> str:
        """The line that it was refused with; empty where there is none, or more than one."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return lines[0] if self.code == UserError.exit_code and len(lines) == 1 and not self.crashed else ""


def line(command: str, place: Path, *more: str) -> list[str]:
    """Write the command line of a quick run below a folder."""
    return [command, "--recipe", "smoke", f"out={place / 'out'}", *QUICK, *more]


def call(argv: Sequence[str], place: Path, told: Told | None = None) -> Ended:
    """Call the command line over the stand-in for Ray, the runs of which lie in `place/out`."""
    said = [place / "said", place / "errors"]
    started = time.perf_counter()
    child = CHILDREN.Process(target=_child, args=(list(argv), place / "out", told or Told(), said))
    child.start()
    child.join(LIMIT_S)
    if child.exitcode is None:
        child.kill()
        child.join()
        return Ended(124, "", "it hangs", time.perf_counter() - started, _left(child.pid))
    out, err = (path.read_text(errors="replace") if path.exists() else "" for path in said)
    return Ended(child.exitcode, out, err, time.perf_counter() - started, _left(child.pid))


def _child(argv: list[str], folder: Path, told: Told, said: Sequence[Path]) -> None:
    os.setsid()
    die_with_parent()
    for number, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    from jobs.bench.chaos.one_process import stand_in

    stand_in()
    folder.mkdir(parents=True, exist_ok=True)
    watch(folder, log=told.log, fault=told.fault, slow=told.slow)
    if told.clock:
        clock_back()
    sys.argv = ["finepseudo", *argv]
    runpy.run_module("jobs", run_name="__main__")  # the program is above its benchmarks, so it is started, not imported


def _left(session: int | None) -> tuple[int, ...]:
    """List, and end, the processes of a session whose command has ended."""
    until = time.monotonic() + LEFT_S
    while (found := _of_session(session)) and time.monotonic() < until:
        time.sleep(0.05)
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return tuple(found)


def _of_session(session: int | None) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                found.append(int(entry.name))
    return found
