"""`finepseudo tune SPACE`: a Ray Tune search over the keys of metric learning; each trial is a Ray Train run.

Data, split and pre-training come from one base run and are made once. A trial trains on a part of the labelled clips
and is judged by pair verification on the rest. Resume is the same command: finished trials are not run again.
"""

from __future__ import annotations

import csv
import io
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from finepseudo.methods.base import LABELLED
from finepseudo.methods.table import METHODS
from finepseudo.run_folder.files import sha256_json, write_text
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.cluster.resources import uses_gpu
from jobs.cluster.session import ray_session
from jobs.config.build import build, merge, plain, set_dotted
from jobs.config.run import RunConfig, flat_part
from jobs.pipeline.plan import Plan, make_plan, unfinished
from jobs.pipeline.provenance import source_version, write_environment
from jobs.pipeline.run_folder import locked, record_forced, refuse_other_data
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from jobs.workers import models
from jobs.workers.pair_probe import PairProbe
from jobs.workers.train import TrainJob, fit
from jobs.workers.train_loop import LoopJob, seed_of, total_steps
from shards.errors import UserError
from shards.read.order import batches_per_epoch
from shards.read.streams import StreamInput
from shards.settings import BadSetting, Settings, needed, setting
from shards.types import ItemTable

METRIC = "tune/average_precision"
SEARCHES = ("uniform", "loguniform", "quniform", "randint", "choice", "grid_search")
ENCODER_KEYS = ("frame_stage.", "frame_encoder.dropout", "frame_input.")
BASE_KINDS = frozenset({"data", "split", "pretrain"})


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceConfig(Settings):
    """One space file."""

    space: Mapping[str, Any] = needed("dotted key of the configuration -> {search: [arguments]}, or a value")
    samples: int = setting(8, "trials drawn from the space", at_least=1)
    seed: int = setting(0, "seed of the draw", at_least=0)
    holdout: float = setting(0.34, "share of each class's labelled clips held out", above=0, below=1)
    reports: int = setting(4, "reports of a trial", at_least=1)
    grace: int = setting(1, "reports before ASHA may stop a trial", at_least=1)
    reduction: int = setting(2, "ASHA keeps one of so many", at_least=2)
    concurrent: int | None = setting(None, "trials at the same time; null = what the cluster holds", at_least=1)

    def check(self) -> None:
        """Refuse spaces that cannot be searched."""
        for key, value in self.space.items():
            if not key.startswith(ENCODER_KEYS):
                rule = f"is not searched here; keys begin with {' or '.join(ENCODER_KEYS)}"
                raise BadSetting(f"space.{key}", value, rule)
            if isinstance(value, Mapping) and (len(value) != 1 or next(iter(value)) not in SEARCHES):
                raise BadSetting(f"space.{key}", value, f"must be {{search: [..]}}, one of {', '.join(SEARCHES)}")


def read_space(path: Path) -> SpaceConfig:
    """Read a space file."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"space {path}: cannot be read ({' '.join(str(error).split())})") from error
    try:
        return build(SpaceConfig, values)
    except UserError as error:
        raise UserError(f"space {path}: {error}") from error


def tune(cfg: RunConfig, path: Path, *, force: bool = False) -> int:
    """Search the space; prints the table and writes results.csv. Returns 0, or raises `Preempted` when unfinished."""
    space = read_space(path)
    with_values(cfg, {key: first_value(value) for key, value in space.space.items()})  # refuses unknown keys now
    aligning = tuple(name for name, method in METHODS.items() if method.aligns)[-1:]
    cfg = replace(cfg, seeds=cfg.seeds[:1], methods=aligning)
    with locked(cfg.folder), Reporter(cfg.folder) as reporter:
        forced = refuse_other_data(cfg, force=force)
        run = Run(cfg, reporter)
        plan = make_plan(run)
        base = plan if unfinished(plan, BASE_KINDS) else []
        if base:
            record_forced(cfg, forced)
        return _tune(run, base, sweep_folder(cfg, path, space), space)


def _tune(run: Run, base: Plan, folder: Path, space: SpaceConfig) -> int:
    """Make what is missing of the base run, then search; a run that is there keeps its config.yaml."""
    cfg, reporter = run.cfg, run.reporter
    with ray_session(dashboard=True):
        preempt.clear(cfg.folder)
        preempt.install(cfg.folder)
        if base:
            version = source_version()
            write_environment(cfg, version)
            run_plan(run, base, version, BASE_KINDS, write=not run.paths.config.exists())
        reporter.say(f"sweep: {space.samples} trials in {folder}")
        rows = _search(cfg, space, folder)
        write_results(folder / "results.csv", rows, list(space.space))
        reporter.say(render(rows, list(space.space)))
        reporter.say(f"results: {folder / 'results.csv'}")
        if preempt.requested(cfg.folder) or any(row["state"] == "unfinished" for row in rows):
            raise Preempted
    return 0 if any(row["state"] == "done" for row in rows) else 1


def sweep_folder(cfg: RunConfig, path: Path, space: SpaceConfig) -> Path:
    """Name the folder of a sweep by what it searches and from where: another space is another sweep."""
    parts = flat_part(cfg, ("data", "split", "frame_encoder", "frame_input", "pretrain", "frame_stage", "seeds"))
    searched = {name: value for name, value in plain(space).items() if name != "concurrent"}  # it changes speed alone
    return cfg.folder / "tune" / f"{path.stem}-{sha256_json([searched, parts])[:8]}"


def first_value(value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Take one value of a search, to see whether the key exists and takes it."""
    if not isinstance(value, Mapping):
        return value
    arguments = next(iter(value.values()))
    return arguments[0] if arguments else None


def with_values(cfg: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Lay dotted values over a configuration; a value may be a mapping of keys that are searched together."""
    over: dict[str, Any] = {}
    for key, value in sorted(values.items()):  # a section before its keys
        set_dotted(over, key, value)
    return build(RunConfig, merge(plain(cfg), over))


def hold_out(labelled: ItemTable, share: float, seed: int) -> tuple[ItemTable, list[str]]:
    """Take ceil(share n) of each class's labelled clips out of training, never the last: (rest, keys held out)."""
    rng = np.random.default_rng(seed_of(seed, "hold out") % 2**32)
    held: list[int] = []
    for label in np.unique(labelled.labels):
        places = rng.permutation(np.flatnonzero(labelled.labels == label))
        held += places[: min(math.ceil(share * len(places)), len(places) - 1)].tolist()
    if not held:
        raise UserError("tune: no class has two labelled clips, nothing can be held out; raise split.ratio")
    rest = np.setdiff1d(np.arange(len(labelled)), held)
    kept = ItemTable(keys=[labelled.keys[i] for i in rest], labels=labelled.labels[rest], pseudo=labelled.pseudo[rest])
    return kept, sorted(labelled.keys[i] for i in held)


def trial_job(cfg: RunConfig, space: SpaceConfig, folder: Path) -> TrainJob:
    """Describe the training of one trial."""
    paths, seed = RunPaths(cfg.folder), cfg.seeds[0]
    from shards.splits.label_split import read_split

    labelled = read_split(paths.split(seed)).items("labelled")
    items, held = hold_out(labelled, space.holdout, seed)
    stage = cfg.frame_stage
    steps = total_steps(stage.train, batches_per_epoch(items, stage.order))
    every = max(1, math.ceil(steps / space.reports))
    probe = PairProbe(cfg=cfg, shards=paths.shards.resolve(), labelled=labelled, held=frozenset(held))
    tags = {"seed": seed, "method": None, "round": 0, "stage": f"tune-{folder.name}"}
    loop = LoopJob(
        run=paths.root.resolve(),
        folder=folder,
        stage=f"tune/{folder.name}",
        train=replace(stage.train, checkpoint_every=every),
        seed=seed_of(seed, "frame_encoder", 0),
        tags=tags,
        probe=probe,
        probe_every=every,
    )
    weights = (paths.pretrain(seed) / WEIGHTS).resolve()
    return TrainJob(
        loop=loop,
        shards=paths.shards.resolve(),
        streams={LABELLED: StreamInput(items=items, reader=cfg.reader(cfg.frame_input.view(), order=stage.order))},
        objective=partial(models.alignability, cfg, seed, weights),
        threads=cfg.resources.threads,
        deterministic=cfg.deterministic,
        precision=cfg.frame_encoder.precision,
    )


def _trial(values: dict[str, Any], *, cfg: RunConfig, space: SpaceConfig, folder: Path) -> None:
    """Drive one trial: the function Ray Tune runs."""
    import ray.tune
    from ray.tune.integration.ray_train import TuneReportCallback

    chosen = with_values(cfg, values)
    trial = folder / "trials" / ray.tune.get_context().get_trial_id()
    fit(trial_job(chosen, space, trial), chosen.resources, callbacks=[TuneReportCallback()])


def to_space(space: SpaceConfig) -> dict[str, Any]:
    """Turn the space file into Ray Tune's words."""
    from ray import tune as ray_tune

    made: dict[str, Any] = {}
    for key, value in space.space.items():
        if not isinstance(value, Mapping):
            made[key] = value
            continue
        search, arguments = next(iter(value.items()))
        call: Callable[..., Any] = getattr(ray_tune, search)
        made[key] = call(arguments) if search in ("choice", "grid_search") else call(*arguments)
    return made


def _search(cfg: RunConfig, space: SpaceConfig, folder: Path) -> list[dict[str, Any]]:
    """Run or resume the sweep; one row a trial, the best first."""
    from ray import tune as ray_tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.basic_variant import BasicVariantGenerator

    absolute = replace(cfg, out=str(Path(cfg.out).resolve()))
    trainable = ray_tune.with_resources(
        partial(_trial, cfg=absolute, space=space, folder=folder.resolve()), {"CPU": 0.01}
    )
    at_once = space.concurrent or fitting_trials(cfg)
    if ray_tune.Tuner.can_restore(str(folder.resolve())):
        tuner = ray_tune.Tuner.restore(
            str(folder.resolve()), trainable, resume_unfinished=True, resume_errored=True, param_space=to_space(space)
        )
    else:
        tuner = ray_tune.Tuner(
            trainable,
            param_space=to_space(space),
            tune_config=ray_tune.TuneConfig(
                metric=METRIC,
                mode="max",
                num_samples=space.samples,
                max_concurrent_trials=at_once,
                scheduler=ASHAScheduler(
                    time_attr="training_iteration",
                    max_t=space.reports,
                    grace_period=min(space.grace, space.reports),
                    reduction_factor=space.reduction,
                ),
                search_alg=BasicVariantGenerator(random_state=space.seed),
            ),
            run_config=ray_tune.RunConfig(
                name=folder.name,
                storage_path=str(folder.resolve().parent),
                verbose=0,
                failure_config=ray_tune.FailureConfig(max_failures=1),
            ),
        )
    with _interrupted_by(cfg.folder):
        results = tuner.fit()
    return [_row(result, space) for result in results]


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
    if uses_gpu(wanted):
        return max(1, int(have["GPU"]) // wanted.workers)
    return max(1, int((have.get("CPU", 1) - 1) / (wanted.workers * wanted.cpus_per_worker)))


def _row(result: Any, space: SpaceConfig) -> dict[str, Any]:  # noqa: ANN401 - a result of Ray's
    metrics = result.metrics or {}
    done = bool(metrics.get("done")) or metrics.get("training_iteration", 0) >= space.reports
    row = {
        "trial": metrics.get("trial_id", Path(result.path).name),
        "state": "failed" if result.error else "done" if done else "unfinished",
        "reports": metrics.get("training_iteration", 0),
        METRIC: metrics.get(METRIC),
    }
    return row | {key: (result.config or {}).get(key) for key in space.space}


def _order(row: Mapping[str, Any]) -> float:
    value = row[METRIC]
    return -math.inf if value is None or math.isnan(value) else value


def write_results(path: Path, rows: list[dict[str, Any]], keys: Sequence[str]) -> None:
    """Write the table, best first; which trial comes when never depends on which ended first."""
    rows.sort(key=lambda row: (-_order(row), str(row["trial"])))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["trial", "state", "reports", METRIC, *keys])
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def render(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> str:
    """Lay the table out as plain text."""
    head = ["trial", "state", "reports", "pair AP", *(key.removeprefix("frame_stage.") for key in keys)]
    body = [
        [str(r["trial"]), r["state"], str(r["reports"]), *(_show(r[name]) for name in (METRIC, *keys))] for r in rows
    ]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *body]
    )


def _show(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
