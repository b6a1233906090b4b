"""One part of a comparison, beside others of a Slurm array: task i of n runs methods and seeds i, i + n, i + 2n, ...

A method and seed has a run folder of its own, `<name>-seed<s>-<method>`, because one command works in a run folder at a
time. What all methods of a seed share is made once, in `<name>-seed<s>` as `finepseudo submit` has it, by the task that
comes first, while others of that seed wait, or before all of them (`--shared`); data and shards in `<name>`. Links make
all of them one run: `<name>`, as if one command had made it. Who ends last makes its report and the table, so nothing
is lost when a task is.

A method whose steps are counted by the labels of others (a budget in epochs) is nothing to wait for with a GPU in hand:
its task leaves it where these labels are not there yet, and who has made them goes on with it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from finepseudo.methods.table import METHODS
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
from jobs.pipeline.run_folder import opened_lock, refuse_other_data, works_in, write_config
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run, Stage
from jobs.pipeline.stages.budget import is_accounted
from jobs.progress import Reporter, Tail
from jobs.submit.draws import draw_of, link, link_draw, shared_parts


def run_part(cfg: RunConfig, text: str, *, force: bool = False, shared: bool = False) -> bool:
    """Run this part's methods and seeds; tell whether now all are done, the report too.

    shared: make what the methods of every parts-th seed share, and nothing else.
    """
    index, parts = parse_part(text)
    if not RunPaths(cfg.folder).config.exists():
        refuse_early(cfg, "compare")
    if shared:
        with ray_session():
            for seed in cfg.seeds[index::parts]:
                run_shared(cfg, seed, draw_of(cfg, seed).folder, force=force)
        return False
    every = pairs(cfg)
    if not every[index::parts]:
        return False
    with ray_session():
        for method, seed in every[index::parts]:
            if is_counted(cfg, method, seed):
                run_pair(cfg, method, seed, force=force)
            else:
                say(f"{method} of seed {seed}: its steps are counted by labels that others make; they go on with it")
        for method, seed in every:
            if is_left(cfg, method, seed):
                run_pair(cfg, method, seed, force=force)
        if not all_tested(cfg):
            return False
        make(cfg, lambda stage: stage.kind == "report", before=lambda: collect_logs(cfg))
    return True


def pairs(cfg: RunConfig) -> list[tuple[str, int]]:
    """List the methods and seeds: first a seed each, and methods by whose labels others are counted before those."""
    methods = sorted(methods_of(cfg), key=lambda method: is_accounted(cfg, method))
    return [(method.name, seed) for method in methods for seed in cfg.seeds]


def counted_by(cfg: RunConfig, method: str) -> list[str]:
    """Name the methods by whose labels the steps of a method are counted."""
    return [name for name in cfg.methods if METHODS[name].vote] if is_accounted(cfg, METHODS[method]) else []


def is_counted(cfg: RunConfig, method: str, seed: int) -> bool:
    """Tell whether it is known for how many steps a method trains: the labels that say so are there."""
    return not any(open_of(cfg, name, seed, {"pseudo_labels"}) for name in counted_by(cfg, method))


def is_left(cfg: RunConfig, method: str, seed: int) -> bool:
    """Tell whether a method waited for labels that are there now, and no task has taken it up."""
    waited = bool(counted_by(cfg, method)) and is_counted(cfg, method, seed)
    return waited and bool(open_of(cfg, method, seed)) and not works_in(task_of(cfg, method, seed).folder)


def open_of(cfg: RunConfig, method: str, seed: int, kinds: Collection[str] | None = None) -> list[Stage]:
    """List a method's own stages of a seed, of these kinds where given, that are not done."""
    stages = unfinished(make_plan(Run(cfg, Reporter(cfg.folder, tensorboard=False))), kinds)
    return [stage for stage in stages if owner(stage) == method and f"seed-{seed}" in Path(stage.name).parts]


def task_of(cfg: RunConfig, method: str, seed: int) -> RunConfig:
    """Make the run of one method and seed."""
    draw = draw_of(cfg, seed)
    return replace(draw, name=f"{draw.name}-{method}")


def run_pair(cfg: RunConfig, method: str, seed: int, *, force: bool) -> None:
    """Make what is missing of one method and seed: the data, what the seed's methods share, the method's own."""
    draw, task = draw_of(cfg, seed), task_of(cfg, method, seed)
    run_shared(cfg, seed, task.folder, force=force)
    make(task, lambda stage: owner(stage) == method, before=lambda: link_task(draw, task, method), force=force)


def run_shared(cfg: RunConfig, seed: int, stop: Path, *, force: bool) -> None:
    """Make what is missing of the data and of what the seed's methods share; stop: see `make`."""
    for part, kind in shared_parts(cfg):
        make(part, partial(_is_of, kind), before=partial(link_draw, cfg, part.seeds[0]), force=force, stop=stop)
    make(draw_of(cfg, seed), _is_of_all, before=partial(link_draw, cfg, seed), force=force, stop=stop)


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
    """Put data and all that the methods of a draw share into a task's folder, and the task's method into the draw.

    And the methods by whose labels its steps are counted.
    """
    (seed,) = draw.seeds
    shared, own = RunPaths(draw.folder).seed(seed), RunPaths(task.folder).seed(seed)
    (own / method).mkdir(parents=True, exist_ok=True)
    for name in ("data", *(["pretrain"] if draw.pretrain.shared else [])):
        link(task.folder / name, (draw.folder / name).readlink())
    for path in shared.iterdir():
        if path.is_file() or SHARED.fullmatch(path.name):
            link(own / path.name, Path("../..") / draw.name / own.name / path.name)
    link(shared / method, Path("../..") / task.name / own.name / method)
    for other in counted_by(task, method):
        link(own / other, Path("../..") / draw.name / own.name / other)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


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
