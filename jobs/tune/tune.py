"""`finepseudo tune SPACE`: a Ray Tune search over keys of a run; each trial is a Ray Train run.

Data, split and pre-training come from one base run and are made once. A trial trains on a part of the labelled clips
and is judged on the rest. Resume is the same command: a trial that has ended is not run again.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import os
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finepseudo.methods.table import METHODS
from finepseudo.run_folder.files import write_text
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.cluster.resources import uses_gpu, workers_of
from jobs.cluster.session import ray_session
from jobs.config.recipes import to_yaml
from jobs.config.run import RunConfig
from jobs.pipeline.plan import Plan, make_plan, refuse_without_weights, unfinished
from jobs.pipeline.provenance import source_version, write_environment
from jobs.pipeline.run_folder import locked, record_forced, refuse_other_data
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from jobs.tune.page import page
from jobs.tune.search import need_optuna, scheduler_of, search_of
from jobs.tune.space import JUDGED, SpaceConfig, check_values, read_space, sweep_folder, to_space, with_values
from jobs.tune.trials import METRIC, end_trial, result_of, run_trial, tidy_ended, trial_folder
from shards.errors import UserError, counted
from shards.settings import shown

if TYPE_CHECKING:
    from ray.tune import Callback

ENDS = ("done", "stopped")
"""States of a trial that can have an objective: it ended, or the scheduler stopped it because others were better."""

BASE_KINDS = frozenset({"data", "split", "pretrain"})


def base_kinds(cfg: RunConfig, space: SpaceConfig) -> frozenset[str]:
    """Name the kinds of stages that a sweep makes before its trials."""
    own_start = space.pretrains or (space.trains == "action_encoder" and not cfg.action_encoder.pretrains)
    return BASE_KINDS - {"pretrain"} if own_start else BASE_KINDS


def read_sweep(cfg: RunConfig, path: Path) -> tuple[RunConfig, SpaceConfig]:
    """Read a space file for a run; `UserError` for keys and values that the run does not take."""
    space = read_space(path)
    check_values(cfg, space, path)
    if space.search == "optuna":
        need_optuna()
    if space.draws > len(cfg.seeds):
        raise UserError(f"space {path}: draws = {space.draws}: seeds are {list(cfg.seeds)}; add seeds=[..]")
    if cfg.resources.workers == "auto":  # the cluster is for as many trials as it holds
        cfg = replace(cfg, resources=replace(cfg.resources, workers=1))
    aligning = tuple(name for name, method in METHODS.items() if method.aligns)[-1:]
    return replace(cfg, seeds=cfg.seeds[: space.draws], methods=(space.method,) if space.method else aligning), space


def dry_run(cfg: RunConfig, path: Path) -> int:
    """Print what a sweep would search, how much of it is there and which stages of the base run it makes first."""
    cfg, space = read_sweep(cfg, path)
    folder = sweep_folder(cfg, path, space)
    with Reporter(cfg.folder, tensorboard=False) as reporter:
        base = [stage.name for stage in unfinished(make_plan(Run(cfg, reporter)), base_kinds(cfg, space))]
    there = len(list((folder / "trials").glob("*/ended.json")))
    at_once = "as many at a time as the cluster holds" if space.concurrent is None else f"{space.concurrent} at a time"
    lines = [
        f"sweep       {folder}",
        f"trials      {space.trials()}, {at_once}, {space.length} reports each; {there} have ended already",
        f"judged by   {JUDGED[space.trains]} on held-out labelled clips, {counted(space.draws, 'label draw')} a trial",
        f"search      {space.search}, scheduler {space.scheduler}",
        f"workers     {cfg.resources.workers} a trial, CPUs of each: {cfg.resources.cpus_per_worker:g}",
        f"base run    {', '.join(base) if base else 'done'}",
        *(f"  {key}: {shown(value)}" for key, value in space.space.items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def tune(cfg: RunConfig, path: Path, *, force: bool = False, best: Path | None = None) -> int:
    """Search the space; print the table, write results.csv and results.html, and the `best` values as a recipe.

    Returns 0, or raises `Preempted` when unfinished.
    """
    whole, (cfg, space) = cfg, read_sweep(cfg, path)
    with locked(cfg.folder), Reporter(cfg.folder, tracker=cfg.tracker) as reporter:
        forced = refuse_other_data(cfg, force=force)
        run = Run(cfg, reporter)
        plan = make_plan(run)
        todo = unfinished(plan, base_kinds(cfg, space))
        refuse_without_weights(cfg, todo)
        base = plan if todo else []
        if base:
            record_forced(cfg, forced)
        code, rows = _tune(run, base, sweep_folder(cfg, path, space), space)
        if best is not None and code == 0:
            reporter.say(f"recipe of the best trial: {write_best(whole, rows, list(space.space), best)}")
    return code


def _tune(run: Run, base: Plan, folder: Path, space: SpaceConfig) -> tuple[int, list[dict[str, Any]]]:
    """Make what is missing of the base run, then search; a run that is there keeps its config.yaml."""
    cfg, reporter = run.cfg, run.reporter
    preempt.clear(cfg.folder)
    preempt.install(cfg.folder)  # a notice may come while Ray starts
    with ray_session(dashboard=True):
        preempt.install(cfg.folder)  # Ray has taken SIGTERM for itself
        if base:
            version = source_version()
            write_environment(cfg, version)
            run_plan(run, base, version, base_kinds(cfg, space), write=not run.paths.config.exists())
        reporter.say(f"sweep: {space.trials()} trials in {folder}")
        rows = _search(cfg, space, folder)
        keys, judged = list(space.space), JUDGED[space.trains]
        write_results(folder / "results.csv", rows, keys)
        write_text(folder / "results.html", page(folder.name, judged, rows, keys))
        reporter.say(render(rows, keys, judged))
        reporter.say(f"results: {folder / 'results.csv'}, {folder / 'results.html'}")
        if preempt.requested(cfg.folder) or any(row["state"] == "unfinished" for row in rows):
            raise Preempted
        if not compared(rows):
            reporter.say("no trial ended with a number: held-out clips that cannot be read, or trials that failed")
    return int(not compared(rows)), rows


def compared(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Keep the trials that ended and can be compared."""
    return [row for row in rows if row["state"] in ENDS and math.isfinite(_order(row))]


def write_best(cfg: RunConfig, rows: list[dict[str, Any]], keys: Sequence[str], path: Path) -> Path:
    """Write a recipe with the values of the best trial that ended with a number; rows are best first."""
    row = compared(rows)[0]
    made = with_values(replace(cfg, name=path.stem), {key: row[key] for key in keys})
    write_text(path, f"# best of {len(rows)} trials: {row['trial']}, objective {row[METRIC]:.4g}\n{to_yaml(made)}")
    return path


def _search(cfg: RunConfig, space: SpaceConfig, folder: Path) -> list[dict[str, Any]]:
    """Run the sweep, or what is left of it; one row a trial."""
    from ray import tune as ray_tune

    absolute, folder = replace(cfg, out=str(Path(cfg.out).resolve())), folder.resolve()
    at_once = space.concurrent or fitting_trials(cfg)
    for old in folder.glob("ray-*"):  # of a sweep that was killed
        shutil.rmtree(old, ignore_errors=True)
    scratch = f"ray-{uuid.uuid4().hex[:8]}"  # what Ray Tune notes; our own folders of the trials decide what is left
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(partial(run_trial, cfg=absolute, space=space, folder=folder), {"CPU": 0.01}),
        param_space=to_space(space),
        tune_config=ray_tune.TuneConfig(
            metric=METRIC,
            mode="max",
            num_samples=space.samples,
            scheduler=scheduler_of(space),
            search_alg=search_of(space, at_once),
        ),
        run_config=ray_tune.RunConfig(
            name=scratch,
            storage_path=str(folder),
            verbose=0,
            failure_config=ray_tune.FailureConfig(max_failures=1),
            callbacks=[_ends_to(folder, space.length)],
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    with _interrupted_by(cfg.folder), _words_to(folder / "ray.log"):
        results = tuner.fit()
    shutil.rmtree(folder / scratch, ignore_errors=True)
    rows = {}
    for result in results:
        if result.error:
            sys.stderr.write(f"trial {trial_folder(folder, result.config or {}).name}: {last_line(result.error)}\n")
        values = {key: (result.config or {}).get(key) for key in space.space}
        trial = trial_folder(folder, result.config or {})
        rows[trial.name] = result_of(trial, result.error) | values
        tidy_ended(trial)
    return list(rows.values())


def _ends_to(folder: Path, reports: int) -> Callback:
    """Note at once which trials the scheduler has ended, and whether before their time."""
    from ray.tune import Callback

    class Ends(Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
            last = (trial.last_result or {}).get("training_iteration", 0)
            end_trial(trial_folder(folder, trial.config), "done" if last >= reports else "stopped")

    return Ends()


@contextmanager
def _words_to(log: Path) -> Iterator[None]:
    """Write what Ray Tune says while it runs to a file: pages of traces, and paths that are soon gone."""
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.air", "ray")]
    with log.open("w", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        before = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def last_line(error: BaseException) -> str:
    """Give the line of an error that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


@contextmanager
def _interrupted_by(run: Path) -> Iterator[None]:
    """Pass a stop request on as the one signal after which Ray Tune saves its state and returns."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            if preempt.requested(run):
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def fitting_trials(cfg: RunConfig) -> int:
    """Count the trials whose workers fit into the cluster at the same time."""
    import ray

    have, wanted = ray.cluster_resources(), cfg.resources
    workers = workers_of(wanted, cfg.batches.values())
    if uses_gpu(wanted):
        return max(1, int(have["GPU"]) // workers)
    return max(1, int((have.get("CPU", 1) - 1) / (workers * wanted.cpus_per_worker)))


def _order(row: Mapping[str, Any]) -> float:
    value = row[METRIC]
    return -math.inf if value is None or math.isnan(value) else value


def write_results(path: Path, rows: list[dict[str, Any]], keys: Sequence[str]) -> None:
    """Write the table, best first; which trial comes when never depends on which ended first."""
    rows.sort(key=lambda row: (-_order(row), str(row["trial"])))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["trial", "state", "reports", METRIC, *keys])
    writer.writeheader()
    for row in rows:
        writer.writerow({name: shown(v) if isinstance(v, Mapping | list) else v for name, v in row.items()})
    write_text(path, text.getvalue())


def render(rows: Sequence[Mapping[str, Any]], keys: Sequence[str], judged: str) -> str:
    """Lay the table out as plain text."""
    head = ["trial", "state", "reports", judged, *(key.removeprefix("frame_stage.") for key in keys)]
    body = [
        [str(r["trial"]), r["state"], str(r["reports"]), *(_show(r[name]) for name in (METRIC, *keys))] for r in rows
    ]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *body]
    )


def _show(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else shown(value)
