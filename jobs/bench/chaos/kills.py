"""Kills and stops over a real Ray: its processes, the driver's and the whole job's, then the same command again.

Processes are found by their parents alone: this process adopts what a killed one leaves behind, so nobody else's Ray is
ever looked at.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

from finepseudo.bench.race import say
from jobs.bench.chaos.commands import Ended, line
from jobs.bench.chaos.folders import Whole
from jobs.bench.chaos.trials import Trial, Trials

TRAINING, MAPPING = "RayTrainWorker", "MapWorker("
"""What the titles of processes hold that do a stage's work: ranks of Ray Train, actors of Ray Data."""
WORKERS = {
    **dict.fromkeys(("action_encoder", "frame_encoder"), TRAINING),
    **dict.fromkeys(("embeddings", "scores", "evaluation", "votes"), MAPPING),
}
"""Stages that are disturbed, by the name of their folder, and who works there."""
LIMIT_S, LEFT_S = 900.0, 30.0
"""A command that takes longer hangs; processes of one that has ended may be there for so long."""
SPREAD_S, STOPPED_S, LOOK_S = 4.0, 5.0, 0.05
"""A blow falls up to so long after a worker of the stage was seen; a stopped process sleeps; looks for processes."""
ROOT = Path(__file__).parents[3]
_FOLDER = re.compile(r"/tmp/fpray-\w+")  # noqa: S108 - where a local Ray has its files
_ADOPTS = 36


@dataclass(frozen=True, slots=True)
class Victim:
    """Who is struck. title: what its command line holds, nothing for the driver; job: everything of the command.

    where: who works in the stages that have such a process, if not all have.
    """

    name: str
    title: str = ""
    where: str = ""
    job: bool = False

    def can_be_in(self, stage: str) -> bool:
        """Tell whether a stage has such a process."""
        worker = WORKERS.get(Path(stage).name, "")
        return bool(worker) and self.where in worker


VICTIMS = (
    Victim("worker of Ray Train", TRAINING, TRAINING),
    Victim("controller of Ray Train", "ray::TrainController", TRAINING),
    Victim("actor of Ray Data", MAPPING, MAPPING),
    Victim("raylet", "raylet/raylet"),
    Victim("GCS", "gcs/gcs_server"),
    Victim("driver"),
    Victim("whole job", job=True),
)


@dataclass
class Blow:
    """Who is struck and how, how long after a process was seen; whether it fell, and Ray's folders when it did."""

    victim: Victim
    how: str
    seen: str
    wait_s: float
    draw: random.Random
    fallen: bool = False
    folders: set[str] = field(default_factory=set)

    def fall(self, command: subprocess.Popen[bytes]) -> None:
        """Wait for the moment, then strike; nothing where the command ends first."""
        if not _until(command, lambda: any(self.seen in title for title in below(command.pid).values())):
            return
        time.sleep(self.wait_s)
        there = below(command.pid)
        self.folders.update(name for title in there.values() for name in _FOLDER.findall(title))
        found = [pid for pid, title in sorted(there.items()) if self.victim.title in title]
        if self.victim.job:
            found = [command.pid, *found]
        elif not self.victim.title:
            found = [command.pid]
        elif found:
            found = [self.draw.choice(found)]
        if command.poll() is None and found:
            self.fallen = True
            self._strike(found)

    def _strike(self, found: Sequence[int]) -> None:
        for number in (signal.SIGKILL,) if self.how == "kill" else (signal.SIGSTOP, signal.SIGCONT):
            if number == signal.SIGCONT:
                time.sleep(STOPPED_S)
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)


def below(process: int) -> dict[int, str]:
    """List the living processes below one, with their command lines."""
    rows: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if state != "Z":
                rows[int(entry.name)] = int(parent), title
    found = {process}
    while more := {pid for pid, (parent, _) in rows.items() if parent in found} - found:
        found |= more
    return {pid: rows[pid][1] for pid in found - {process} if pid in rows}


def _until(command: subprocess.Popen[bytes], true: Callable[[], bool]) -> bool:
    """Wait until something is true; False where the command ends before."""
    while command.poll() is None:
        if true():
            return True
        time.sleep(LOOK_S)
    return False


def call(argv: Sequence[str], place: Path, blow: Blow | None = None) -> Ended:
    """Call the command line over a local Ray of its own, and strike."""
    ctypes.CDLL(None).prctl(_ADOPTS, 1)
    others = set(below(os.getpid()))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    out, err = place / "said", place / "errors"
    with out.open("wb") as one, err.open("wb") as two:
        command = subprocess.Popen(
            [sys.executable, "-m", "jobs", *argv],
            env=environment,
            stdout=one,
            stderr=two,
            cwd=ROOT,
            start_new_session=True,
        )
        if blow:
            blow.fall(command)
        try:
            code = command.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            command.kill()
            code = command.wait() and 124
    seconds = time.perf_counter() - started
    left = _left(others)
    return Ended(code, *(path.read_text(errors="replace") for path in (out, err)), seconds, left)


def _left(others: set[int]) -> tuple[int, ...]:
    """List, and end, what a command has left running."""
    until = time.monotonic() + LEFT_S
    while (found := {p: t for p, t in below(os.getpid()).items() if p not in others}) and time.monotonic() < until:
        time.sleep(LOOK_S)
    for pid, title in found.items():
        say(f"     left: {pid} {title[:200]}")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return tuple(found)


class Kills(Trials):
    """Trials over a real Ray, beside an undisturbed run over one, which is that over the stand-in bit for bit."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Make the undisturbed runs in a folder, which is the bench's own; those that are there are taken."""
        folder = folder.resolve()  # commands are called in another one
        super().__init__(folder, seed)
        ray, start = folder / "ray", folder / "ray_start_s"
        if not ray.exists():
            self._fresh()
            ended = call(line("run", self.place), self.place)
            said = self.whole.differences(self.run)
            if ended.code or said:
                raise RuntimeError(f"an undisturbed run over Ray ends with {ended.code}: {said} {ended.err[-2000:]}")
            whole = Whole(self.run, self.whole.volatile)
            start.write_text(f"{ended.seconds - whole.seconds_after(0.0):.1f}")
            shutil.copytree(self.run, ray)
        self.whole = Whole(ray, self.whole.volatile)
        self.start_s = float(start.read_text())

    def disturb(self, victim: Victim, how: str) -> Trial:
        """Strike in the middle of a stage, in the second half; begin where the stage begins."""
        stages = self.whole.stages()
        stages = stages[len(stages) // 2 - 1 :]
        begins = [(before, str(p)) for (before, _), (_, p) in pairwise(stages) if victim.can_be_in(str(p))]
        moment, stage = self.rng.choice(begins)
        trial = Trial(kind=f"{how}: {victim.name}", point=f"real Ray: {stage}")
        trial.undisturbed = self.begin(moment) + self.start_s
        blow = Blow(victim, how, WORKERS[Path(stage).name], self.rng.uniform(0, SPREAD_S), self.rng)
        first = call(line("run", self.place), self.place, blow)
        trial.struck, trial.seconds = blow.fallen, first.seconds
        trial.problems += judge(victim, how, first)
        if first.code:
            second = call(line("run", self.place), self.place)
            trial.seconds += second.seconds
            if second.code or second.crashed or second.left:
                trial.problems.append(f"the same command ends with {second.code}: {second.err[-600:]}")
        trial.problems += self.whole.differences(self.run)
        trial.problems += [f"{name} is left" for name in sorted(blow.folders) if Path(name).exists()]
        return trial

    def kinds(self) -> list[Callable[[], Trial]]:
        """List every kind of process, killed and stopped for a while."""
        return [partial(self.disturb, victim, how) for victim in VICTIMS for how in ("kill", "stop")]


def judge(victim: Victim, how: str, ended: Ended) -> list[str]:
    """Say what is wrong with how a struck command ended."""
    said = f"ends with {ended.code}: {ended.err[-600:]}"
    own = how == "kill" and (victim.job or not victim.title)
    fine = ended.code == 0 or (ended.code == -signal.SIGKILL if own else ended.code == 75 or bool(ended.refusal))
    trace = "Traceback (most recent call last)" in ended.err
    return [said] * (not fine or trace) + [f"left processes {ended.left}"] * bool(ended.left)
