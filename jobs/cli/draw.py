"""`finepseudo run --draw I`: one label draw of a run, beside others of it that do the same.

The first one makes what all share (shards, pre-training) while the others wait; each then runs in a folder of its own;
the last one to end writes the report of all. `run --shared` makes what all share and ends.
"""

from __future__ import annotations

import sys

from finepseudo.run_folder.layout import RunPaths
from jobs.cli.dry_run import refuse_early
from jobs.cli.run import run
from jobs.cluster import preempt
from jobs.config.run import RunConfig
from jobs.pipeline.run_folder import opened_lock, refuse_other_data
from jobs.submit.draws import draw_of, gather, lacks, link_draw, open_draws, shared_parts
from shards.errors import UserError

COMMAND_OF = {"data": "write-shards", "split": "split", "pretrain": "pretrain"}
"""The command that makes a kind of stage."""


def run_draw(cfg: RunConfig, index: int, *, force: bool = False, verify_first: bool = False) -> int:
    """Run the label draw `cfg.seeds[index]` to its report; then that of all draws, if this was the last one."""
    if index >= len(cfg.seeds):
        raise UserError(
            f"--draw {index}: seeds are {list(cfg.seeds)}, counted from 0; "
            f"add seeds={str(list(range(index + 1))).replace(' ', '')}, or ask for a draw that is there"
        )
    seed = cfg.seeds[index]
    draw = draw_of(cfg, seed)
    refuse_other_data(cfg, force=force)
    if not RunPaths(draw.folder).config.exists():
        refuse_early(draw, "run")
    link_draw(cfg, seed)
    turn = cfg.folder / ".draws"
    own = turn / str(index)  # a stop request while this draw waits for others
    preempt.clear(own)
    preempt.install(own)
    if any(lacks(*part) for part in shared_parts(cfg)):
        with opened_lock(turn) as lock:
            lock.take_in_turn(own, "another draw makes what all share; this one waits")
            make_shared(cfg, force=force)
    code = run(draw, "run", force=force, verify_first=verify_first)
    preempt.install(own)
    with opened_lock(turn) as lock:
        lock.take_in_turn(own, "another draw writes the report; this one waits")
        report_of_all(cfg)
    return code


def make_shared(cfg: RunConfig, *, force: bool = False) -> int:
    """Make what is missing of that which all label draws share."""
    link_draw(cfg, cfg.seeds[0])
    for part, kind in shared_parts(cfg):
        if lacks(part, kind):
            run(part, COMMAND_OF[kind], force=force)
    return 0


def report_of_all(cfg: RunConfig) -> None:
    """Write the report over all draws, or say which are missing."""
    if missing := open_draws(cfg):
        sys.stdout.write(f"label draws that are not done yet: {', '.join(map(str, missing))}; the last one reports\n")
        return
    gather(cfg)
    run(cfg, "report")
