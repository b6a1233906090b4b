"""The stages between two trainings: embeddings, class scores, pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finepseudo.run_folder.done import DONE, Stage
from finepseudo.training.checkpoint import save_weights
from jobs.config.run import part
from jobs.config.sections import ALIGNING, StrategyName
from jobs.pipeline.stages.stage_maker import StageMaker, Task
from jobs.workers import models
from jobs.workers.embed import EmbedJob, embed
from jobs.workers.labelling import check_pool, label_pool_of, read_truth
from jobs.workers.map_parts import plan_pool
from jobs.workers.score import GALLERY, ScoreJob, Scorer, pack_gallery, score
from jobs.workers.train_loop import WEIGHTS


class LabelStages(StageMaker):
    """Makes the labelling stages."""

    def embeddings(self, seed: int, strategy: StrategyName | None, number: int) -> Task:
        """Both encoders (f_E alone where no vote needs f_A) over the labelled and the unlabelled clips."""
        cfg, folder = self.cfg, self.paths.round(seed, strategy, number) / "embeddings"
        action = self.action_folder(seed, strategy, number)
        inputs = {**self._drawn(seed), "action_encoder": action / DONE}
        frame = None
        if self.aligning if strategy is None else strategy in ALIGNING:
            frame = self.frame_folder(seed, strategy, number)
            inputs["frame_encoder"] = frame / DONE
        stage = Stage(
            kind="embeddings",
            folder=folder,
            config=part(
                cfg, "frame_input", "action_input", "embed.chunk", "embed.batch", "reading.decode", "deterministic"
            ),
            inputs=inputs,
            outputs=("part-*.parquet",),
        )
        tags = {"seed": seed, "strategy": strategy, "round": number, "stage": "embeddings"}
        return self._task(stage, tags, lambda: self._embed(seed, folder, action, frame, tags))

    def _embed(self, seed: int, folder: Path, action: Path, frame: Path | None, tags: Mapping[str, Any]) -> None:
        split = self.split_of(seed)
        check_pool(split, self.cfg.strategies)  # the split may be older than the strategies
        keys = [*split.keys("labelled"), *(split.keys("unlabelled"))]
        job = EmbedJob(
            cfg=self.cfg,
            run=self.paths.root.resolve(),
            folder=folder.resolve(),
            shards=self.paths.shards.resolve(),
            n_classes=self.n_classes(),
            seed=seed,
            action_weights=(action / WEIGHTS).resolve(),
            frame_weights=(frame / WEIGHTS).resolve() if frame else None,
        )
        pool = plan_pool(self.cfg.resources.embed_actors, self.cfg.resources)
        with self.reporter.counting(self._name(folder)) as count:
            made = embed(job, keys, pool, count)
        clips, seconds = sum(row["clips"] for row in made), sum(row["seconds"] for row in made)
        if seconds:
            self._scalars(tags, {"embed/clips_per_s": clips / seconds, "data/bad_clips": sum(r["bad"] for r in made)})

    def scores(self, seed: int, strategy: StrategyName | None, number: int) -> Task:
        """Class-wise alignability of the unlabelled pool."""
        folder = self.paths.round(seed, strategy, number) / "scores"
        embeddings, frame = folder.parent / "embeddings", self.frame_folder(seed, strategy, number)
        stage = Stage(
            kind="scores",
            folder=folder,
            config=part(
                self.cfg,
                "embed.gallery_per_class",
                "embed.gallery_dtype",
                "frame_stage.loss.gamma",
                "frame_stage.scorer",
            ),
            inputs={**self._drawn(seed), "embeddings": embeddings / DONE, "frame_encoder": frame / DONE},
            outputs=("part-*.parquet", GALLERY),
        )
        tags = {"seed": seed, "strategy": strategy, "round": number, "stage": "scores"}
        return self._task(stage, tags, lambda: self._score(folder, embeddings, frame, tags))

    def _score(self, folder: Path, embeddings: Path, frame: Path, tags: Mapping[str, Any]) -> None:
        cfg, split = self.cfg, self.split_of(tags["seed"])
        labelled = split.items("labelled")
        labels = dict(zip(labelled.keys, labelled.labels.tolist(), strict=True))
        gallery = pack_gallery(cfg, embeddings, labels, self.n_classes(), seed=tags["seed"], number=tags["round"])
        save_weights(folder / GALLERY, gallery)
        job = ScoreJob(
            cfg=cfg,
            run=self.paths.root.resolve(),
            folder=folder.resolve(),
            embeddings=embeddings.resolve(),
            frame_weights=(frame / WEIGHTS).resolve(),
            split=self.paths.split(tags["seed"]).resolve(),
            n_classes=self.n_classes(),
        )
        with self.reporter.counting(self._name(folder)) as count:
            made = score(job, plan_pool(cfg.resources.score_actors, cfg.resources), count)
        pairs, seconds = sum(row["pairs"] for row in made), sum(row["seconds"] for row in made)
        falls = Scorer(models.trained_scorer(cfg, frame / WEIGHTS), gallery["embeddings"].shape[1]).falls()
        rate = {"align/pairs_per_s": pairs / seconds} if seconds else {}
        self._scalars(tags, {**rate, "align/score_monotone": float(falls)})

    def labels(self, seed: int, strategy: StrategyName, number: int) -> Task:
        """Pseudo-labels of one strategy and, apart from them, how right they are."""
        source = self.paths.round(seed, strategy if number else None, number)
        folder = self.paths.round(seed, strategy, number)
        inputs = {**self._drawn(seed), "embeddings": source / "embeddings" / DONE}
        if strategy in ALIGNING:
            inputs["scores"] = source / "scores" / DONE
        stage = Stage(
            kind="pseudo_labels",
            folder=folder,
            config={**part(self.cfg, "pseudo_labels"), "strategy": strategy},
            inputs=inputs,
            outputs=("pseudo_labels.parquet", "pseudo_metrics.json"),
        )
        tags = {"seed": seed, "strategy": strategy, "round": number, "stage": "pseudo_labels"}
        return self._task(stage, tags, lambda: self._label(folder, source, strategy, tags))

    def _label(self, folder: Path, source: Path, strategy: StrategyName, tags: Mapping[str, Any]) -> None:
        pool = frozenset(self.split_of(tags["seed"]).keys("unlabelled"))
        scores = source / "scores" if strategy in ALIGNING else None
        truth, classes = read_truth(self.paths.clips)
        metrics = label_pool_of(
            self.cfg.labels(strategy),
            folder,
            embeddings=source / "embeddings",
            scores=scores,
            pool=pool,
            truth=truth,
            classes=classes,
        )
        names = ("accepted", "coverage", "precision", "precision_A", "precision_E", "novel_acceptance")
        self._scalars(tags, {f"pseudo/{name}": float(metrics[name]) for name in names if metrics[name] is not None})
        right = "not judged" if metrics["precision"] is None else f"{100 * metrics['precision']:.1f} % right"
        if metrics["judged"] < metrics["accepted"]:
            right += f" ({metrics['judged']:,} of them in clips whose class is known)"
        novel = metrics["novel_acceptance"]
        right += (
            "" if novel is None else f"; of {metrics['novel']:,} clips of novel classes {100 * novel:.1f} % accepted"
        )
        self.reporter.say(f"{self._name(folder)}: {metrics['accepted']:,} of {metrics['pool']:,} accepted, {right}")
