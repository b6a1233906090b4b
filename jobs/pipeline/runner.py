"""The one place that runs stages: running a plan runs what is not done. Resuming is running the plan again."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from finepseudo.run_folder.done import begin, finish, is_done
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.cluster.resources import uses_gpu
from jobs.config.run import RunConfig
from jobs.pipeline.plan import Plan
from jobs.pipeline.run_folder import write_config
from jobs.pipeline.stages.stage_maker import Task
from jobs.pipeline.stages.stages import Stages
from shards.errors import UserError


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
