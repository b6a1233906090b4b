"""One part of the shards, without Ray: task i of n of a Slurm array writes shards i, i + n, i + 2n, ...

Shards have fixed names and contents, so parts need no word with each other. `write-shards` or `run` afterwards finds
the shards there and writes the manifest.
"""

from __future__ import annotations

import fcntl
import re
from pathlib import Path

from finepseudo.artifacts import RunPaths, begin, is_done
from jobs import preempt
from jobs.config import RunConfig
from jobs.progress import Reporter
from jobs.run_folder import record_forced, refuse_other_data, write_config
from jobs.stages import Stages
from jobs.train import Preempted
from jobs.write_shards import data_config
from shards.annotations import load
from shards.store import claim_store
from shards.types import UserError
from shards.writer import plan_shards, write_shard


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
    own = paths.root / ".parts" / str(index)  # a stop request is for one part, not for the others of the array
    preempt.clear(own)
    preempt.install(own)
    if _already_done(cfg, paths.root, force=force):
        return 0
    found = load(data_config(cfg, paths))
    plans = plan_shards(found.clips, cfg.shards, cfg.data.frame_rate)
    claim_store(plans, cfg.shards)
    paths.shards.mkdir(parents=True, exist_ok=True)
    reporter = Reporter(paths.root, tensorboard=False)
    mine = plans[index::parts]
    with reporter.counting(f"part {text}") as count:
        count(0, len(mine))
        for number, plan in enumerate(mine, 1):
            if preempt.requested(own):
                raise Preempted
            result = write_shard(plan, paths.shards, cfg.shards)
            clips, bad = len(result.rows), len(result.quarantine)
            reporter.say(f"part {text}, shard {number}/{len(mine)}: {clips} clips, {bad} bad")
            count(number, len(mine))
    return 0


def _already_done(cfg: RunConfig, root: Path, *, force: bool) -> bool:
    """Make the data folder ready, one part after the other: the first removes what is of another configuration."""
    with (root / ".parts" / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        forced = refuse_other_data(cfg, force=force)
        task = Stages(cfg, Reporter(root, tensorboard=False)).data()
        stage = task.stage
        if missing := stage.missing():
            task.explain()
            raise UserError(f"{missing[0]} is not there; is the path right?")
        if is_done(stage):
            return True
        record_forced(cfg, forced)
        write_config(cfg)
        begin(stage)
        return False
