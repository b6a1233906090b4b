"""Training of f_E: by cross-entropy on the labels in round 0, then as the method asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from finepseudo.methods.base import MAIN, AnyMethod, Score, Similarity, TrainAction
from finepseudo.methods.table import settings
from finepseudo.run_folder.done import DONE, Input
from finepseudo.run_folder.layout import PSEUDO_LABELS, WEIGHTS, RunPaths
from finepseudo.training.config import OptimConfig, OptimiserConfig
from jobs.pipeline.stages.base import Keys, name_of, tags_of, weights_file
from jobs.pipeline.stages.budget import accounts, counted_of_others, equal_steps
from jobs.pipeline.stages.pretrain import check_unseen
from jobs.pipeline.stages.training import (
    FIRST_ROUND,
    MC_DROPOUT,
    NO_SCORER,
    READING,
    Schedule,
    Tags,
    TrainingStage,
    items_of,
    labels_folder,
    labels_input,
    optim_keys,
    slowed,
)
from jobs.workers.labelling import check_ready

START = "action_encoder.weights"


def side_folder(paths: RunPaths, seed: int, method: AnyMethod | None, request: Score | Similarity) -> Path:
    """Find what a request made whose numbers another training reads."""
    where = paths.scores if isinstance(request, Score) else paths.similarity
    return where(seed, name_of(method), request.number)


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
        request, method = self.request, name_of(self.method)
        if request.start is None:
            return None
        return self.paths.action_encoder(self.seed, method, request.start, request.start_of)

    @property
    def pretrained(self) -> Path | None:
        """Where TCLR of f_E is, if this training, or another network of its objective, begins there."""
        if not self.cfg.action_encoder.pretrains or (self.before is not None and self.plain):
            return None
        return self.paths.action_pretrain(self.cfg.pretrain.owner(self.seed))

    @property
    def read_before(self) -> list[Path]:
        """Where the other trainings are whose weights the objective reads."""
        method = name_of(self.method)
        return [self.paths.action_encoder(self.seed, method, *where) for where in self.request.reads]

    @property
    def files(self) -> Mapping[str, Path | None]:
        """The files from outside that the method wants, by the key that names them."""
        method = self.method
        if method is None or method.files is None or self.request.plain:
            return {}
        wanted = method.files(settings(self.cfg.method, method.name))
        return {f"method.{method.name}.{key}": path for key, path in wanted.items()}

    @property
    def side(self) -> list[Path]:
        """Where the numbers of single clips are that the objective reads."""
        return [side_folder(self.paths, self.seed, self.method, request) for request in self.request.side]

    @property
    def keys(self) -> Keys:
        """The network, with its start where it begins there, what it is trained with, and the method's own keys."""
        later = not self.request.begins
        train = "action_stage.self_train" if later else "action_stage.train"
        order = "action_stage.self_order" if later else "action_stage.order"
        read = ["action_encoder", "action_stage.loss", "action_input", *READING, train, order]
        read += ["rounds", "action_stage.assumed_acceptance"] if later else []
        if self.plain:  # a curve alone changes nothing
            read += ["action_stage.keep"]
            read += (
                ["action_stage.keep_every", "action_stage.validate_every"]
                if self.cfg.action_stage.keep == "best"
                else []
            )
        read += self.method.keys_of_training(self.request) if self.method else []
        unread = [
            *MC_DROPOUT,
            *([f"{train}.optim"] if self._own_optim is not None else ()),
            *optim_keys(train, NO_SCORER, *([] if later else [FIRST_ROUND])),
        ]
        return Keys(read, [*unread, *((START,) if self.request.start is not None else ())])

    @property
    def plain(self) -> bool:
        """Tell whether it trains by cross-entropy alone."""
        return self.method is None or self.method.objective is None or self.request.plain

    @property
    def labels(self) -> Path | None:
        """Where the pseudo-labels are."""
        return labels_folder(self.run_of, self.seed, self.method, self.request.labels)

    @property
    def inputs(self) -> Mapping[str, Input]:
        """The label draw, the weights before or the published ones, the network's code, the pseudo-labels.

        Of these the accepted ones, or the whole record where an objective may read it.
        """
        found: dict[str, Input] = {**self.run_of.drawn(self.seed), **self.cfg.action_encoder.code}
        if self.method is not None and not self.plain:
            found |= self.method.code
        if self.before is None:
            found |= weights_file(START, self.cfg.action_encoder.weights_file)
        else:
            found["weights"] = self.before / DONE
        if self.pretrained is not None:
            found["pretrained"] = self.pretrained / DONE
        found |= {key: path for key, path in self.files.items() if path is not None}
        found |= {f"reads {i}": folder / DONE for i, folder in enumerate(self.read_before)}
        found |= accounts(self.run_of, self.seed) if self.accounted else {}
        found |= {f"side {i}": folder / DONE for i, folder in enumerate(self.side)}
        return {**found, **labels_input(self.labels, whole=not self.request.plain)}

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
        if self.method is None or self.request.begins:
            return None
        return settings(self.cfg.method, self.method.name).optim

    @property
    def schedule(self) -> Schedule:
        """How long and at which rate; over epochs of what, the clips say."""
        cfg, request = self.cfg.action_stage, self.request
        train = cfg.train if request.begins else cfg.self_train
        if (own := self._own_optim) is not None:
            train = replace(train, optim=OptimConfig(**{key.name: getattr(own, key.name) for key in fields(own)}))
        elif not request.begins and request.start is not None:  # one that begins from its start learns at the full rate
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
        from jobs.workers import models
        from shards.read.streams import StreamInput

        if self.pretrained is not None:
            check_unseen(self.run_of, self.seed)
        if self.method is not None:
            check_ready(self.run_of.split(self.seed), [self.method.name], self.cfg.method)
        streams = {
            stream.name: StreamInput(items=items_of(self.run_of, self.seed, stream.role, self.labels), reader=reader)
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
            labels=(self.labels / PSEUDO_LABELS).resolve() if self.labels else None,
            reads=tuple((folder / WEIGHTS).resolve() for folder in self.read_before),
            side=tuple(folder.resolve() for folder in self.side),
            pretrained=(self.pretrained / WEIGHTS).resolve() if self.pretrained else None,
        )
        objective = partial(models.action_objective, self.cfg, spec)
        self.fit(schedule, streams, objective, self.cfg.action_encoder.precision, self._chosen())

    def _chosen(self) -> Mapping[str, Any]:
        """Look at held-out clips now and then, where a curve or the best weights are wanted."""
        stage = self.cfg.action_stage
        every = stage.look_every if self.plain else stage.validate_every
        if not every or (not self.plain and self.request.name != MAIN):  # a network on the way has no classes yet
            return {}
        from jobs.workers.accuracy_probe import ACCURACY, AccuracyProbe

        tested = self.method.tested if self.method and not self.plain else "student"
        held = self.run_of.split(self.seed).items("held_out")
        probe = AccuracyProbe(cfg=self.cfg, shards=self.paths.shards.resolve(), held_out=held, tested=tested)
        keep = ACCURACY if self.plain and stage.keep == "best" else ""
        return {"probe": probe, "probe_every": every, "keep": keep}
