"""Training of f_E: by cross-entropy on the labels in round 0, then as the method asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

from finepseudo.methods.base import OPTIM, AnyMethod, TrainAction
from finepseudo.methods.table import settings
from finepseudo.run_folder.done import DONE
from finepseudo.run_folder.layout import WEIGHTS
from finepseudo.training.config import OptimConfig, OptimiserConfig
from jobs.pipeline.stages.base import Keys, name_of, tags_of, weights_file
from jobs.pipeline.stages.budget import accounts, counted_of_others, equal_steps
from jobs.pipeline.stages.training import (
    FIRST_ROUND,
    NO_SCORER,
    READING,
    Schedule,
    Tags,
    TrainingStage,
    items_of,
    labels_input,
    labels_table,
    optim_keys,
    slowed,
)
from jobs.workers import models
from shards.read.streams import StreamInput

START = "action_encoder.weights"


@dataclass(frozen=True, kw_only=True)
class ActionEncoderStage(TrainingStage):
    """One training of f_E; method None is round 0."""

    kind = "action_encoder"
    method: AnyMethod | None
    request: TrainAction

    @property
    def folder(self) -> Path:
        """Where f_E of the round is."""
        return self.paths.action_encoder(self.seed, name_of(self.method), self.request.number, self.request.name)

    @property
    def before(self) -> Path | None:
        """Where the weights are that it goes on from."""
        start = self.request.start
        return None if start is None else self.paths.action_encoder(self.seed, name_of(self.method), start)

    @property
    def read_before(self) -> list[Path]:
        """Where the other trainings are whose weights the objective reads."""
        method = name_of(self.method)
        return [self.paths.action_encoder(self.seed, method, *where) for where in self.request.reads]

    @property
    def keys(self) -> Keys:
        """The network, with its start where it begins there, what it is trained with, and the method's own keys."""
        later = self.request.number > 0
        train = "action_stage.self_train" if later else "action_stage.train"
        order = "action_stage.self_order" if later else "action_stage.order"
        read = ["action_encoder", "action_stage.loss", "action_input", *READING, train, order]
        read += ["rounds", "action_stage.assumed_acceptance"] if later else []
        if self.method is not None:
            keys = self.method.keys_of("training")
            read += [key for key in keys if key.endswith(f".{OPTIM}") or not self.request.plain]
        unread = [
            "action_encoder.mc_passes",
            "action_encoder.mc_temperature",
            *([f"{train}.optim"] if self._own_optim is not None else ()),
            *optim_keys(train, NO_SCORER, *([] if later else [FIRST_ROUND])),
        ]
        return Keys(read, [*unread, *((START,) if self.request.start is not None else ())])

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The label draw, the weights before or the published ones, the pseudo-labels."""
        found = {**self.run_of.drawn(self.seed)}
        if self.before is None:
            found |= weights_file("action_encoder.weights", self.cfg.action_encoder.weights_file)
        else:
            found["weights"] = self.before / DONE
        found |= {f"reads {i}": folder / DONE for i, folder in enumerate(self.read_before)}
        found |= accounts(self.run_of, self.seed) if self.accounted else {}
        return {**found, **labels_input(self.run_of, self.seed, self.method, self.request.labels)}

    @property
    def tags(self) -> Tags:
        """Mark its lines."""
        return tags_of(self.folder.name, self.seed, self.method, self.request.number)

    @property
    def accounted(self) -> bool:
        """Whether it takes the steps that other methods' rounds took."""
        return bool(self.request.number) and counted_of_others(self.cfg, self.request)

    @property
    def _own_optim(self) -> OptimiserConfig | None:
        """The optimiser that the method asks for."""
        return None if self.method is None else settings(self.cfg.method, self.method.name).optim

    @property
    def schedule(self) -> Schedule:
        """How long and at which rate; over epochs of what, the clips say."""
        cfg, request = self.cfg.action_stage, self.request
        train = cfg.self_train if request.number else cfg.train
        if (own := self._own_optim) is not None:
            train = replace(train, optim=OptimConfig(**{key.name: getattr(own, key.name) for key in fields(own)}))
        elif request.number and request.start is not None:  # one that begins anew learns at the full rate
            train = slowed(train)
        if request.epochs is not None:
            train = replace(train, steps=None, clips=None, epochs=request.epochs)
        elif request.number and train.epochs is not None:
            train = replace(train, epochs=train.epochs * request.times)
        elif request.number:
            train = train.in_steps(0, cfg.self_order.batch_size, request.times)
        return Schedule(train=train, part=request.part, parts=request.parts)

    def run(self) -> None:
        """Train."""
        labels = labels_table(self.run_of, self.seed, self.method, self.request.labels)
        streams = {
            stream.name: StreamInput(items=items_of(self.run_of, self.seed, stream.role, labels), reader=reader)
            for stream, reader in self.cfg.streams_of(self.method, self.request)
        }
        schedule = self.schedule
        if self.accounted:
            steps = max(1, round(equal_steps(self.run_of, self.seed) * self.request.times / self.cfg.rounds))
            schedule = replace(schedule, train=replace(schedule.train, steps=steps, epochs=None))
        schedule = schedule.over(next(iter(streams.values())))
        spec = models.ActionTraining(
            request=self.request,
            method=self.method.name if self.method else None,
            seed=self.seed,
            n_classes=self.run_of.n_classes(),
            steps=schedule.train.steps or 0,
            start=(self.before / WEIGHTS).resolve() if self.before else None,
            labels=labels.resolve() if labels else None,
            reads=tuple((folder / WEIGHTS).resolve() for folder in self.read_before),
        )
        objective = partial(models.action_objective, self.cfg, spec)
        self.fit(schedule, streams, objective, self.cfg.action_encoder.precision)
