"""One part of a comparison, beside others of a Slurm array: task i of n runs methods and seeds i, i + n, i + 2n, ...

A method and seed has a run folder of its own, `<name>-seed<s>-<method>`, because one command works in a run folder at a
time. What all methods of a seed share is made once, in `<name>-seed<s>` as `finepseudo submit` has it, by the task that
comes first, while others of that seed wait; data and shards in `<name>`. Links make all of them one run: `<name>`, as
if one command had made it. Who ends last makes its report and the table; so nothing is lost when a task is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from finepseudo.run_folder.files import write_text
from finepseudo.run_folder.layout import SHARED, RunPaths
from jobs.cli.dry_run import refuse_early
from jobs.cli.run import check_devices
from jobs.cli.write_part import parse_part
from jobs.cluster import preempt
from jobs.cluster.session import ray_session
from jobs.config.run import RunConfig
from jobs.pipeline.plan import make_plan, methods_of, unfinished
from jobs.pipeline.provenance import source_version, write_environment
from jobs.pipeline.run_folder import opened_lock, refuse_other_data, write_config
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run, Stage
from jobs.pipeline.stages.budget import is_accounted
from jobs.progress import Reporter, Tail
from jobs.submit.draws import draw_of, link, link_draw, shared_parts
from shards.errors import UserError


def run_part(cfg: RunConfig, text: str, *, force: bool = False) -> bool:
    """Run this part's methods and seeds; tell whether now all are done, the report too."""
    index, parts = parse_part(text)
    if counted := [method.name for method in methods_of(cfg) if is_accounted(cfg, method)]:
        why = f"{counted[0]} takes as many steps as others come to; set it to null and self_train.steps"
        raise UserError(f"compare --part: action_stage.self_train.epochs: {why}, or leave --part out")
    pairs = [(method, seed) for method in cfg.methods for seed in cfg.seeds]  # the first ones: a seed each
    if not RunPaths(cfg.folder).config.exists():
        refuse_early(cfg, "compare")
    with ray_session():
        for method, seed in pairs[index::parts]:
            run_pair(cfg, method, seed, force=force)
        if not pairs[index::parts] or not all_tested(cfg):
            return False
        make(cfg, lambda stage: stage.kind == "report", before=lambda: collect_logs(cfg))
    return True


def run_pair(cfg: RunConfig, method: str, seed: int, *, force: bool) -> None:
    """Make what is missing of one method and seed: the data, what the seed's methods share, the method's own."""
    draw = draw_of(cfg, seed)
    task = replace(draw, name=f"{draw.name}-{method}")
    for part, kind in shared_parts(cfg):
        linked = partial(link_draw, cfg, part.seeds[0])
        make(part, partial(_is_of, kind), before=linked, force=force, stop=task.folder)
    make(draw, _is_of_all, before=partial(link_draw, cfg, seed), force=force, stop=task.folder)
    make(task, lambda stage: owner(stage) == method, before=lambda: link_task(draw, task, method), force=force)


def _is_of(kind: str, stage: Stage) -> bool:
    return stage.kind == kind


def _is_of_all(stage: Stage) -> bool:
    """Tell whether a stage of a draw is none of a method's own, nor one of the whole run."""
    return stage.kind not in {"data", "report"} and owner(stage) is None


def owner(stage: Stage) -> str | None:
    """Name the method in whose folder a stage works; None where all methods share it."""
    place = Path(stage.name).parts[1:2]
    return place[0] if place and place[0] in stage.cfg.methods else None


def make(
    cfg: RunConfig,
    wanted: Callable[[Stage], bool],
    *,
    before: Callable[[], None] = lambda: None,
    force: bool = False,
    stop: Path | None = None,
) -> None:
    """Run those stages of a run that are wanted and not done, as soon as no other task works in its folder.

    before: called when the folder is free. stop: folder that a stop request is written into while this task waits.
    """
    waits = stop or cfg.folder
    preempt.clear(waits)
    preempt.install(waits)
    with opened_lock(cfg.folder) as lock:
        lock.take_in_turn(waits)
        with Reporter(cfg.folder, tracker=cfg.tracker) as reporter:
            refuse_other_data(cfg, force=force)
            before()
            run = Run(cfg, reporter)
            plan = [[stage for stage in group if wanted(stage)] for group in make_plan(run)]
            if todo := unfinished(plan):
                preempt.clear(cfg.folder)
                preempt.install(cfg.folder)
                version = source_version()
                write_environment(cfg, version)
                check_devices(cfg, todo)
                run_plan(run, plan, version, write=True)


def link_task(draw: RunConfig, task: RunConfig, method: str) -> None:
    """Put data and all that the methods of a draw share into a task's folder, and the task's method into the draw."""
    (seed,) = draw.seeds
    shared, own = RunPaths(draw.folder).seed(seed), RunPaths(task.folder).seed(seed)
    (own / method).mkdir(parents=True, exist_ok=True)
    for name in ("data", *(["pretrain"] if draw.pretrain.shared else [])):
        link(task.folder / name, (draw.folder / name).readlink())
    for path in shared.iterdir():
        if path.is_file() or SHARED.fullmatch(path.name):
            link(own / path.name, Path("../..") / draw.name / own.name / path.name)
    link(shared / method, Path("../..") / task.name / own.name / method)


def all_tested(cfg: RunConfig) -> bool:
    """Tell whether every stage of the whole run but its report is done."""
    with Reporter(cfg.folder, tensorboard=False) as reporter:
        return all(stage.kind == "report" for stage in unfinished(make_plan(Run(cfg, reporter))))


def collect_logs(cfg: RunConfig) -> None:
    """Write the curves of all tasks into the log of the run, each line once."""
    write_config(cfg)
    log = RunPaths(cfg.folder).metrics
    lines: dict[str, None] = {}
    for path in [log, *logs_of(cfg)]:
        lines |= dict.fromkeys(json.dumps(line) + "\n" for line in Tail(path).new()) if path.is_file() else {}
    write_text(log, "".join(lines))


def logs_of(cfg: RunConfig) -> Sequence[Path]:
    """List the logs of the draws and tasks of a run."""
    draws = [f"{cfg.name}-seed{seed}" for seed in cfg.seeds]
    names = [*draws, *(f"{draw}-{method}" for draw in draws for method in cfg.methods)]
    return [RunPaths(Path(cfg.out) / name).metrics for name in names]
