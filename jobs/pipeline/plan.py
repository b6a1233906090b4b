"""The only loop over seeds, strategies and rounds.

A plan is a list of groups; the tasks of one group do not depend on each other (f_E and f_A of a round).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from finepseudo.run_folder.done import is_done
from jobs.config.run import RunConfig
from jobs.config.sections import ALIGNING, StrategyName
from jobs.pipeline.stages.stage_maker import Task
from jobs.pipeline.stages.stages import Stages

Plan = list[list[Task]]

COMMANDS: dict[str, frozenset[str]] = {
    "write-shards": frozenset({"data"}),
    "split": frozenset({"split"}),
    "pretrain": frozenset({"pretrain"}),
    "train": frozenset({"frame_encoder", "action_encoder"}),
    "embed": frozenset({"embeddings"}),
    "score": frozenset({"scores", "pseudo_labels"}),
    "evaluate": frozenset({"evaluation"}),
    "report": frozenset({"report"}),
}
"""Which kinds of stages a command runs; `run` runs all."""
TRAINING = frozenset({"pretrain", "frame_encoder", "action_encoder"})
"""Kinds of stages that train."""


def make_plan(cfg: RunConfig, stages: Stages) -> Plan:
    """List every stage of a run in an order in which each finds what it needs."""
    plan = [[stages.data()]]
    for seed in cfg.seeds:
        plan += [[stages.split(seed)]]
        plan += _round_zero(cfg, stages, seed)
        for strategy in cfg.strategies:
            plan += _self_training(cfg, stages, seed, strategy)
            plan.append([stages.evaluation(seed, strategy)])
    return [*plan, [stages.report()]]


def _round_zero(cfg: RunConfig, stages: Stages, seed: int) -> Iterator[list[Task]]:
    """Training on the labels alone, shared by all strategies of a seed."""
    if not stages.aligning:
        yield [stages.action_encoder(seed, None, 0)]
    else:
        yield [stages.pretrain(seed)]
        yield [stages.action_encoder(seed, None, 0), stages.frame_encoder(seed, None, 0)]
    if any(strategy != "supervised" for strategy in cfg.strategies):
        yield [stages.embeddings(seed, None, 0)]
    if stages.aligning:
        yield [stages.scores(seed, None, 0)]


def _self_training(cfg: RunConfig, stages: Stages, seed: int, strategy: StrategyName) -> Iterator[list[Task]]:
    """The rounds of one strategy: round r trains on the pseudo-labels of round r - 1."""
    if strategy == "supervised":
        if cfg.rounds:
            yield [stages.action_encoder(seed, strategy, 1)]
        return
    yield [stages.labels(seed, strategy, 0)]
    for number in range(1, cfg.rounds + 1):
        encoders = [stages.action_encoder(seed, strategy, number)]
        if strategy in ALIGNING:
            encoders.append(stages.frame_encoder(seed, strategy, number))
        yield encoders
        if number < cfg.rounds or cfg.embed.last_round:
            yield [stages.embeddings(seed, strategy, number)]
            if strategy in ALIGNING:
                yield [stages.scores(seed, strategy, number)]
            yield [stages.labels(seed, strategy, number)]


def unfinished(plan: Plan, kinds: Collection[str] | None = None) -> list[Task]:
    """List what is not done, of the given kinds only where given."""
    tasks = (task for group in plan for task in group if kinds is None or task.stage.kind in kinds)
    return [task for task in tasks if not is_done(task.stage)]
