"""Who is labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finepseudo.run_folder.done import DONE
from jobs.pipeline.stages.base import Keys, Stage, numbered, tags_of
from jobs.workers.labelling import check_pool, usable_split
from shards.annotations.base import read_clips
from shards.annotations.published_lists import list_files
from shards.splits.config import SplitConfig
from shards.splits.label_split import LabelSplit, write_split
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
    def drawn_by(self) -> SplitConfig:
        """How labels are drawn."""
        return self.cfg.split

    @property
    def keys(self) -> Keys:
        """How labels are drawn. Runs from before there were reviewed ones are not undone."""
        return Keys(("split",), () if self.drawn_by.reviewed else ("split.reviewed",))

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The clips, and published lists and reviewed labels where they are used."""
        lists, reviewed = self.drawn_by.lists, self.drawn_by.reviewed
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
        drawn = self._write()
        check_pool(drawn, self.cfg.methods)
        sizes = {role: len(drawn.keys(role)) for role in ("labelled", "unlabelled", "test", "held_out")}
        counts = ", ".join(f"{n:,} {role.replace('_', ' ')}" for role, n in sizes.items() if n or role != "held_out")
        self.run_of.reporter.tell(f"split of seed {self.seed}: {counts}; sha256 {drawn.sha256[:12]}")

    def _write(self) -> LabelSplit:
        manifest = Manifest.open(self.paths.shards)
        drawn = usable_split(read_clips(self.paths.clips), self.drawn_by, self.seed, manifest)
        write_split(self.folder / self.outputs[0], drawn)
        return drawn


@dataclass(frozen=True, kw_only=True)
class DrawnStage(SplitStage):
    """The split before a person's labels: the same bytes, so that what reads videos alone stays done beside them."""

    @property
    def folder(self) -> Path:
        """A folder of its own beside the split that is trained on."""
        return self.paths.drawn(self.seed)

    @property
    def name(self) -> str:
        """Tell it from that split."""
        return f"split of seed-{self.seed} as drawn"

    @property
    def drawn_by(self) -> SplitConfig:
        """How labels are drawn, without those of a person."""
        return replace(self.cfg.split, reviewed="")

    def run(self) -> None:
        """Draw and write; the split itself has said its sizes."""
        self._write()
