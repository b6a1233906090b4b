"""The HTML page of the whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finepseudo.report import write_report
from finepseudo.report.clips import gallery_keys
from finepseudo.report.reading import read_run
from finepseudo.run_folder.layout import REPORT
from jobs.pipeline.stages.base import Keys, Stage


@dataclass(frozen=True, kw_only=True)
class ReportStage(Stage):
    """Everything that the folder says, once all that is `shown` is there: tests and pseudo-labels."""

    kind = "report"
    resources = "none"
    shown: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.paths.root

    @property
    def name(self) -> str:
        """What it makes."""
        return "report"

    @property
    def keys(self) -> Keys:
        """None: it shows what the other stages left."""
        return Keys()

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The records of all tests and all pseudo-labels."""
        return {path.parent.relative_to(self.paths.root).as_posix(): path for path in self.shown}

    @property
    def outputs(self) -> Sequence[str]:
        """The page."""
        return (REPORT,)

    def run(self) -> None:
        """Write it, with thumbnails of the clips that are worth a look."""
        from jobs.workers.thumbnails import strips

        keys = gallery_keys(read_run(self.paths.root))
        write_report(self.paths.root, strips(self.cfg, keys) if keys else {})
