"""One part of the shards, without Ray: task i of n of a Slurm array writes shards i, i + n, i + 2n, ...

Shards have fixed names and contents, so parts need no word with each other. `write-shards` or `run` afterwards finds
the shards there and writes the manifest.
"""

from __future__ import annotations

import re
from pathlib import Path

from finepseudo.run_folder.done import begin, is_done, is_started
from finepseudo.run_folder.layout import RunPaths
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.config.run import RunConfig
from jobs.pipeline.run_folder import FolderLock, opened_lock, record_forced, refuse_other_data, write_config
from jobs.pipeline.stages.base import Run
from jobs.pipeline.stages.data import DataStage
from jobs.progress import Reporter
from jobs.workers.write_shards import data_config
from shards.annotations import load
from shards.errors import UserError
from shards.write.plans import plan_shards
from shards.write.store import claim_store
from shards.write.writer import write_shard


def parse_part(text: str) -> tuple[int, int]:
    """Read `i/n` with 0 <= i < n."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not int(found[1]) < int(found[2]):
        raise UserError(f"--part {text!r}: write i/n, with i from 0 to n - 1")
    return int(found[1]), int(found[2])


def write_part(cfg: RunConfig, text: str, *, force: bool = False) -> int:
    """Write this part's shards; return the exit code. Safe to run twice and next to other parts."""
    index, parts = parse_part(text)
    paths = RunPaths(cfg.folder)
    with opened_lock(paths.root) as lock:
        own = paths.root / ".parts" / str(index)  # a stop request is for one part, not for the others of the array
        preempt.clear(own)
        preempt.install(own)
        if _already_done(cfg, lock, force=force):
            return 0
        _write(cfg, paths, own, index, parts)
    return 0


def _write(cfg: RunConfig, paths: RunPaths, own: Path, index: int, parts: int) -> None:
    found = load(data_config(cfg, paths))
    plans = plan_shards(found.clips, cfg.shards, cfg.data.frame_rate, cfg.data.frame_files)
    claim_store(plans, cfg.shards)
    paths.shards.mkdir(parents=True, exist_ok=True)
    reporter, name = Reporter(paths.root, tensorboard=False), f"part {index}/{parts}"
    mine = plans[index::parts]
    with reporter.counting(name) as count:
        count(0, len(mine))
        for number, plan in enumerate(mine, 1):
            if preempt.requested(own):
                raise Preempted
            result = write_shard(plan, paths.shards, cfg.shards)
            clips, bad = len(result.rows), len(result.quarantine)
            reporter.say(f"{name}, shard {number}/{len(mine)}: {clips} clips, {bad} bad")
            count(number, len(mine))


def _already_done(cfg: RunConfig, lock: FolderLock, *, force: bool) -> bool:
    """Make the data folder ready, one part after the other; hold the run's lock together with other parts afterwards.

    The first one removes what is of another configuration: while others write, nothing may be removed.
    """
    root = cfg.folder
    with opened_lock(root / ".parts") as turn:
        turn.take(wait=True)
        alone = lock.take()
        if not alone and not lock.take(shared=True):
            raise lock.refuse()
        forced = refuse_other_data(cfg, force=force)
        data = DataStage(run_of=Run(cfg, Reporter(root, tensorboard=False)))
        stage = data.identity
        if missing := stage.missing():
            data.explain()
            raise UserError(f"{missing[0]} is not there; is the path right?")
        if is_done(stage):
            return True
        if alone:
            record_forced(cfg, forced)
            write_config(cfg)
            begin(stage)
        elif not is_started(stage):
            raise UserError(f"{root}: parts of another configuration are being written; wait for their end")
        if not lock.take(shared=True):
            raise lock.refuse()
        return False
