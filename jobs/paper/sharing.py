"""What one run of a table has made, others take by links: data, pre-training, all trainings of equal keys and inputs.

The DONE record decides, as it does within a run: a stage is taken where, in its new place, it counts as done.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from finepseudo.run_folder.done import STARTED, is_done, record_of
from finepseudo.run_folder.layout import RunPaths
from jobs.config.run import RunConfig
from jobs.pipeline.plan import make_plan
from jobs.pipeline.run_folder import locked
from jobs.pipeline.stages.base import Run, Stage
from jobs.progress import Reporter, Tail

COPIED = frozenset({"split", "pseudo_labels", "pretrain"})
"""Kinds of stages that are copied, not linked: the first two lie in a folder with others, and a pre-training that is a
link stands for one that all label draws of a run share."""


def others_beside(folder: Path) -> list[Path]:
    """List the other run folders of all tables of this size."""
    found = sorted(path.parent for path in folder.parents[1].glob("*/*/config.yaml"))
    return [path for path in found if path.resolve() != folder.resolve()]


def take_from(cfg: RunConfig, others: Sequence[Path]) -> list[str]:
    """Take what other runs have made of this one and name these stages; links that are stale go first."""
    taken: list[str] = []
    again: set[Path] = set()  # records of what will be made, so of nothing that hangs on them
    with locked(cfg.folder), Reporter(cfg.folder, tensorboard=False) as reporter:
        for stage in (stage for group in make_plan(Run(cfg, reporter)) for stage in group):
            identity = stage.identity
            waits = any(record_of(made) in again for made in identity.inputs.values())
            if not waits and is_done(identity):
                continue
            if stage.folder.is_symlink():
                stage.folder.unlink()  # else it would be made again in the folder of another run
            if not waits and stage.kind != "report" and (other := _maker(stage, others)):
                _copy_log(stage, other)
                taken.append(stage.name)
            else:
                again.add(identity.record)
    return taken


def _maker(stage: Stage, others: Sequence[Path]) -> Path | None:
    """Take a stage that nothing is there of from the first run that makes it done; give that run."""
    copied = stage.kind in COPIED
    if any((stage.folder / name).exists() for name in (stage.identity.record.name, STARTED)):
        return None
    if stage.folder.exists() and not copied:
        return None
    for other in others:
        made = other / stage.folder.relative_to(stage.paths.root)
        if not (made / stage.identity.record.name).is_file():
            continue
        put = _copy(stage, made) if copied else _link(stage, made)
        if is_done(stage.identity):
            return other
        for path in put:
            path.unlink()
    return None


def _link(stage: Stage, made: Path) -> list[Path]:
    stage.folder.parent.mkdir(parents=True, exist_ok=True)
    stage.folder.symlink_to(os.path.relpath(made.resolve(), stage.folder.parent.resolve()), True)
    return [stage.folder]


def _copy(stage: Stage, made: Path) -> list[Path]:
    stage.folder.mkdir(parents=True, exist_ok=True)
    names = [*stage.outputs, stage.identity.record.name]
    return [Path(shutil.copy2(made / name, stage.folder / name)) for name in names if (made / name).is_file()]


def _copy_log(stage: Stage, other: Path) -> None:
    """Put the curves of a stage that was taken into the log of this run."""
    log = RunPaths(other).metrics
    if not stage.tags or not log.is_file():
        return
    lines = [line for line in Tail(log).new() if all(line.get(key) == value for key, value in stage.tags.items())]
    with stage.paths.metrics.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)
