"""`finepseudo bench method`: does the method show what it claims? The product itself, once a seed, and a table.

Each seed is a run of its own (recipe `bench_method`: shards, split, Ray, report) whose seed draws videos, labels
and the training alike. The same command again goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from finepseudo.run_folder.files import write_text
from jobs.bench.measures import Numbers, measure
from jobs.bench.method_page import markdown
from jobs.cluster import preempt
from jobs.cluster.session import ray_session
from jobs.config.recipes import load, to_yaml
from jobs.config.run import RunConfig
from jobs.pipeline.plan import make_plan, unfinished
from jobs.pipeline.provenance import source_version, write_environment
from jobs.pipeline.run_folder import locked, refuse_other_data
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from shards.errors import UserError

TUNED_ON = range(10)
"""Seeds that the settings were chosen on; a reported figure comes from others."""


def config(recipe: str, out: Path, seed: int, overrides: Sequence[str] = ()) -> RunConfig:
    """Make the configuration of one seed's run."""
    own = {"out": str(out), "name": f"method-seed{seed}", "seeds": [seed], "data.synthetic.seed": seed}
    return load(recipe, overrides, own)


def run_seed(cfg: RunConfig, version: str) -> Numbers:
    """Run what is not done of one seed; a Ray session stands. Returns the numbers of the page."""
    with locked(cfg.folder), Reporter(cfg.folder, tracker=cfg.tracker) as reporter:
        refuse_other_data(cfg, force=False)
        run = Run(cfg, reporter)
        plan = make_plan(run)
        if unfinished(plan):
            preempt.clear(cfg.folder)
            preempt.install(cfg.folder)
            write_environment(cfg, version)
            run_plan(run, plan, version, write=True)
    return measure(cfg)


def main(options: Sequence[str], overrides: Sequence[str] = ()) -> int:
    """Run the study as a command; `overrides` (section.key=value) go to every run."""
    parser = argparse.ArgumentParser(prog="finepseudo bench method", description="Does the method show what it claims?")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[100, 101, 102], help="not 0..9: settings were tuned there"
    )
    parser.add_argument("--recipe", default="bench_method", help="what is run for each seed (default: bench_method)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder of the runs and of method.md")
    arguments = parser.parse_args(options)
    if tuned := sorted(set(arguments.seeds) & set(TUNED_ON)):
        raise UserError(f"--seeds {tuned}: the settings were chosen on these; give others, such as 100 101 102")
    cfgs = {seed: config(arguments.recipe, arguments.out, seed, overrides) for seed in arguments.seeds}
    version = source_version()
    with ray_session():
        results = {seed: run_seed(cfg, version) for seed, cfg in cfgs.items()}
    said = " ".join(["--recipe", arguments.recipe, "--seeds", *map(str, arguments.seeds), *overrides])
    page = markdown(results, f"finepseudo bench method {said}", to_yaml(next(iter(cfgs.values()))))
    write_text(arguments.out / "method.md", page)
    print(page)  # noqa: T201
    return 0
