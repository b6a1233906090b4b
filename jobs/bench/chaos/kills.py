"""Parts of a real Ray that are killed or stopped in the middle of a run, which stands beside the undisturbed one."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from jobs.bench.chaos.commands import Ended, line
from jobs.bench.chaos.trials import Trial, Trials
from jobs.cluster.temp_folder import PLACE, PREFIX

VICTIMS = {
    "Train worker": "ray::RayTrainWorker",
    "Train controller": "ray::TrainController",
    "Data actor": "ray::MapWorker",
    "raylet": "raylet/raylet",
    "GCS": "gcs/gcs_server",
    "driver": "",
}
"""How a part of Ray is named in the list of processes."""
LIMIT_S, LEFT_S, POLL_S, STOPPED_S = 400.0, 15.0, 0.1, 3.0
FOLDER = re.compile(rf"{PLACE}/{PREFIX}[^/ ]+")
WORKERS = ("ray::RayTrainWorker", "ray::MapWorker")
Tree = dict[int, tuple[int, str, str]]
"""Process id -> parent, time of start, command line."""


def kinds(trials: Trials) -> list[Callable[[], Trial]]:
    """List each part once killed, and the workers and the driver once stopped for a while."""
    killed = [partial(disturb, trials, name, signal.SIGKILL) for name in (*VICTIMS, "whole job")]
    return [*killed, *[partial(disturb, trials, name, signal.SIGSTOP) for name in ("Train worker", "raylet", "driver")]]


def disturb(trials: Trials, victim: str, number: int) -> Trial:
    """Kill or stop a part while it works, then type the same command until the run is done."""
    kind = f"{victim} {'killed' if number == signal.SIGKILL else f'stopped for {STOPPED_S:g} s'}"
    training = "embeddings" if victim == "Data actor" else "action_encoder"
    start = _before(trials, f"seed-0/finepseudo/round-01/{training}")
    trial = Trial(kind=kind, point=f"in {training}", undisturbed=trials.begin(start))
    command = Command(trials.place)
    trial.struck = command.strike(victim, number, trials.rng)
    first, folders = command.end(), command.folders()
    trial.seconds = first.seconds
    if not trial.struck and first.code == 0:
        return trial
    trial.problems += _judge(first)
    for _ in range(2):
        if first.code == 0:
            break
        trial.refused = first.refusal or trial.refused
        command = Command(trials.place)
        first = command.end()
        folders |= command.folders()
        trial.seconds += first.seconds
    if first.code:
        trial.problems.append(f"the same command ends with {first.code}: {first.err[-600:]}")
    trial.problems += trials.whole.differences(trials.run)
    trial.problems += [f"{folder} is left" for folder in sorted(folders) if Path(folder).exists()]
    return trial


def _before(trials: Trials, stage: str) -> float:
    """Give the moment before a stage of the undisturbed run."""
    stages = trials.whole.stages()
    place = next(i for i, (_, path) in enumerate(stages) if path.as_posix() == stage)
    return stages[place - 1][0]


def _judge(ended: Ended) -> list[str]:
    """Say what is wrong with how a disturbed command ended: without a word, with a trace, or leaving processes."""
    told = any(row.startswith(("error: ", "Ray ended")) for row in ended.err.splitlines())
    good = ended.code in (0, 75) or ended.code < 0 or told
    said = [] if good and "Traceback" not in ended.err else [f"ends with {ended.code}: {ended.err[-600:]}"]
    return said + [f"left processes {ended.left}"] * bool(ended.left)


class Command:
    """A run over a real, local Ray, and every process that it has had."""

    def __init__(self, place: Path) -> None:
        """Start it."""
        self.said = [place / "said", place / "errors"]
        told = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        paths = [str(Path(__file__).parents[3]), *told.get("PYTHONPATH", "").split(os.pathsep)]
        told |= {"PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, paths))), "OMP_NUM_THREADS": "1"}
        argv = [sys.executable, "-m", "jobs", *line("run", place)]
        self.started = time.perf_counter()
        with self.said[0].open("wb") as out, self.said[1].open("wb") as err:
            self.process = subprocess.Popen(argv, env=told, stdout=out, stderr=err, start_new_session=True)
        self.tree: Tree = {}

    def strike(self, victim: str, number: int, rng: random.Random) -> bool:
        """Wait until the part works, then strike it; False where the command ended before."""
        name = VICTIMS.get(victim, "")
        while self._look() and not (any(map(self._named, WORKERS)) and self._named(name)):
            time.sleep(POLL_S)
        time.sleep(rng.uniform(0, 4))
        found = sorted(self._named(name)) if self._look() else []
        if victim == "whole job":
            found = [pid for pid in self.tree if _alive(pid, self.tree[pid])]
        if not found:
            return False
        struck = found if victim == "whole job" else [rng.choice(found)]
        for process in struck:
            with suppress(ProcessLookupError):
                os.kill(process, number)
        if number == signal.SIGSTOP:
            time.sleep(STOPPED_S)
            for process in struck:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)
        return True

    def end(self) -> Ended:
        """Wait for the end; say what it left."""
        until = self.started + LIMIT_S
        while self._look() and time.perf_counter() < until:
            time.sleep(POLL_S)
        if self.process.poll() is None:
            self.process.kill()
        code, seconds = self.process.wait(), time.perf_counter() - self.started
        out, err = (path.read_text(errors="replace") for path in self.said)
        return Ended(code, out, err, seconds, self._left())

    def _look(self) -> bool:
        """Take down all processes below the command; tell whether it still runs."""
        rows = _processes()
        below, more = set[int](), {self.process.pid}
        while more:
            below |= more
            more = {pid for pid, row in rows.items() if row[0] in below} - below
        self.tree.update({pid: rows[pid] for pid in below if pid in rows})
        return self.process.poll() is None

    def _named(self, name: str) -> list[int]:
        if not name:
            return [self.process.pid]
        return [pid for pid, row in self.tree.items() if name in row[2] and _alive(pid, row)]

    def folders(self) -> set[str]:
        """List the temporary folders that its Ray had."""
        words = (word for row in self.tree.values() for word in FOLDER.findall(row[2]))
        return set(words)

    def _left(self) -> tuple[int, ...]:
        until = time.monotonic() + LEFT_S
        while (found := [p for p, row in self.tree.items() if _alive(p, row)]) and time.monotonic() < until:
            time.sleep(POLL_S)
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return tuple(found)


def _processes() -> Tree:
    found: Tree = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            state, parent, *rest = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if state != "Z":
                found[int(entry.name)] = (int(parent), rest[17], command)
    return found


def _alive(pid: int, row: tuple[int, str, str]) -> bool:
    """Tell whether a process is there and is still the same."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return state != "Z" and rest[18] == row[1]
