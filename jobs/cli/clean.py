"""`finepseudo clean RUN`: what of a run can go, listed with its bytes; with --yes it goes.

Nothing that a resume, the report or `predict` reads is among it: afterwards `run` finds every stage as it was.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from finepseudo.run_folder.done import Identity, is_done
from finepseudo.run_folder.freed import free
from finepseudo.run_folder.layout import CHECKPOINTS, RunPaths
from finepseudo.run_folder.others import no_run
from jobs.cluster.temp_folder import left_overs, remove_left_overs
from jobs.config.run import RunConfig
from jobs.pipeline.freeing import old_parts
from jobs.pipeline.plan import Plan, make_plan
from jobs.pipeline.run_folder import locked
from jobs.pipeline.stages.base import Run
from jobs.pipeline.survey import bytes_text, size_of
from jobs.progress import Reporter
from jobs.workers.part_files import PREDICTED
from shards.files import TEMPORARY_SUFFIX

SCRATCH = (CHECKPOINTS, "ray", PREDICTED)
"""Folders that a training or a test removes at its end, unless it is killed between its record and that."""
LEFT = ("*.damaged", f".*{TEMPORARY_SUFFIX}")
"""Below a run folder: what was moved aside as damaged, and what a command that was killed had begun to write."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waste:
    """Files or folders that can go together. stage: of which they are outputs that are given up, None: of none."""

    what: str
    paths: tuple[Path, ...]
    stage: Identity | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(size_of, self.paths))

    def remove(self) -> None:
        """Remove them."""
        if self.stage is not None:
            free(self.stage, self.paths)
            return
        for path in self.paths:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def clean(cfg: RunConfig, *, keep: int, yes: bool) -> int:
    """List what can go, the newest `keep` rounds' embeddings apart; remove it with `yes`."""
    if not RunPaths(cfg.folder).config.is_file():
        raise no_run("clean", cfg.folder, "name one, with out= where it lies elsewhere")
    with ExitStack() as held:
        for folder in _folders(cfg) if yes else ():
            held.enter_context(locked(folder))
        with Reporter(cfg.folder, tensorboard=False) as reporter:
            found = list(waste_of(make_plan(Run(cfg, reporter)), cfg.folder, keep))
        dead = left_overs()
        for waste in found:
            sys.stdout.write(f"{bytes_text(waste.size):>8}  {waste.what}\n")
        sys.stdout.write(
            "".join(f"{bytes_text(size_of(path)):>8}  {path}, of a Ray that was killed\n" for path in dead)
        )
        total = bytes_text(sum(waste.size for waste in found) + sum(map(size_of, dead)))
        if not yes:
            sys.stdout.write(f"{total:>8}  can go; --yes removes it\n" if found or dead else "nothing can go\n")
            return 0
        for waste in found:
            waste.remove()
        remove_left_overs()
    sys.stdout.write(f"{total:>8}  removed\n")
    return 0


def _folders(cfg: RunConfig) -> list[Path]:
    """List the folders in which nobody may work meanwhile: the run's, and those of draws that it links."""
    links = [Path(os.path.realpath(path)).parent for path in sorted(cfg.folder.glob("seed-*")) if path.is_symlink()]
    return [cfg.folder, *(folder for folder in links if folder.is_dir())]


def waste_of(plan: Plan, root: Path, keep: int) -> Iterator[Waste]:
    """Find what can go of one run."""
    for stage in (stage for group in plan for stage in group):
        identity = stage.identity
        scratch = [identity.folder / name for name in SCRATCH if (identity.folder / name).is_dir()]
        if scratch and is_done(identity):
            names = ", ".join(sorted({path.name for path in scratch}))
            yield Waste(what=f"{stage.name}: {names} of a stage that is done", paths=tuple(scratch))
    for stage, paths in old_parts(plan, keep):
        if paths:
            yield Waste(
                what=f"{stage.name}: {len(paths)} files of an old round", paths=tuple(paths), stage=stage.identity
            )
    for pattern in LEFT:
        for path in sorted(root.rglob(pattern)):
            yield Waste(what=f"{path.relative_to(root)}", paths=(path,))
