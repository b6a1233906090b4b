"""`write-shards --verify` and `--repair`: is every byte of the shards the one that was written, and again if not."""

from __future__ import annotations

import sys

from finepseudo.run_folder.layout import RunPaths
from finepseudo.run_folder.others import no_run
from jobs.cli.run import run
from jobs.config.run import RunConfig
from jobs.pipeline.run_folder import locked
from shards.check.shards import damaged_files, remove_damaged
from shards.errors import UserError


def verify(cfg: RunConfig) -> int:
    """Read all shards; 0 when they are whole, else 2."""
    damaged, count = damaged_files(RunPaths(cfg.folder).shards)
    for damage in damaged:
        sys.stdout.write(f"damaged: {damage.name}: {damage.reason}\n")
    sys.stdout.write(f"shards: {count - len(damaged):,} of {count:,} are as they were written\n")
    if damaged:
        sys.stdout.write("the same command with --repair in place of --verify writes the others again\n")
    return UserError.exit_code if damaged else 0


def repair(cfg: RunConfig, *, force: bool = False) -> int:
    """Write the damaged shards again, from the videos; what is whole stays, and so does what was made from it."""
    if not cfg.folder.is_dir():
        raise no_run("write-shards", cfg.folder, "name one with --name and out=, or leave --repair out")
    folder = RunPaths(cfg.folder).shards
    with locked(cfg.folder):
        damaged, count = damaged_files(folder)
        sys.stdout.write(f"shards: {len(damaged):,} of {count:,} are written again\n")
        sys.stdout.flush()
        if damaged:
            remove_damaged(folder, damaged)
    return run(cfg, "write-shards", force=force)
