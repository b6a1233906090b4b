"""Both encoders (f_E alone where no vote needs f_A) over the labelled and the unlabelled clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finepseudo.methods.base import Embed
from finepseudo.run_folder.layout import WEIGHTS
from jobs.pipeline.stages.base import Keys, name_of
from jobs.pipeline.stages.pool import PoolStage, trained
from jobs.pipeline.stages.training import READING
from jobs.workers.labelling import check_pool
from jobs.workers.map_parts import plan_pool


@dataclass(frozen=True, kw_only=True)
class EmbeddingsStage(PoolStage):
    """Embeddings, class probabilities and their spread."""

    kind = "embeddings"
    request: Embed

    @property
    def folder(self) -> Path:
        """Where the part files are."""
        return self.of_round(self.paths.embeddings)

    @property
    def action(self) -> Path:
        """Where f_E is."""
        return self.of_round(self.paths.action_encoder)

    @property
    def frame(self) -> Path | None:
        """Where f_A is, if it is wanted."""
        return self.of_round(self.paths.frame_encoder) if self.request.frames else None

    @property
    def keys(self) -> Keys:
        """The networks without their starts, what they see, and the parts of the work."""
        frame: tuple[str, ...] = ("frame_encoder", "frame_input") if self.request.frames else ()
        if frame and self.cfg.frame_stage.kept_views:
            frame = (*frame, "frame_stage.features", "frame_stage.freeze_image")
        unread = ["frame_encoder.weights", "action_encoder.weights"]
        unread += [] if self.request.passes else ["action_encoder.mc_temperature"]
        return Keys(("action_encoder", "action_input", *frame, "embed.chunk", "embed.batch", *READING), unread)

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The label draw, the trained encoders and their code."""
        action = trained("action_encoder", self.action, self.cfg.action_encoder)
        frame = trained("frame_encoder", self.frame, self.cfg.frame_encoder)
        around = self.method.code if self.method is not None and self.method.network is not None else {}
        return {**self.run_of.drawn(self.seed), **action, **around, **frame}

    def run(self) -> None:
        """Embed what is missing."""
        from jobs.workers.embed import EmbedJob, embed

        cfg, split = self.cfg, self.run_of.split(self.seed)
        check_pool(split, cfg.methods)  # the split may be older than the methods
        job = EmbedJob(
            cfg=cfg,
            run=self.paths.root.resolve(),
            folder=self.folder.resolve(),
            shards=self.paths.shards.resolve(),
            n_classes=self.run_of.n_classes(),
            seed=self.seed,
            action_weights=(self.action / WEIGHTS).resolve(),
            method=name_of(self.method),
            frame_weights=(self.frame / WEIGHTS).resolve() if self.frame else None,
            passes=self.request.passes,
        )
        keys = [key for role in ("labelled", "held_out", "unlabelled") for key in split.keys(role)]
        with self.run_of.reporter.counting(self.name) as count:
            made = embed(job, keys, plan_pool(cfg.resources.embed_actors, cfg.resources), count)
        clips, seconds = sum(row["clips"] for row in made), sum(row["seconds"] for row in made)
        if seconds:
            self.scalars({"embed/clips_per_s": clips / seconds, "data/bad_clips": sum(row["bad"] for row in made)})
