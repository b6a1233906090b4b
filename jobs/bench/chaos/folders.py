"""Run folders beside an undisturbed one: what of them must be equal, bit for bit, and how one is set back."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from finepseudo.run_folder.done import DONE, STARTED
from finepseudo.run_folder.files import json_lines
from finepseudo.run_folder.layout import LOG
from shards.files import TEMPORARY_SUFFIX

ALLOWED = (".damaged", "forced.json")
"""Files that an undisturbed run does not have and another may."""
DATED = ("data/shards/shard-*.json", "environment.json")
"""Files that name a time or the code, which not every pair of runs tells apart."""
PASSING = (".sha256", "STOP")
"""Files of no result: the sum of a part, which its record has when its stage is done, and the request to stop."""
VALUES = ("train/loss", "train/lr", "eval/", "pseudo/")
"""Numbers of the log that are no matter of time."""


def names(folder: Path) -> set[str]:
    """List the files below a run folder that stand for its results."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if not name.startswith("tensorboard/")}


@dataclass(frozen=True)
class Whole:
    """An undisturbed run, and the names of its files that no two runs have alike."""

    folder: Path
    volatile: frozenset[str]

    @classmethod
    def of(cls, folder: Path, other: Path) -> Whole:
        """Learn from two undisturbed runs what depends on nothing but the configuration."""
        found = names(folder)
        differ = {n for n in found if (folder / n).read_bytes() != (other / n).read_bytes()}
        differ |= {n for n in found if any(fnmatch(n, pattern) for pattern in DATED)}
        return cls(folder, frozenset(differ))

    def differences(self, run: Path, spared: Collection[str] = ()) -> list[str]:
        """Say in what a run differs from the undisturbed one: its bytes, its records, its log, what it left behind."""
        mine, found = ({n for n in names(folder) if not n.endswith(PASSING)} for folder in (self.folder, run))
        said = [f"{name} is missing" for name in sorted(mine - found - set(spared))]
        more = (name for name in sorted(found - mine) if not name.endswith(ALLOWED))
        said += [f"{name} is left" for name in more if not name.startswith("data/videos/")]
        for name in sorted(mine & found - set(spared)):
            if name.endswith(DONE):
                said += self._records(run, name)
            elif name.endswith(LOG):
                said += [f"{name}: {line}" for line in _log_differences(self.folder / name, run / name)]
            elif name not in self.volatile and (self.folder / name).read_bytes() != (run / name).read_bytes():
                said.append(f"{name} differs")
        left = [p for p in run.rglob("*") if p.name == STARTED or p.name.endswith(TEMPORARY_SUFFIX)]
        return said + [f"{path.relative_to(run)} is left" for path in left if path.is_dir()]

    def _records(self, run: Path, name: str) -> list[str]:
        stage = Path(name).parent
        one, two = (json.loads((folder / name).read_text())["outputs"] for folder in (self.folder, run))
        keys = {key for key in {*one, *two} if (stage / key).as_posix() not in self.volatile}
        return [f"{name}: {key} differs" for key in sorted(keys) if one.get(key) != two.get(key)]

    def stages(self) -> list[tuple[float, Path]]:
        """List when each stage ended and its folder, in that order."""
        records = ((path.stat().st_mtime, path.parent.relative_to(self.folder)) for path in self.folder.rglob(DONE))
        return sorted(records)

    def seconds_after(self, moment: float) -> float:
        """Add up what the stages took that ended after a moment."""
        after = (self.folder / path / DONE for ended, path in self.stages() if ended > moment)
        return sum(float(json.loads(path.read_text())["wall_s"]) for path in after)

    def set_back(self, run: Path, moment: float) -> None:
        """Copy the run as it was at a moment between two stages."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.stat().st_mtime <= moment:
                copy = run / path.relative_to(self.folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
        lines = json_lines((self.folder / LOG).read_bytes())[0]
        kept = [json.dumps(line) + "\n" for line in lines if line["time"] <= moment]
        if kept:
            (run / LOG).write_text("".join(kept))


def _log_differences(one: Path, two: Path) -> Iterator[str]:
    """Say which lines one log has and the other has not, or has twice; the numbers of time left out.

    A line of such numbers alone, the pace of a part, is written behind the part: a kill between both loses it.
    """
    mine, found = (Counter(map(_fixed, filter(_tells, json_lines(path.read_bytes())[0]))) for path in (one, two))
    if json_lines(two.read_bytes())[1]:
        yield "a line is damaged"
    for marks in mine - found:
        yield f"lost {marks}"
    for marks in found - mine:
        yield f"has too much {marks}"


def _tells(line: dict[str, Any]) -> bool:
    return any(name.startswith(VALUES) for name in line)


def _fixed(line: dict[str, Any]) -> str:
    marks = {name: line.get(name) for name in ("seed", "method", "round", "stage", "step")}
    values = {n: v if n.startswith(VALUES) else "there" for n, v in sorted(line.items()) if "/" in n}
    return json.dumps({**marks, **values})
