"""One fault, then the same command again: what became of the run."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finepseudo.run_folder.layout import LOG, PSEUDO_LABELS_CSV, REPORT
from jobs.bench.chaos.commands import Ended, Told, call, line
from jobs.bench.chaos.damage import DAMAGES
from jobs.bench.chaos.folders import Whole, names
from jobs.bench.chaos.points import ERRORS, Fault, Point

STRIKES = ("kill", "kill", "kill", "exit", "stop", "term", "usr1", *ERRORS)
"""What is done at a point; kills, which change most, more often."""
TRIES = 3
"""Commands that may be typed until a damaged run is whole: each of several files may need one."""
RECORDS = (LOG, "environment.json", PSEUDO_LABELS_CSV)
"""What no stage reads or makes again: what is lost of it is lost. The CSV is the user's to edit."""
_NUMBERS = re.compile(r"\d+")


@dataclass(kw_only=True)
class Trial:
    """A fault and what came of it. problems: nothing where the promise was kept."""

    kind: str
    point: str
    seconds: float = 0.0
    undisturbed: float = 0.0
    struck: bool = True
    refused: str = ""
    problems: list[str] = field(default_factory=list)

    def words(self, most: int) -> str:
        """Say in a line what went wrong."""
        return "; ".join(" ".join(problem.split())[:most] for problem in self.problems[:6])

    @property
    def group(self) -> str:
        """The point without what is random in it: which epoch, part, video."""
        return _NUMBERS.sub("N", self.point)


@dataclass(frozen=True)
class Reached:
    """A line of the log of points: when, and which."""

    moment: float
    point: Point


class Trials:
    """Everything that is drawn and tried beside one undisturbed run. Runs have one place, whose name stands in them."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Make the undisturbed runs in a folder, which is the bench's own; those that are there are taken."""
        self.folder, self.rng = folder, random.Random(seed)
        self.place = folder / "now"
        self.run = self.place / "out" / "smoke"
        log, whole, one = folder / "points", folder / "whole", folder / "one"
        if not whole.exists():
            log.unlink(missing_ok=True)
            self._fresh()
            self._undisturbed(whole, Told(log=log))
        self.whole = Whole(whole, frozenset())
        if not one.exists():
            self.begin(self.whole.stages()[1][0])
            self._undisturbed(one)
        self.whole = Whole.of(whole, one)
        self.reached = _read_log(log)

    def _undisturbed(self, copy: Path, told: Told | None = None) -> None:
        ended = self._call("run", told)
        if ended.code:
            raise RuntimeError(f"an undisturbed run ends with {ended.code}: {ended.err[-2000:]}")
        shutil.copytree(self.run, copy)

    def point(self) -> Trial:
        """Strike once at a point, drawn over kinds of points first."""
        groups: dict[str, list[Reached]] = {}
        for reached in self.reached:
            groups.setdefault(_NUMBERS.sub("N", f"{reached.point.role} {reached.point.what}"), []).append(reached)
        chosen = self.rng.choice(groups[self.rng.choice(sorted(groups))])
        return self.strike(self.rng.choice(STRIKES), chosen, after=self.rng.random() < 0.3)

    def strike(self, kind: str, reached: Reached, *, after: bool = False) -> Trial:
        """Strike at a point of the undisturbed run; begin where the stage of the point begins."""
        start = max((ended for ended, _ in self.whole.stages() if ended < reached.moment), default=0.0)
        place = reached.point
        same = [r for r in self.reached if (r.point.role, r.point.what) == (place.role, place.what)]
        before = sum(r.moment <= start for r in same)
        times = place.time if place.role != "driver" else place.time - before
        fault = Fault(kind, Point(place.role, place.what, max(times, 1), after))
        trial = Trial(kind=f"{kind} at a point", point=str(fault.point), undisturbed=self.begin(start))
        first = self._call("run", Told(fault=fault))
        trial.struck = (self.place / "fired").exists()
        trial.seconds = first.seconds
        trial.problems += _judge_struck(kind, first)
        if first.code:
            self._again(trial)
        trial.problems += self.whole.differences(self.run)
        return trial

    def slow(self) -> Trial:
        """Let every write take a while, over the last stages."""
        trial = Trial(kind="slow storage", point="every write", undisturbed=self.begin(self._moment()))
        self._again(trial, Told(slow=True))
        trial.problems += self.whole.differences(self.run)
        return trial

    def clock(self) -> Trial:
        """Set the clock a day back between two stages."""
        trial = Trial(kind="clock set back a day", point="between two stages", undisturbed=self.begin(self._moment()))
        self._again(trial, Told(clock=True))
        trial.problems += self.whole.differences(self.run)
        return trial

    def damage(self, *, finished: bool) -> Trial:
        """Damage a file of a finished run, or of one that was killed in the middle of a stage."""
        kind = self.rng.choice(sorted(DAMAGES))
        seconds = 0.0
        if finished:
            undisturbed = self.begin(float("inf"))
        else:
            at = [r for r in self.reached if "checkpoints" in r.point.what or "ray.data" in r.point.what]
            chosen = self.rng.choice(at)
            undisturbed = self.begin(max(e for e, _ in self.whole.stages() if e < chosen.moment))
            fault = Fault("kill", Point(chosen.point.role, chosen.point.what, self.rng.choice((1, 2))))
            seconds = self._call("run", Told(fault=fault)).seconds
        there = sorted(n for n in names(self.run) if "/videos/" not in n)
        groups: dict[str, list[str]] = {}
        for name in there:
            groups.setdefault(_NUMBERS.sub("N", name), []).append(name)
        name = self.rng.choice(groups[self.rng.choice(sorted(groups))])
        trial = self.hurt(kind, name)
        trial.kind += " in a finished run" if finished else " in a stopped run"
        trial.seconds, trial.undisturbed = trial.seconds + seconds, undisturbed
        return trial

    def hurt(self, kind: str, name: str) -> Trial:
        """Damage one file of the run that is in place; look at it, then make it whole."""
        trial = Trial(kind=f"file: {kind}", point=name)
        DAMAGES[kind](self.run / name, self.rng)
        for command in ("status", "report"):
            if self.rng.random() < 0.3:
                said = self._call(command)
                if said.crashed or (said.code and not said.refusal):
                    trial.problems.append(f"{command} ends with {said.code}: {said.err[-600:]}")
        self._heal(trial, name, ["--verify"] if kind == "rot" else [])
        if name.startswith("data/shards/") and self.whole.differences(self.run):
            self._call("write-shards", None, "--repair")  # no clip of it was read any more; this looks at all
        trial.problems += self.whole.differences(self.run, [name] if name.endswith(RECORDS) else [])
        return trial

    def _heal(self, trial: Trial, name: str, options: Sequence[str]) -> None:
        """Type the same command, and what a refusal names, until the run is done."""
        command, more = "run", list(options)
        for _ in range(TRIES):
            ended = self._call(command, None, *more)
            trial.seconds += ended.seconds
            if ended.code == 0 and command == "run":
                return
            if ended.code and not ended.refusal:
                trial.problems.append(f"{command} ends with {ended.code}: {ended.err[-600:]}")
                return
            if ended.code:
                trial.refused = ended.refusal
                if not _names(ended.refusal, name):
                    trial.problems.append(f"the refusal does not name the file: {ended.refusal}")
            command, more = self._what_heals(ended, command, options)
        trial.problems.append(f"not whole after {TRIES} commands: {trial.refused}")

    def _what_heals(self, ended: Ended, command: str, options: Sequence[str]) -> tuple[str, list[str]]:
        """Do what a person would who reads the refusal: the command that it names next."""
        said = ended.refusal
        if "--repair" in said:
            return "write-shards", ["--repair"]
        if "--force" in said:
            return "run", ["--force"]
        if command == "run" and re.search(r"move (it|that folder|that file) away|remove it", said):
            path = Path(said.removeprefix("error: cannot write ").removeprefix("error: ").partition(": ")[0])
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return "run", list(options)

    def _again(self, trial: Trial, told: Told | None = None) -> None:
        ended = self._call("run", told)
        trial.seconds += ended.seconds
        if ended.code or ended.crashed or ended.left:
            trial.problems.append(f"the same command ends with {ended.code}: {ended.err[-600:]}")

    def _call(self, command: str, told: Told | None = None, *more: str) -> Ended:
        return call(line(command, self.place, *more), self.place, told)

    def _moment(self) -> float:
        """Draw a moment between two stages, in the second half."""
        stages = self.whole.stages()
        return self.rng.choice(stages[len(stages) // 2 : -1])[0]

    def _fresh(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)

    def begin(self, moment: float) -> float:
        """Put a run in place as it was at a moment; give the seconds that it needs from there on."""
        self._fresh()
        self.whole.set_back(self.run, moment)
        return self.whole.seconds_after(moment)

    def kinds(self) -> list[Callable[[], Trial]]:
        """List what is drawn from, without Ray: each as often as it is worth."""
        finished, stopped = (lambda: self.damage(finished=True)), (lambda: self.damage(finished=False))
        return [*[self.point] * 12, *[finished] * 6, *[stopped] * 4, self.slow, self.clock]


def _judge_struck(kind: str, ended: Ended) -> list[str]:
    """Say what is wrong with how a struck command ended."""
    said = f"ends with {ended.code}: {ended.err[-600:]}"
    wrong = {
        "kill": ended.code not in (-9, 0),
        "exit": ended.code not in (0, 1),
        "stop": ended.code != 0,
        "term": ended.code not in (0, 75, -15),
        "usr1": ended.code not in (0, 75, -10),
    }.get(kind, ended.code not in (0, 75) and not ended.refusal)
    trace = ended.code != 1 and ended.crashed and ended.code >= 0
    return [said] * (wrong or trace) + [f"left processes {ended.left}"] * bool(ended.left)


def _names(refusal: str, name: str) -> bool:
    """Tell whether a refusal names a file, or the folder that is made again with it."""
    return Path(name).name in refusal or Path(name).parent.as_posix() in refusal or REPORT in name


def _read_log(path: Path) -> list[Reached]:
    rows = (row.split("\t") for row in path.read_text().splitlines())
    return [Reached(float(when), Point(role, what, int(time))) for when, role, time, what in rows]
