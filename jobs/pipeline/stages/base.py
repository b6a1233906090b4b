"""What every stage is: the keys it reads, its inputs, outputs and resources, and what it does."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from finepseudo.methods.base import AnyMethod
from finepseudo.run_folder.done import DONE, Identity, Input
from finepseudo.run_folder.layout import RunPaths
from jobs.config.run import RunConfig, flat_part
from jobs.progress import Reporter
from jobs.workers.labelling import read_truth
from shards.splits.label_split import LabelSplit, read_split


@dataclass(frozen=True, slots=True)
class Run:
    """What all stages of a run work with. Nothing is read or written until a stage runs."""

    cfg: RunConfig
    reporter: Reporter

    @property
    def paths(self) -> RunPaths:
        """Where the files are."""
        return RunPaths(self.cfg.folder)

    def split(self, seed: int) -> LabelSplit:
        """Read the split of a seed."""
        return read_split(self.paths.split(seed))

    def n_classes(self) -> int:
        """Count the outputs of f_E: the classes of the data set, in an open world the known ones."""
        return len(read_truth(self.paths.clips)[1])

    def drawn(self, seed: int) -> dict[str, Path]:
        """Inputs of whatever works on one label draw."""
        return {"data": self.paths.data / DONE, "split": self.paths.seed(seed) / DONE}


@dataclass(frozen=True, slots=True)
class Keys:
    """What a stage reads of the configuration: dotted keys or whole sections, and what of these it does not read.

    A key that is added to a section is hashed until it is named in `without`: results are never stale.
    """

    read: Sequence[str] = ()
    without: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """One unit of work. Two stages of one group of a plan may run side by side."""

    kind: ClassVar[str]
    resources: ClassVar[Literal["none", "shards", "training", "mapping"]]
    """What it takes of the cluster: nothing, tasks that write shards, training workers, a pool of actors."""

    run_of: Run

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Where it writes."""

    @property
    @abstractmethod
    def keys(self) -> Keys:
        """What it reads of the configuration."""

    @property
    @abstractmethod
    def inputs(self) -> Mapping[str, Input]:
        """What earlier stages made (a DONE record for all of it, or one `Output`), and files from outside."""

    @property
    @abstractmethod
    def outputs(self) -> Sequence[str]:
        """Patterns below `folder` of what it makes."""

    @property
    def scratch(self) -> Sequence[str]:
        """Patterns of what else it may leave there."""
        return ()

    @property
    def tags(self) -> Mapping[str, Any]:
        """Marks of its lines in the log."""
        return {}

    @abstractmethod
    def run(self) -> None:
        """Do it. `Preempted` after a stop request, `UserError` for what the user can fix."""

    def explain(self) -> None:  # noqa: B027 - most stages have nothing to add
        """Raise what is wrong when inputs are missing, where this stage knows it better than their names do."""

    @property
    def cfg(self) -> RunConfig:
        """The configuration of the run."""
        return self.run_of.cfg

    @property
    def paths(self) -> RunPaths:
        """Where the files of the run are."""
        return self.run_of.paths

    @property
    def name(self) -> str:
        """How it is called in what is printed."""
        return self.folder.relative_to(self.paths.root).as_posix()

    @property
    def identity(self) -> Identity:
        """What decides whether it is done."""
        return Identity(
            kind=self.kind,
            folder=self.folder,
            config=flat_part(self.cfg, self.keys.read, self.keys.without),
            inputs=self.inputs,
            outputs=self.outputs,
            scratch=self.scratch,
        )

    def scalars(self, values: Mapping[str, float | None]) -> None:
        """Log numbers of this stage; those that are not known are left out."""
        number = self.tags["round"] or 0
        head = {"time": time.time(), **self.tags, "step": number, "epoch": number}
        self.run_of.reporter.scalars({**head, **{n: float(v) for n, v in values.items() if v is not None}})


def tags_of(kind: str, seed: int, method: AnyMethod | None, number: int | None) -> dict[str, Any]:
    """Mark the lines of a stage in the log."""
    return {"seed": seed, "method": method.name if method else None, "round": number, "stage": kind}


def name_of(method: AnyMethod | None) -> str | None:
    """Name the folder of a method; None for what all share."""
    return method.name if method else None


def numbered(files: Sequence[Path]) -> dict[str, Path]:
    """Name files from outside as inputs; two of them may have one name."""
    return {f"{number} {path.name}": path for number, path in enumerate(files)}


def weights_file(name: str, path: Path | None) -> dict[str, Path]:
    """Name the published weights that a stage starts from, where there are any."""
    return {name: path} if path else {}
