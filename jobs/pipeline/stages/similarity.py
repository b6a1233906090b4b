"""How alike the parts of each video look to a trained f_E, over the labelled and the unlabelled clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finepseudo.methods.base import MAIN, Similarity
from finepseudo.run_folder.layout import WEIGHTS
from jobs.pipeline.stages.base import Keys, name_of
from jobs.pipeline.stages.pool import PoolStage, trained
from jobs.pipeline.stages.training import MC_DROPOUT, READING
from jobs.workers.map_parts import plan_pool


@dataclass(frozen=True, kw_only=True)
class SimilarityStage(PoolStage):
    """One number a clip."""

    kind = "similarity"
    request: Similarity

    @property
    def folder(self) -> Path:
        """Where the part files are."""
        return self.of_round(self.paths.similarity)

    @property
    def action(self) -> Path:
        """Where f_E is."""
        return self.paths.action_encoder(self.seed, name_of(self.method), self.request.number, self.request.of)

    @property
    def keys(self) -> Keys:
        """The network without its start, what it sees, and the parts of the work."""
        read = ("action_encoder", "action_input", "embed.chunk", "embed.batch", *READING)
        return Keys(read, ("action_encoder.weights", *MC_DROPOUT))

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The label draw, the trained f_E and its code."""
        return {**self.run_of.drawn(self.seed), **trained("action_encoder", self.action, self.cfg.action_encoder)}

    def run(self) -> None:
        """Compare what is missing."""
        from jobs.workers.clip_parts import ActionJob
        from jobs.workers.similarity import compare

        cfg, split, request = self.cfg, self.run_of.split(self.seed), self.request
        tested = request.of == MAIN and request.number > 0
        job = ActionJob(
            cfg=cfg,
            run=self.paths.root.resolve(),
            folder=self.folder.resolve(),
            shards=self.paths.shards.resolve(),
            n_classes=self.run_of.n_classes(),
            action_weights=(self.action / WEIGHTS).resolve(),
            method=name_of(self.method) if tested else None,
        )
        keys = [*split.keys("labelled"), *split.keys("unlabelled")]
        with self.run_of.reporter.counting(self.name) as count:
            made = compare(job, keys, plan_pool(cfg.resources.embed_actors, cfg.resources), count)
        if seconds := sum(row["seconds"] for row in made):
            self.scalars({"embed/clips_per_s": sum(row["clips"] for row in made) / seconds})
