"""Who is labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finepseudo.run_folder.done import DONE
from jobs.pipeline.stages.base import Keys, Stage, numbered, tags_of
from jobs.workers.labelling import check_pool, usable_split
from shards.annotations.base import read_clips
from shards.annotations.published_lists import list_files
from shards.splits.label_split import write_split
from shards.storage.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class SplitStage(Stage):
    """Draw the labels of one seed among the clips that can be read."""

    kind = "split"
    resources = "none"
    seed: int

    @property
    def folder(self) -> Path:
        """The folder of the seed."""
        return self.paths.seed(self.seed)

    @property
    def name(self) -> str:
        """Tell the split from the folder it lies in."""
        return f"split of seed-{self.seed}"

    @property
    def keys(self) -> Keys:
        """How labels are drawn. Runs from before there were reviewed ones are not undone."""
        return Keys(("split",), () if self.cfg.split.reviewed else ("split.reviewed",))

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The clips, and published lists and reviewed labels where they are used."""
        lists, reviewed = self.cfg.split.lists, self.cfg.split.reviewed
        files = numbered(list_files(Path(lists)) if lists else [])
        return {"data": self.paths.data / DONE, **files, **({"split.reviewed": Path(reviewed)} if reviewed else {})}

    @property
    def outputs(self) -> Sequence[str]:
        """The split."""
        return (self.paths.split(self.seed).name,)

    @property
    def tags(self) -> Mapping[str, object]:
        """Mark its lines."""
        return {**tags_of(self.kind, self.seed, None, None)}

    def run(self) -> None:
        """Draw and write."""
        manifest = Manifest.open(self.paths.shards)
        drawn = usable_split(read_clips(self.paths.clips), self.cfg.split, self.seed, manifest)
        check_pool(drawn, self.cfg.methods)
        write_split(self.paths.split(self.seed), drawn)
        sizes = {role: len(drawn.keys(role)) for role in ("labelled", "unlabelled", "test", "held_out")}
        counts = ", ".join(f"{n:,} {role.replace('_', ' ')}" for role, n in sizes.items() if n or role != "held_out")
        self.run_of.reporter.say(f"split of seed {self.seed}: {counts}; sha256 {drawn.sha256[:12]}")
