"""Test the f_E of a method's last round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finepseudo.methods.base import AnyMethod
from finepseudo.report.summary import TOP5_CLASSES
from finepseudo.run_folder.layout import EXAMPLES, METRICS, PREDICTIONS, WEIGHTS
from jobs.pipeline.stages.base import Keys, Stage, tags_of
from jobs.pipeline.stages.pool import trained
from jobs.pipeline.stages.training import ALIGNMENT, MC_DROPOUT, READING, Tags
from jobs.workers.labelling import read_truth
from jobs.workers.map_parts import plan_pool
from jobs.workers.part_files import PREDICTED

VOTES = "evaluate.votes"
"""The one key of its section that the test of f_E does not read."""


@dataclass(frozen=True, kw_only=True)
class EvaluationStage(Stage):
    """Predictions for the test clips. action, frame: rounds of the weights; frame None = no f_A to show pairs of."""

    kind = "evaluation"
    resources = "mapping"
    seed: int
    method: AnyMethod
    action: int
    frame: int | None

    @property
    def folder(self) -> Path:
        """Where the results are."""
        return self.paths.evaluation(self.seed, self.method.name)

    @property
    def action_folder(self) -> Path:
        """Where f_E is."""
        return self.paths.action_encoder(self.seed, self.method.name, self.action)

    @property
    def frame_folder(self) -> Path | None:
        """Where f_A is."""
        return None if self.frame is None else self.paths.frame_encoder(self.seed, self.method.name, self.frame)

    @property
    def keys(self) -> Keys:
        """The networks without their starts, what they see, and the test."""
        frame = ("frame_encoder", "frame_input", *ALIGNMENT)
        read = ("action_encoder", "action_input", "evaluate", *READING, *(frame if self.frame is not None else ()))
        starts = ("frame_encoder.weights", "action_encoder.weights")
        return Keys(read, (*starts, VOTES, *MC_DROPOUT, "frame_stage.scorer.momentum"))

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The label draw, the trained encoders and their code."""
        action = trained("action_encoder", self.action_folder, self.cfg.action_encoder)
        frame = trained("frame_encoder", self.frame_folder, self.cfg.frame_encoder)
        around = self.method.code if self.method.network is not None else {}
        return {**self.run_of.drawn(self.seed), **action, **around, **frame}

    @property
    def outputs(self) -> Sequence[str]:
        """Metrics, predictions and, with f_A, two aligned pairs."""
        return (METRICS, PREDICTIONS, *((EXAMPLES,) if self.frame is not None else ()))

    @property
    def scratch(self) -> Sequence[str]:
        """Parts of the predictions."""
        return (PREDICTED,)

    @property
    def tags(self) -> Tags:
        """Mark its lines."""
        return tags_of(self.kind, self.seed, self.method, self.action)

    def run(self) -> None:
        """Test what is missing."""
        from jobs.workers.evaluate import write_examples

        cfg, (truth, classes) = self.cfg, read_truth(self.paths.clips)
        labels = {key: truth[key] for key in self.run_of.split(self.seed).keys("test")}
        metrics = self.predict(self.folder, labels, classes)
        if self.frame_folder:
            write_examples(cfg, self.paths.shards, labels, self.frame_folder / WEIGHTS, self.folder / EXAMPLES)
        told = ("top1", *(("top5",) if len(classes) >= TOP5_CLASSES else ()), "mean_class")
        self.scalars({f"eval/{name}": metrics[name] for name in told})

    def predict(self, folder: Path, labels: dict[str, int], classes: Sequence[str]) -> dict[str, Any]:
        """Test f_E on the clips of `labels` (key -> class) as the papers do; results into `folder`, metrics back."""
        from jobs.workers.clip_parts import ActionJob
        from jobs.workers.evaluate import evaluate

        cfg = self.cfg
        job = ActionJob(
            cfg=cfg,
            run=self.paths.root.resolve(),
            folder=folder.resolve(),
            shards=self.paths.shards.resolve(),
            n_classes=len(classes),
            action_weights=(self.action_folder / WEIGHTS).resolve(),
            method=self.method.name if self.action else None,
        )
        about = {"method": self.method.name, "seed": self.seed, "rounds": self.action}
        pool = plan_pool(cfg.resources.embed_actors, cfg.resources)
        with self.run_of.reporter.counting(self.name) as count:
            return evaluate(job, labels, classes, pool, about=about, count=count)
