"""Pseudo-labels of one method and, apart from them, how right they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finepseudo.methods.base import AnyMethod, Label
from finepseudo.methods.table import settings
from finepseudo.run_folder.done import DONE
from finepseudo.run_folder.layout import ACCEPTED, PSEUDO_LABELS, PSEUDO_METRICS
from jobs.pipeline.stages.base import Keys, Stage, tags_of
from jobs.pipeline.stages.training import Tags
from jobs.workers.labelling import label_pool_of, read_files, read_truth

LOGGED = ("expected_precision", "accepted", "coverage", "precision", "precision_A", "precision_E", "novel_acceptance")


@dataclass(frozen=True, kw_only=True)
class PseudoLabelsStage(Stage):
    """The vote of a method over the pool."""

    kind = "pseudo_labels"
    resources = "none"
    seed: int
    method: AnyMethod
    request: Label

    @property
    def folder(self) -> Path:
        """The round of the method, of round 0 too."""
        return self.paths.round(self.seed, self.method.name, self.request.number)

    @property
    def name(self) -> str:
        """Tell the labels from the folder they lie in."""
        return f"{super().name}/pseudo_labels"

    @property
    def embeddings(self) -> Path:
        """Where p_E is."""
        return self.paths.embeddings(self.seed, self.method.name, self.request.number)

    @property
    def scores(self) -> Path | None:
        """Where class-wise alignability is, if it is wanted."""
        wanted = self.request.scores
        return self.paths.scores(self.seed, self.method.name, self.request.number) if wanted else None

    @property
    def keys(self) -> Keys:
        """The method's own, and what is kept of the probabilities."""
        return Keys((*self.method.keys_of("vote"), "embed.keep_classes"))

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The label draw, the numbers to vote on, and the code of the user's own vote."""
        scores = {"scores": self.scores / DONE} if self.scores else {}
        return {**self.run_of.drawn(self.seed), "embeddings": self.embeddings / DONE, **scores, **self.method.code}

    @property
    def outputs(self) -> Sequence[str]:
        """The record of the vote, what is trained on, and how right it is, which no training reads.

        The CSV is the user's to edit.
        """
        return (PSEUDO_LABELS, ACCEPTED, PSEUDO_METRICS)

    @property
    def tags(self) -> Tags:
        """Mark its lines."""
        return tags_of(self.kind, self.seed, self.method, self.request.number)

    def run(self) -> None:
        """Vote and count."""
        (truth, classes), split = read_truth(self.paths.clips), self.run_of.split(self.seed)
        held = split.items("held_out")
        metrics = label_pool_of(
            self.method,
            settings(self.cfg.method, self.method.name),
            self.folder,
            number=self.request.number,
            embeddings=self.embeddings,
            scores=self.scores,
            pool=frozenset(split.keys("unlabelled")),
            truth=truth,
            classes=classes,
            files=read_files(self.paths.clips),
            keep=self.cfg.embed.keep_classes,
            held_out=dict(zip(held.keys, held.labels.tolist(), strict=True)),
        )
        self.scalars({f"pseudo/{name}": metrics[name] for name in LOGGED})
        right = "not judged" if metrics["precision"] is None else f"{100 * metrics['precision']:.1f} % right"
        if 0 < metrics["judged"] < metrics["accepted"]:
            right += f" of the {metrics['judged']:,} whose class is known"
        if (novel := metrics["novel_acceptance"]) is not None:
            right += f"; of {metrics['novel']:,} clips of novel classes {100 * novel:.1f} % accepted"
        if (lowest := metrics["bar"]["lowest"]) is not None and metrics["bar"]["kind"] != "fixed":
            highest = metrics["bar"]["highest"]
            span = f"{lowest:.3f}" if lowest == highest else f"{lowest:.3f} to {highest:.3f}"
            right += f"; {metrics['bar']['kind']} bar {span}"
        self.run_of.reporter.tell(f"{self.name}: {metrics['accepted']:,} of {metrics['pool']:,} accepted, {right}")
