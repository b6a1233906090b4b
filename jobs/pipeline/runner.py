"""The one place that runs stages: running a plan runs what is not done. Resuming is running the plan again."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from finepseudo.report.blocks import Alarm
from finepseudo.report.health import Labels, Records, health
from finepseudo.run_folder.done import begin, finish, is_done, tidy
from finepseudo.run_folder.files import read_json
from finepseudo.run_folder.layout import PSEUDO_METRICS
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.cluster.resources import uses_gpu, workers_of
from jobs.config.run import RunConfig
from jobs.pipeline.freeing import free_old
from jobs.pipeline.plan import Plan
from jobs.pipeline.run_folder import write_config
from jobs.pipeline.stages.base import Run, Stage
from jobs.pipeline.time_left import TimeLeft
from jobs.progress import Tail
from shards.errors import UserError


def run_plan(run: Run, plan: Plan, code_version: str, kinds: Collection[str] | None = None, *, write: bool) -> int:
    """Run what is not done, of the given kinds only where given; return how many stages ran.

    write: keep config.yaml true; only commands that may change what a run is made with do so. A command for single
    stages leaves out those whose inputs are not there yet, and refuses when that is all of them.
    """
    ran, ready, lacking = 0, 0, ""
    left = TimeLeft(plan, kinds)
    for group in plan:
        wanted = [stage for stage in group if kinds is None or stage.kind in kinds]
        for stage in [stage for stage in wanted if stage.identity.missing()]:
            wanted.remove(stage)
            stage.explain()
            lacking = lacking or f"{stage.name}: needs {stage.identity.missing()[0]}, which is missing or damaged"
            if kinds is None:
                raise UserError(lacking + "; is the path right?")
        ready += len(wanted)
        todo = [stage for stage in wanted if not is_done(stage.identity)]
        for stage in wanted:
            if stage not in todo:
                tidy(stage.identity)
        if todo and preempt.requested(run.paths.root):
            raise Preempted
        if todo and write:
            write_config(run.cfg)
        _run_group(run, todo, code_version, left)
        ran += len(todo)
        for stage in free_old(plan, run.cfg.embed.keep_rounds) if todo else ():
            run.reporter.tell(f"{stage.name}: parts of an old round are removed (embed.keep_rounds)")
    if not ready and lacking:
        raise UserError(lacking + "; run the stage before it first, or `finepseudo run` for all")
    return ran


def _run_group(run: Run, stages: Sequence[Stage], code_version: str, left: TimeLeft) -> None:
    if len(stages) < 2 or not side_by_side(run.cfg, len(stages)):
        for stage in stages:
            _run_stage(run, stage, code_version, left)
        return
    with ThreadPoolExecutor(len(stages)) as pool:
        futures = [pool.submit(_run_stage, run, stage, code_version, left) for stage in stages]
    errors = [error for future in futures if (error := future.exception())]
    if errors:  # a stop request of one is one of all; anything else is the news
        raise next((error for error in errors if not isinstance(error, Preempted)), errors[0])


def side_by_side(cfg: RunConfig, count: int) -> bool:
    """Decide whether `count` trainings fit into the cluster at the same time."""
    import ray

    wanted = cfg.resources.parallel_encoders
    if wanted != "auto":
        return wanted
    have, workers = ray.cluster_resources(), count * workers_of(cfg.resources, cfg.batches.values())
    gpus = workers <= have.get("GPU", 0) if uses_gpu(cfg.resources) else True
    return gpus and workers * cfg.resources.cpus_per_worker <= have.get("CPU", 0)


def _run_stage(run: Run, stage: Stage, code_version: str, left: TimeLeft) -> None:
    identity, tell = stage.identity, run.reporter.tell
    resuming = begin(identity)
    if not resuming and stage.tags:
        run.reporter.forget(stage.tags)
    tell(f"{stage.name}: {'goes on' if resuming else 'starts'} ({left.line(stage)})")
    started = time.perf_counter()
    stage.run()
    wall = time.perf_counter() - started
    finish(identity, wall_s=wall, code_version=code_version)
    left.note(stage, wall)
    tell(f"{stage.name}: done in {wall:.1f} s")
    for alarm in alarms_of(run, stage):
        tell(f"{alarm.level}: {alarm.text}")


def alarms_of(run: Run, stage: Stage) -> list[Alarm]:
    """Say what a stage that has ended shows of the health of the run: hours before there is a report."""
    if not stage.tags:
        return []
    lines = [line for line in Tail(run.paths.metrics).new() if all(line.get(n) == v for n, v in stage.tags.items())]
    labels: list[Labels] = []
    if PSEUDO_METRICS in stage.outputs:
        of = (stage.tags[name] for name in ("seed", "method", "round"))
        labels = [(*of, read_json(stage.folder / PSEUDO_METRICS))]
    return health(Records(lines=lines, labels=labels, smoothing=run.cfg.action_stage.loss.label_smoothing))
