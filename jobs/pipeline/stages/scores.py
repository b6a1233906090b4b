"""Class-wise alignability of the unlabelled pool (eq. 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finepseudo.methods.base import Score
from finepseudo.run_folder.done import DONE
from finepseudo.run_folder.layout import WEIGHTS
from jobs.pipeline.stages.base import Keys
from jobs.pipeline.stages.pool import PoolStage
from jobs.pipeline.stages.training import ALIGNMENT
from jobs.workers.map_parts import plan_pool
from jobs.workers.part_files import GALLERY


@dataclass(frozen=True, kw_only=True)
class ScoresStage(PoolStage):
    """Align the pool with a gallery of labelled clips."""

    kind = "scores"
    request: Score

    @property
    def folder(self) -> Path:
        """Where the part files are."""
        return self.of_round(self.paths.scores)

    @property
    def embeddings(self) -> Path:
        """Where the embeddings are."""
        return self.of_round(self.paths.embeddings)

    @property
    def frame(self) -> Path:
        """Where f_S is."""
        return self.of_round(self.paths.frame_encoder)

    @property
    def keys(self) -> Keys:
        """The gallery, the alignment and f_S."""
        return Keys(
            ("embed.gallery_per_class", "embed.gallery_dtype", *ALIGNMENT),
            ("frame_stage.scorer.momentum",),
        )

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The label draw, the embeddings and f_S."""
        made = {"embeddings": self.embeddings / DONE, "frame_encoder": self.frame / DONE}
        return {**self.run_of.drawn(self.seed), **made}

    @property
    def outputs(self) -> Sequence[str]:
        """One file a part, and the gallery."""
        return (*super().outputs, GALLERY)

    def run(self) -> None:
        """Draw the gallery and score what is missing."""
        from finepseudo.training.checkpoint import save_weights
        from jobs.workers import models
        from jobs.workers.score import ScoreJob, Scorer, pack_gallery, score

        cfg, n_classes = self.cfg, self.run_of.n_classes()
        labelled = self.run_of.split(self.seed).items("labelled")
        labels = dict(zip(labelled.keys, labelled.labels.tolist(), strict=True))
        number = self.request.number
        gallery = pack_gallery(cfg, self.embeddings, labels, n_classes, seed=self.seed, number=number)
        save_weights(self.folder / GALLERY, gallery)
        job = ScoreJob(
            cfg=cfg,
            run=self.paths.root.resolve(),
            folder=self.folder.resolve(),
            embeddings=self.embeddings.resolve(),
            frame_weights=(self.frame / WEIGHTS).resolve(),
            split=self.paths.split(self.seed).resolve(),
            n_classes=n_classes,
        )
        with self.run_of.reporter.counting(self.name) as count:
            made = score(job, plan_pool(cfg.resources.score_actors, cfg.resources), count)
        pairs, seconds, whole = (sum(row[name] for row in made) for name in ("pairs", "seconds", "whole_s"))
        falls = Scorer(models.trained_scorer(cfg, self.frame / WEIGHTS), gallery["embeddings"].shape[1]).falls()
        spent = {"align/pairs_per_s": seconds, "align/pairs_per_s_with_files": whole}
        values = {name: pairs / time if time else None for name, time in spent.items()}
        self.scalars({**values, "align/score_monotone": float(falls)})
