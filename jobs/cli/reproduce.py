"""`finepseudo reproduce TABLE`: run what a table of a paper takes, and print ours beside the published numbers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from jobs.paper.cells import PaperRun, Size, runs_of
from jobs.paper.table import PaperTable, read_table, table_names
from shards.errors import UserError

UNTIL_PRETRAINED = ("write-shards", "split", "pretrain")
"""Commands that make no more than a pre-trained f_A."""


def reproduce(arguments: argparse.Namespace) -> int:
    """List the tables, say what one needs, or run it to its end."""
    if not arguments.table:
        return list_tables()
    table = read_table(arguments.table)
    size = Size.of(arguments.overrides, small=arguments.synthetic, seeds=arguments.seeds or ())
    runs = chosen(table, runs_of(table, size), arguments.only)
    from jobs.cli.reproduce_plan import dry_run, refuse_what_is_missing

    if arguments.dry_run:
        from jobs.estimate.table import Cluster

        cluster = Cluster(nodes=arguments.nodes, gpus=arguments.gpus, cores=arguments.cores)
        return dry_run(table, size, runs, cluster)
    refuse_what_is_missing(runs)
    if size.small:
        sys.stdout.write("--synthetic: rendered dives at a small size; their numbers and alarms mean nothing\n")
    run_all(runs, force=arguments.force)
    from jobs.paper.result import write_result

    text, paths = write_result(table, size, runs_of(table, size))
    sys.stdout.write(f"{text}\nwritten: {', '.join(map(str, paths))}\n")
    return 0


def list_tables() -> int:
    """Print a line a table."""
    tables = [read_table(name) for name in table_names()]
    width = max(len(table.name) for table in tables)
    for table in tables:
        sys.stdout.write(f"{table.name:{width}}  {table.title} ({table.source})\n")
    sys.stdout.write("finepseudo reproduce TABLE --dry-run says what one needs; --synthetic runs it small, on dives\n")
    return 0


def chosen(table: PaperTable, runs: Sequence[PaperRun], only: Sequence[str]) -> list[PaperRun]:
    """Keep the runs that fill a row or column with one of these words in its name; UserError where there is none."""
    found = [run for run in runs if run.has(only)]
    if not found:
        names = ", ".join([*(column.name for column in table.columns), *(row.name for row in table.rows)])
        raise UserError(f"--only {' '.join(only)}: no row or column of {table.name} has it; there are {names}")
    return found


def run_all(runs: Sequence[PaperRun], *, force: bool) -> None:
    """Run what is not done, in one Ray; each run takes what an earlier one has made already."""
    from jobs.cli.run import run
    from jobs.cluster.session import ray_session
    from jobs.paper.phases import measure_phases
    from jobs.paper.sharing import others_beside, take_from
    from jobs.pipeline.run_folder import write_config

    with ray_session():
        for number, one in enumerate(runs, 1):
            taken = take_from(one.cfg, others_beside(one.cfg.folder))
            shared = f"; takes {len(taken)} stages of other runs" if taken else ""
            sys.stdout.write(f"run {number} of {len(runs)}: {one.cfg.folder}{shared}\n")
            sys.stdout.flush()
            if one.until == "pretrain":
                for command in UNTIL_PRETRAINED:
                    run(one.cfg, command, force=force)
                write_config(one.cfg)  # also where all of it was taken
                measure_phases(one.cfg)
            else:
                run(one.cfg, "reproduce", force=force)
