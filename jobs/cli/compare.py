"""`finepseudo compare`: `run` with some methods and seeds that ends in one table, or that table of finished runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from finepseudo.report.comparison_files import write_comparison
from finepseudo.run_folder.layout import METRICS, REPORT, RunPaths
from jobs.cli.export import named_run
from jobs.config.run import RunConfig
from shards.errors import UserError

DEFAULT = Path("compare")
"""Prefix where several runs are compared."""


def compare(cfg: RunConfig, arguments: argparse.Namespace) -> int:
    """Run what is not done, then print and write the table; with --part a share of it beside other tasks."""
    if arguments.part:
        from jobs.cli.compare_part import run_part

        if not run_part(cfg, arguments.part, force=arguments.force, shared=arguments.shared):
            return 0
    elif arguments.shared:
        raise UserError("compare --shared: makes what the methods of a seed share ahead of --part i/n; give that too")
    else:
        from jobs.cli.run import run

        run(cfg, "compare", force=arguments.force)
    show([cfg.folder], arguments.out or RunPaths(cfg.folder).comparison)
    sys.stdout.write(f"report: {RunPaths(cfg.folder).root / REPORT}\n")
    return 0


def compare_folders(arguments: argparse.Namespace) -> int:
    """Print and write the table of run folders as they are."""
    words = ("recipe", "data", "name", "methods", "seeds", "part", "shared", "print_config", "dry_run", "force")
    given = [f"--{word.replace('_', '-')}" for word in words if getattr(arguments, word)] + list(arguments.overrides)
    if given:
        raise UserError(f"compare: run folders are compared as they are, and {given[0]} is given too; leave one out")
    runs = [named_run("compare", str(folder)) for folder in arguments.runs]
    for run in runs:
        if not is_tested(run):
            rule = "no method of it is tested yet; `finepseudo status` says where it stands"
            raise UserError(f"compare: {run.root}: {rule}")
    alone = runs[0].comparison if len(runs) == 1 else DEFAULT
    show([run.root for run in runs], arguments.out or alone)
    return 0


def is_tested(run: RunPaths) -> bool:
    """Tell whether there is a number to compare."""
    tests = (run.evaluation(seed, method) for seed, _ in run.seeds() for method in run.methods(seed))
    return any((test / METRICS).is_file() for test in tests)


def show(folders: Sequence[Path], prefix: Path) -> None:
    """Write the files of the comparison and print the table and where they are."""
    table, paths = write_comparison(folders, prefix)
    sys.stdout.write(f"{table}\nwritten: {', '.join(map(str, paths))}\n")
