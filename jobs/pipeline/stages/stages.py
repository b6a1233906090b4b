"""Every stage of a run: data, split, training, labels, test, report. Their order is in jobs/pipeline/plan.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finepseudo.report import write_report
from finepseudo.run_folder.done import DONE, Stage
from jobs.config.run import part
from jobs.config.sections import ALIGNING, StrategyName
from jobs.pipeline.stages.label_stages import LabelStages
from jobs.pipeline.stages.stage_maker import Task
from jobs.pipeline.stages.train_stages import TrainStages
from jobs.workers.evaluate import EvaluateJob, evaluate, write_examples
from jobs.workers.labelling import check_pool, read_truth, usable_split
from jobs.workers.map_parts import plan_pool
from jobs.workers.train_loop import WEIGHTS
from jobs.workers.write_shards import data_config, write_data
from shards.annotations import annotation_files, load
from shards.annotations.base import read_clips
from shards.annotations.published_lists import list_files
from shards.splits.label_split import write_split
from shards.storage.manifest import Manifest


class Stages(TrainStages, LabelStages):
    """Makes every stage of one run."""

    def data(self) -> Task:
        """Annotations, shards, quarantine."""
        stage = Stage(
            kind="data",
            folder=self.paths.data,
            config=part(self.cfg, "data", "shards"),
            inputs=_numbered(annotation_files(self.cfg.data)),
            outputs=("clips.parquet", "quarantine.parquet", "shards/manifest.json", "shards/manifest.parquet"),
            scratch=("shards",),
        )
        task = self._task(stage, {}, lambda: _ignore(write_data(self.cfg, self.paths, self.reporter)))
        # Who reads the files says best what is wrong with them (a list of another version in place of the right one).
        return replace(task, explain=lambda: _ignore(load(data_config(self.cfg, self.paths))))

    def split(self, seed: int) -> Task:
        """Who is labelled."""
        stage = Stage(
            kind="split",
            folder=self.paths.seed(seed),
            config=part(self.cfg, "split"),
            inputs={"data": self.paths.data / DONE, **_numbered(_published(self.cfg.split.lists))},
            outputs=("split.parquet",),
        )
        return self._task(stage, {"seed": seed}, lambda: self._draw_split(seed))

    def _draw_split(self, seed: int) -> None:
        drawn = usable_split(read_clips(self.paths.clips), self.cfg.split, seed, Manifest.open(self.paths.shards))
        check_pool(drawn, self.cfg.strategies)
        write_split(self.paths.split(seed), drawn)
        counts = ", ".join(f"{len(drawn.keys(role)):,} {role}" for role in ("labelled", "unlabelled", "test"))
        self.reporter.say(f"split of seed {seed}: {counts}; sha256 {drawn.sha256[:12]}")

    def evaluation(self, seed: int, strategy: StrategyName) -> Task:
        """Test the f_E of the last round."""
        cfg, folder = self.cfg, self.paths.evaluation(seed, strategy)
        last = 0 if cfg.rounds == 0 else 1 if strategy == "supervised" else cfg.rounds
        action = self.action_folder(seed, strategy, last)
        frame = self.frame_folder(seed, strategy, last if strategy in ALIGNING else 0) if self.aligning else None
        names = ("action_input", "frame_input", "evaluate", "reading.decode", "deterministic", "frame_stage.loss.gamma")
        stage = Stage(
            kind="evaluation",
            folder=folder,
            config=part(cfg, *names),
            inputs={
                **self._drawn(seed),
                "action_encoder": action / DONE,
                **({"frame_encoder": frame / DONE} if frame else {}),
            },
            outputs=("metrics.json", "predictions.parquet", *(("examples.npz",) if frame else ())),
            scratch=("parts",),
        )
        tags = {"seed": seed, "strategy": strategy, "round": last, "stage": "evaluation"}
        return self._task(stage, tags, lambda: self._evaluate(folder, action, frame, tags))

    def _evaluate(self, folder: Path, action: Path, frame: Path | None, tags: Mapping[str, Any]) -> None:
        cfg, (truth, classes) = self.cfg, read_truth(self.paths.clips)
        labels = {key: truth[key] for key in self.split_of(tags["seed"]).keys("test")}
        job = EvaluateJob(
            cfg=cfg,
            run=self.paths.root.resolve(),
            folder=folder.resolve(),
            shards=self.paths.shards.resolve(),
            n_classes=len(classes),
            action_weights=(action / WEIGHTS).resolve(),
        )
        about = {"strategy": tags["strategy"], "seed": tags["seed"], "rounds": tags["round"]}
        pool = plan_pool(cfg.resources.embed_actors, cfg.resources)
        with self.reporter.counting(self._name(folder)) as count:
            metrics = evaluate(job, labels, classes, pool, about=about, count=count)
        if frame:
            write_examples(cfg, self.paths.shards, labels, frame / WEIGHTS, folder / "examples.npz")
        self._scalars(
            tags, {f"eval/{n}": float(metrics[n]) for n in ("top1", "top5", "mean_class") if metrics[n] is not None}
        )

    def report(self) -> Task:
        """The HTML page of the whole run."""
        made = [self.evaluation(s, name).stage for s in self.cfg.seeds for name in self.cfg.strategies]
        stage = Stage(
            kind="report",
            folder=self.paths.root,
            config={},
            inputs={f"seed-{i}": stage.record for i, stage in enumerate(made)},
            outputs=("report.html",),
        )
        return self._task(stage, {}, lambda: _ignore(write_report(self.paths.root)))


def _numbered(files: Sequence[Path]) -> dict[str, Path]:
    """Name files from outside as inputs; two of them may have one name."""
    return {f"{number} {path.name}": path for number, path in enumerate(files)}


def _published(folder: str) -> list[Path]:
    return list_files(Path(folder)) if folder else []


def _ignore(_: object) -> None:
    """Drop a result."""
