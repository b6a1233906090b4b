"""How alike the parts of each video look to a trained f_E, over the labelled and the unlabelled clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finepseudo.methods.base import MAIN, AnyMethod, Similarity
from finepseudo.run_folder.done import DONE
from finepseudo.run_folder.layout import WEIGHTS
from jobs.pipeline.stages.base import Keys, Stage, name_of, tags_of
from jobs.pipeline.stages.training import MC_DROPOUT, READING, Tags
from jobs.workers.map_parts import plan_pool


@dataclass(frozen=True, kw_only=True)
class SimilarityStage(Stage):
    """One number a clip; method None is round 0."""

    kind = "similarity"
    resources = "mapping"
    seed: int
    method: AnyMethod | None
    request: Similarity

    @property
    def folder(self) -> Path:
        """Where the part files are."""
        return self.paths.similarity(self.seed, name_of(self.method), self.request.number)

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
        action = {"action_encoder": self.action / DONE, **self.cfg.action_encoder.code}
        return {**self.run_of.drawn(self.seed), **action}

    @property
    def outputs(self) -> Sequence[str]:
        """One file a part."""
        return ("part-*.parquet",)

    @property
    def tags(self) -> Tags:
        """Mark its lines."""
        return tags_of(self.kind, self.seed, self.method, self.request.number)

    def run(self) -> None:
        """Compare what is missing."""
        from jobs.workers.similarity import SimilarityJob, compare

        cfg, split, request = self.cfg, self.run_of.split(self.seed), self.request
        tested = request.of == MAIN and request.number > 0
        job = SimilarityJob(
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
