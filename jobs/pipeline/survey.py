"""Where a run stands and what a plan will undo, told from files alone: no Ray, nothing is changed.

A stage that is done is undone when a key that it reads has changed, and in turn what depends on it; `survey` follows
that to the end of the plan and says what is lost: the files that will be removed and the time that they took.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finepseudo.run_folder.done import (
    Identity,
    changed_keys,
    deleted_by,
    is_done,
    is_started,
    record_of,
    to_heal,
    waits,
)
from jobs.pipeline.plan import Plan
from jobs.pipeline.stages.base import Stage
from shards.errors import counted
from shards.settings import shown

SHOWN = 4
"""Changed keys of a stage that are named; the others are counted."""
State = Literal["done", "to do", "goes on", "undone", "follows"]
"""`undone`: it was done and will be made again; `follows`: it is done, and is made again when what it reads, which is
made again, comes out different."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageState:
    """One stage. because: why it is undone; removes: what is there and goes; size: bytes of that; wall_s: its time."""

    stage: Stage
    state: State
    because: tuple[str, ...] = ()
    removes: tuple[Path, ...] = ()
    size: int = 0
    wall_s: float = 0.0

    @property
    def lost(self) -> bool:
        """Tell whether finished work is given up."""
        return self.state in ("undone", "follows")

    @property
    def open(self) -> bool:
        """Tell whether it is to be made whatever comes of the others."""
        return self.state not in ("done", "follows")

    def line(self) -> str:
        """Write it for a terminal."""
        why = f"  ({'; '.join(self.because)})" if self.because else ""
        cost = f"  [{duration(self.wall_s)}, {bytes_text(self.size)}]" if self.lost else ""
        return f"{self.state:8} {self.stage.name}{why}{cost}"


def survey(plan: Plan, kinds: Collection[str] | None = None) -> list[list[StageState]]:
    """Tell for each group of a plan what will happen to its stages when stages of `kinds` (None: all) are run.

    Stages of other kinds are listed only where they lose their work.
    """
    remade: set[Path] = set()
    found = []
    for group in plan:
        states = [_state_of(stage, remade, runs=kinds is None or stage.kind in kinds) for stage in group]
        remade |= {state.stage.identity.record for state in states if state and state.state != "done"}
        found.append([state for state in states if state])
    return found


def open_stages(states: Sequence[Sequence[StageState]]) -> list[Stage]:
    """List the stages of a survey that are not done."""
    return [state.stage for group in states for state in group if state.open]


def _state_of(stage: Stage, remade: Collection[Path], *, runs: bool) -> StageState | None:
    identity = stage.identity
    after = [name for name, made in identity.inputs.items() if record_of(made) in remade]
    record = _read(identity.record)
    done = is_done(identity)
    if after and (done or (runs and waits(identity))):
        return _lost(stage, "follows", (f"after {', '.join(after)}",), record)
    if done:
        return StageState(stage=stage, state="done", wall_s=_wall(record)) if runs else None
    if not runs:
        return None
    changed = None if after else to_heal(identity)
    if record and changed is None:
        return _lost(stage, "undone", tuple(reasons(identity, record, after)), record)
    if changed is not None or is_started(identity):
        said = (
            (f"{counted(len(changed), 'file')} changed" if changed else "files are missing",)
            if changed is not None
            else ()
        )
        return StageState(stage=stage, state="goes on", because=said, removes=tuple(changed or ()))
    removes = tuple(deleted_by(identity))
    return StageState(stage=stage, state="to do", removes=removes, size=sum(map(size_of, removes)))


def _lost(stage: Stage, state: State, because: tuple[str, ...], record: dict[str, Any]) -> StageState:
    removes = tuple(deleted_by(stage.identity))
    size = sum(map(size_of, removes))
    return StageState(stage=stage, state=state, because=because, removes=removes, size=size, wall_s=_wall(record))


def reasons(identity: Identity, record: dict[str, Any], after: Sequence[str] = ()) -> list[str]:
    """Say why a stage that left a record is not done any more."""
    changes = changed_keys(identity, record)
    said = [f"{key} was {shown(was)}, is {shown(now)}" for key, was, now in changes[:SHOWN]]
    said += [f"and {counted(len(changes) - SHOWN, 'more key')}"] if len(changes) > SHOWN else []
    lacking = set(identity.missing())
    if missing := [name for name, made in identity.inputs.items() if record_of(made) in lacking]:
        return [*said, f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"]
    key = identity.key()
    if not said and key["config_sha256"] != record.get("config_sha256"):
        said.append("the configuration changed")
    before = record.get("inputs") or {}
    names = sorted({*before, *key["inputs"]})
    other = [name for name in names if before.get(name) != key["inputs"].get(name) or name in after]
    named = {name for name, _, _ in changes}  # of the file that a changed key names one line is enough
    said += [f"{name} changed" for name in other if name not in named]
    return said or ["its files changed"]


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # no record, or a damaged one, which counts as none
    return value if isinstance(value, dict) else {}


def _wall(record: dict[str, Any]) -> float:
    return float(record.get("wall_s") or 0.0)


def size_of(path: Path) -> int:
    """Count the bytes of a file, or of the files below a folder."""
    if path.is_dir():
        return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())
    return path.stat().st_size if path.exists() else 0


def loss_lines(states: Sequence[Sequence[StageState]]) -> list[str]:
    """Write what finished work a plan gives up; nothing where it gives up none."""
    undone = [state for group in states for state in group if state.state == "undone"]
    follows = [state for group in states for state in group if state.state == "follows"]
    lines = []
    for word, some in (("undoes", undone), ("and, when results differ,", follows)):
        if some:
            time_text, size = duration(sum(s.wall_s for s in some)), bytes_text(sum(s.size for s in some))
            lines.append(f"{word} {counted(len(some), 'finished stage')} that took {time_text}; removes {size}")
    return lines


def duration(seconds: float) -> str:
    """Write a time for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def bytes_text(count: int) -> str:
    """Write a size for people."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
