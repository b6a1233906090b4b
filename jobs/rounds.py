"""The only loop over seeds, strategies and rounds, and the one place that runs stages.

A plan is a list of groups; the tasks of one group do not depend on each other (f_E and f_A of a round). Running a plan
runs what is not done. Resuming is running the plan again.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from finepseudo.run_folder.done import begin, finish, is_done
from jobs import preempt
from jobs.config import ALIGNING, RunConfig, StrategyName
from jobs.run_folder import write_config
from jobs.stage_maker import Task
from jobs.stages import Stages
from jobs.train import Preempted, uses_gpu
from shards.errors import UserError

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


def run_plan(
    cfg: RunConfig, stages: Stages, plan: Plan, code_version: str, kinds: Collection[str] | None = None
) -> int:
    """Run what is not done, of the given kinds only where given; return how many stages ran.

    A command for single stages leaves out those whose inputs are not there yet, and refuses when that is all of them.
    """
    ran, ready, lacking = 0, 0, ""
    for group in plan:
        wanted = [task for task in group if kinds is None or task.stage.kind in kinds]
        missing = [str(path) for task in wanted for path in task.stage.missing()]
        if missing:
            for task in wanted:
                task.explain()
            lacking = lacking or f"{wanted[0].name}: needs {missing[0]}, which is not there"
            if kinds is None:
                raise UserError(lacking + "; is the path right?")
            continue
        ready += len(wanted)
        todo = [task for task in wanted if not is_done(task.stage)]
        if todo and preempt.requested(stages.paths.root):
            raise Preempted
        if todo:
            write_config(cfg)
        _run_group(cfg, stages, todo, code_version)
        ran += len(todo)
    if not ready and lacking:
        raise UserError(lacking + "; run the stage before it first, or `finepseudo run` for all")
    return ran


def _run_group(cfg: RunConfig, stages: Stages, tasks: Sequence[Task], code_version: str) -> None:
    if len(tasks) < 2 or not side_by_side(cfg, len(tasks)):
        for task in tasks:
            _run_task(stages, task, code_version)
        return
    with ThreadPoolExecutor(len(tasks)) as pool:
        futures = [pool.submit(_run_task, stages, task, code_version) for task in tasks]
    errors = [error for future in futures if (error := future.exception())]
    if errors:  # a stop request of one is one of all; anything else is the news
        raise next((error for error in errors if not isinstance(error, Preempted)), errors[0])


def side_by_side(cfg: RunConfig, count: int) -> bool:
    """Decide whether `count` trainings fit into the cluster at the same time."""
    import ray

    wanted = cfg.resources.parallel_encoders
    if wanted != "auto":
        return wanted
    have = ray.cluster_resources()
    gpus = count * cfg.resources.workers <= have.get("GPU", 0) if uses_gpu(cfg.resources) else True
    return gpus and count * cfg.resources.workers * cfg.resources.cpus_per_worker <= have.get("CPU", 0)


def _run_task(stages: Stages, task: Task, code_version: str) -> None:
    resuming = begin(task.stage)
    if not resuming and task.tags:
        stages.reporter.forget(task.tags)
    stages.reporter.say(f"{task.name}: {'goes on' if resuming else 'starts'} ({task.stage.kind})")
    started = time.perf_counter()
    task.action()
    wall = time.perf_counter() - started
    finish(task.stage, wall_s=wall, code_version=code_version)
    stages.reporter.say(f"{task.name}: done in {wall:.1f} s")
