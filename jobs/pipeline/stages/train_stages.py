"""The training stages: pre-training of f_A, metric learning of f_A and f_S, cross-entropy training of f_E."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from finepseudo.run_folder.done import DONE, Stage
from jobs.config.run import part
from jobs.config.sections import InputConfig, StrategyName
from jobs.config.training import TrainConfig
from jobs.pipeline.stages.stage_maker import StageMaker, Task
from jobs.workers import models
from jobs.workers.train import TrainJob, fit
from jobs.workers.train_loop import CHECKPOINTS, FAILURE, LOG, WEIGHTS, LoopJob, seed_of
from shards.read.config import OrderConfig
from shards.types import ItemTable

TRAIN_SCRATCH = (CHECKPOINTS, LOG, FAILURE, "ray")


class TrainStages(StageMaker):
    """Makes the training stages."""

    def pretrain(self, seed: int) -> Task:
        """GITDL of f_A on the videos alone."""
        cfg, folder = self.cfg, self.paths.seed(seed) / "pretrain"
        stage = Stage(
            kind="pretrain",
            folder=folder,
            config=part(cfg, "frame_encoder", "pretrain", "reading.decode", "deterministic"),
            inputs={**self._drawn(seed), **_file("frame_encoder.weights", cfg.frame_encoder.weights_file)},
            outputs=(WEIGHTS,),
            scratch=TRAIN_SCRATCH,
        )
        tags = {"seed": seed, "strategy": None, "round": None, "stage": "pretrain"}
        return self._task(stage, tags, lambda: self._pretrain(seed, folder, tags))

    def _pretrain(self, seed: int, folder: Path, tags: Mapping[str, Any]) -> None:
        cfg, split = self.cfg, self.split_of(seed)
        roles = ("labelled", "unlabelled") if cfg.pretrain.with_labelled else ("unlabelled",)
        items = ItemTable.unlabelled(sorted(key for role in roles for key in split.keys(role)))
        make = partial(models.gitdl, cfg, seed)
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
        make = partial(models.alignability, cfg, seed, (before / WEIGHTS).resolve())
        self._fit(folder, tags, train=train, items=items, inputs=cfg.frame_input, order=stage.order, objective=make)

    def action_encoder(self, seed: int, strategy: StrategyName | None, number: int) -> Task:
        """Cross-entropy training of f_E. `supervised` spends the steps of all rounds on the labels, in one go."""
        cfg, folder = self.cfg, self.action_folder(seed, strategy, number)
        names = ["action_encoder", "action_stage.loss", "action_input", "reading.decode", "deterministic"]
        names += ["action_stage.train", "action_stage.order"]
        inputs = {**self._drawn(seed), **_file("action_encoder.weights", cfg.action_encoder.weights_file)}
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
        make = partial(models.cross_entropy, cfg, seed, self.n_classes(), weights)
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


def _file(name: str, path: Path | None) -> dict[str, Path]:
    return {name: path} if path else {}
