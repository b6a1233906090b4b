"""Every stage of a run: its folder, what it depends on, and what it does. No loop over rounds here (jobs/rounds.py)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from finepseudo.artifacts import DONE, RunPaths, Stage
from finepseudo.checkpoint import save_weights
from finepseudo.report import write_report
from jobs import objectives
from jobs.config import ALIGNING, InputConfig, RunConfig, StrategyName, part
from jobs.embed import EmbedJob, embed
from jobs.evaluate import EvaluateJob, evaluate, write_examples
from jobs.labelling import label_pool_of, pseudo_items, read_truth, usable_split
from jobs.progress import Reporter
from jobs.ray_map import plan_pool
from jobs.score import GALLERY, ScoreJob, Scorer, pack_gallery, score
from jobs.train import TrainJob, fit
from jobs.train_loop import CHECKPOINTS, FAILURE, LOG, WEIGHTS, LoopJob, TrainConfig, seed_of
from jobs.write_shards import source_files, write_data
from shards.annotations.base import read_clips
from shards.label_split import LabelSplit, read_split, write_split
from shards.manifest import Manifest
from shards.order import OrderConfig
from shards.types import ItemTable

TRAIN_SCRATCH = (CHECKPOINTS, LOG, FAILURE, "ray")


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One stage with its action. `tags` mark its lines in the log; tasks of one group may run side by side."""

    stage: Stage
    name: str
    tags: Mapping[str, Any]
    action: Callable[[], None]


class Stages:
    """Makes the tasks of one run. Nothing is read or written until a task's action is called."""

    def __init__(self, cfg: RunConfig, reporter: Reporter) -> None:
        """Make tasks for the run that `cfg` describes."""
        self.cfg, self.paths, self.reporter = cfg, RunPaths(cfg.folder), reporter
        self.aligning = any(strategy in ALIGNING for strategy in cfg.strategies)

    # -- data -----------------------------------------------------------------------------------------------------

    def data(self) -> Task:
        """Annotations, shards, quarantine."""
        stage = Stage(
            kind="data",
            folder=self.paths.data,
            config=part(self.cfg, "data", "shards"),
            inputs={path.name: path for path in source_files(self.cfg.data)},
            outputs=("clips.parquet", "quarantine.parquet", "shards/manifest.json", "shards/manifest.parquet"),
            scratch=("shards",),
        )
        return self._task(stage, {}, lambda: _ignore(write_data(self.cfg, self.paths, self.reporter.say)))

    def split(self, seed: int) -> Task:
        """Who is labelled."""
        stage = Stage(
            kind="split",
            folder=self.paths.seed(seed),
            config=part(self.cfg, "split"),
            inputs={"data": self.paths.data / DONE},
            outputs=("split.parquet",),
        )
        return self._task(stage, {"seed": seed}, lambda: self._draw_split(seed))

    def _draw_split(self, seed: int) -> None:
        drawn = usable_split(read_clips(self.paths.clips), self.cfg.split, seed, Manifest.open(self.paths.shards))
        write_split(self.paths.split(seed), drawn)
        counts = ", ".join(f"{len(drawn.keys(role)):,} {role}" for role in ("labelled", "unlabelled", "test"))
        self.reporter.say(f"split of seed {seed}: {counts}; sha256 {drawn.sha256[:12]}")

    # -- training -------------------------------------------------------------------------------------------------

    def pretrain(self, seed: int) -> Task:
        """GITDL of f_A on the videos alone."""
        cfg, folder = self.cfg, self.paths.seed(seed) / "pretrain"
        stage = Stage(
            kind="pretrain",
            folder=folder,
            config=part(cfg, "frame_encoder", "pretrain", "reading.decode", "deterministic"),
            inputs={**self._drawn(seed), **_file("frame_encoder.weights", cfg.frame_encoder.weights)},
            outputs=(WEIGHTS,),
            scratch=TRAIN_SCRATCH,
        )
        tags = {"seed": seed, "strategy": None, "round": None, "stage": "pretrain"}
        return self._task(stage, tags, lambda: self._pretrain(seed, folder, tags))

    def _pretrain(self, seed: int, folder: Path, tags: Mapping[str, Any]) -> None:
        cfg, split = self.cfg, self.split_of(seed)
        roles = ("labelled", "unlabelled") if cfg.pretrain.with_labelled else ("unlabelled",)
        items = ItemTable.unlabelled(sorted(key for role in roles for key in split.keys(role)))
        make = partial(objectives.gitdl, cfg, seed)
        stage = cfg.pretrain
        self._fit(folder, tags, train=stage.train, items=items, inputs=stage.input, order=stage.order, objective=make)

    def frame_encoder(self, seed: int, strategy: StrategyName | None, number: int) -> Task:
        """Metric learning of f_A and f_S: round 0 on the labels, later rounds on labels and pseudo-labels."""
        cfg, folder = self.cfg, self.frame_folder(seed, strategy, number)
        before = self.paths.seed(seed) / "pretrain" if number == 0 else self.frame_folder(seed, strategy, number - 1)
        names = ["frame_encoder", "frame_stage.loss", "frame_stage.scorer", "frame_stage.freeze_image"]
        names += ["frame_stage.order", "frame_input", "reading.decode", "deterministic"]
        names += ["frame_stage.train"] if number == 0 else ["frame_stage.self_train", "rounds"]
        stage = Stage(
            kind="frame_encoder",
            folder=folder,
            config=part(cfg, *names),
            inputs={**self._drawn(seed), "weights": before / DONE, **self._labels_before(seed, strategy, number)},
            outputs=(WEIGHTS,),
            scratch=TRAIN_SCRATCH,
        )
        tags = {"seed": seed, "strategy": strategy, "round": number, "stage": "frame_encoder"}
        return self._task(stage, tags, lambda: self._train_frame(seed, strategy, number, before, tags))

    def _train_frame(
        self, seed: int, strategy: StrategyName | None, number: int, before: Path, tags: Mapping[str, Any]
    ) -> None:
        cfg, folder = self.cfg, self.frame_folder(seed, strategy, number)
        stage, items = cfg.frame_stage, self._items(seed, strategy, number)
        train = stage.self_train if number else stage.train
        make = partial(objectives.alignability, cfg, seed, (before / WEIGHTS).resolve())
        self._fit(folder, tags, train=train, items=items, inputs=cfg.frame_input, order=stage.order, objective=make)

    def action_encoder(self, seed: int, strategy: StrategyName | None, number: int) -> Task:
        """Cross-entropy training of f_E. `supervised` spends the steps of all rounds on the labels, in one go."""
        cfg, folder = self.cfg, self.action_folder(seed, strategy, number)
        names = ["action_encoder", "action_stage.loss", "action_input", "reading.decode", "deterministic"]
        names += ["action_stage.train", "action_stage.order"]
        inputs = {**self._drawn(seed), **_file("action_encoder.weights", cfg.action_encoder.weights)}
        before = None
        if number > 0:
            before = self.action_folder(seed, strategy, number - 1)
            names[-2:] = ["action_stage.self_train", "action_stage.self_order", "rounds"]
            inputs = {**self._drawn(seed), "weights": before / DONE, **self._labels_before(seed, strategy, number)}
        stage = Stage(
            kind="action_encoder",
            folder=folder,
            config=part(cfg, *names),
            inputs=inputs,
            outputs=(WEIGHTS,),
            scratch=TRAIN_SCRATCH,
        )
        tags = {"seed": seed, "strategy": strategy, "round": number, "stage": "action_encoder"}
        return self._task(stage, tags, lambda: self._train_action(seed, strategy, number, before, tags))

    def _train_action(
        self, seed: int, strategy: StrategyName | None, number: int, before: Path | None, tags: Mapping[str, Any]
    ) -> None:
        cfg, folder = self.cfg, self.action_folder(seed, strategy, number)
        weights = (before / WEIGHTS).resolve() if before else None
        make = partial(objectives.cross_entropy, cfg, seed, self.n_classes(), weights)
        train, order = cfg.action_stage.train, cfg.action_stage.order
        if number > 0:
            train, order = cfg.action_stage.self_train, cfg.action_stage.self_order
        if strategy == "supervised":
            train = replace(train, steps=(train.steps or 0) * cfg.rounds)
        items = self._items(seed, strategy, number)
        self._fit(folder, tags, train=train, items=items, inputs=cfg.action_input, order=order, objective=make)

    def _fit(
        self,
        folder: Path,
        tags: Mapping[str, Any],
        *,
        train: TrainConfig,
        items: ItemTable,
        inputs: InputConfig,
        order: OrderConfig,
        objective: Callable[[], nn.Module],
    ) -> None:
        cfg, number = self.cfg, tags["round"] or 0
        if number > 0:
            optim = train.optim
            train = replace(train, optim=replace(optim, lr=optim.lr * optim.self_training_factor))
        whole = tags["strategy"] == "supervised"
        loop = LoopJob(
            run=self.paths.root.resolve(),
            folder=folder.resolve(),
            stage=self._name(folder),
            train=train,
            seed=seed_of(tags["seed"], tags["stage"], number),
            tags=tags,
            part=number - 1 if number > 0 and not whole else 0,
            parts=cfg.rounds if number > 0 and not whole else 1,
        )
        job = TrainJob(
            loop=loop,
            shards=self.paths.shards.resolve(),
            items=items,
            reader=cfg.reader(inputs, order),
            objective=objective,
            threads=cfg.resources.threads,
            deterministic=cfg.deterministic,
        )
        with self.reporter.follow(loop.stage, folder / LOG):
            fit(job, cfg.resources)

    # -- pseudo-labels --------------------------------------------------------------------------------------------

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
            config=part(cfg, "frame_input", "action_input", "embed.chunk", "reading.decode", "deterministic"),
            inputs=inputs,
            outputs=("part-*.parquet",),
        )
        tags = {"seed": seed, "strategy": strategy, "round": number, "stage": "embeddings"}
        return self._task(stage, tags, lambda: self._embed(seed, folder, action, frame, tags))

    def _embed(self, seed: int, folder: Path, action: Path, frame: Path | None, tags: Mapping[str, Any]) -> None:
        split = self.split_of(seed)
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
        made = embed(job, keys, plan_pool(self.cfg.resources.embed_actors, self.cfg.resources))
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
            config=part(self.cfg, "embed.gallery_per_class", "frame_stage.loss.gamma", "frame_stage.scorer"),
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
        made = score(job, plan_pool(cfg.resources.score_actors, cfg.resources))
        pairs, seconds = sum(row["pairs"] for row in made), sum(row["seconds"] for row in made)
        falls = Scorer(objectives.trained_scorer(cfg, frame / WEIGHTS), gallery["embeddings"].shape[1]).falls()
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
        names = ("accepted", "coverage", "precision", "precision_A", "precision_E")
        self._scalars(tags, {f"pseudo/{name}": float(metrics[name]) for name in names if metrics[name] is not None})
        right = "–" if metrics["precision"] is None else f"{100 * metrics['precision']:.1f} % right"
        self.reporter.say(f"{self._name(folder)}: {metrics['accepted']:,} of {metrics['pool']:,} accepted, {right}")

    # -- results --------------------------------------------------------------------------------------------------

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
        metrics = evaluate(job, labels, classes, pool, about)
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

    # -- what tasks share -----------------------------------------------------------------------------------------

    def frame_folder(self, seed: int, strategy: StrategyName | None, number: int) -> Path:
        """Where f_A of a round is; round 0 is shared by all strategies."""
        return self.paths.round(seed, strategy if number else None, number) / "frame_encoder"

    def action_folder(self, seed: int, strategy: StrategyName | None, number: int) -> Path:
        """Where f_E of a round is; round 0 is shared by all strategies."""
        return self.paths.round(seed, strategy if number else None, number) / "action_encoder"

    def split_of(self, seed: int) -> LabelSplit:
        """Read the split of a seed."""
        return read_split(self.paths.split(seed))

    def n_classes(self) -> int:
        """Count the classes of the data set."""
        return len(read_clips(self.paths.clips).classes)

    def _items(self, seed: int, strategy: StrategyName | None, number: int) -> ItemTable:
        labelled = self.split_of(seed).items("labelled")
        if number == 0 or strategy is None or strategy == "supervised":
            return labelled
        return pseudo_items(labelled, self.paths.round(seed, strategy, number - 1) / "pseudo_labels.parquet")

    def _drawn(self, seed: int) -> dict[str, Path]:
        return {"data": self.paths.data / DONE, "split": self.paths.seed(seed) / DONE}

    def _labels_before(self, seed: int, strategy: StrategyName | None, number: int) -> dict[str, Path]:
        if number == 0 or strategy is None or strategy == "supervised":
            return {}
        return {"pseudo_labels": self.paths.round(seed, strategy, number - 1) / DONE}

    def _name(self, folder: Path) -> str:
        return folder.relative_to(self.paths.root).as_posix()

    def _task(self, stage: Stage, tags: Mapping[str, Any], action: Callable[[], None]) -> Task:
        name = self._name(stage.folder) if stage.folder != self.paths.root else "report"
        return Task(stage=stage, name="split of " + name if stage.kind == "split" else name, tags=tags, action=action)

    def _scalars(self, tags: Mapping[str, Any], values: Mapping[str, float]) -> None:
        head = {"time": time.time(), **tags, "step": tags["round"] or 0, "epoch": tags["round"] or 0}
        self.reporter.scalars({**head, **values})


def _ignore(_: object) -> None:
    """Drop a result."""


def _file(name: str, path: str | None) -> dict[str, Path]:
    return {name: Path(path)} if path else {}
