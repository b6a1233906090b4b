"""Whose shards a store holds: two data sets in one folder would replace each other's tars."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from shards.errors import UserError
from shards.storage.folders import open_folder
from shards.write.config import ShardConfig
from shards.write.plans import ShardPlan

CLAIM = "clips.json"


def claim_store(plans: Sequence[ShardPlan], cfg: ShardConfig) -> None:
    """Take the configuration's store, where it names one, for these clips, before the first of them is written.

    UserError when it holds those of another data set or configuration: a run may be reading them.
    """
    if not cfg.store:
        return
    store, claim = open_folder(cfg.store), _claim(plans, cfg)
    try:
        found = store.read(CLAIM)
    except FileNotFoundError:
        store.write(CLAIM, claim)
        return
    if found != claim:
        raise UserError(
            f"shards.store: {store} holds the shards of other clips or of another configuration; name another folder, "
            "or remove that one if no run needs it"
        )


def _claim(plans: Sequence[ShardPlan], cfg: ShardConfig) -> bytes:
    clips = [(clip.key, clip.path, clip.start, clip.end) for plan in plans for clip in plan.clips]
    text = json.dumps([cfg.profile, cfg.short_side, cfg.clips_per_shard, clips])
    return json.dumps({"clips": len(clips), "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()
