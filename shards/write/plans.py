"""What the tars are to hold: the clips in key order, cut into shards, and a hash that tells one plan from another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa

from shards.errors import UserError
from shards.sources.sources import identities
from shards.write.config import ShardConfig

WRITER_VERSION = 2
"""Part of every plan's hash: raise it when the same clips would give other bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedClip:
    """A clip to be stored: key, source file, window in seconds (None = whole file)."""

    key: str
    path: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardPlan:
    """The clips of one tar, in key order."""

    index: int
    clips: tuple[PlannedClip, ...]
    # images a second of clips that are folders of images
    frame_rate: float = 25.0
    # which files of such a folder are its frames (a pattern); empty = all images
    frame_files: str = ""

    @property
    def name(self) -> str:
        """File name without extension."""
        return f"shard-{self.index:06d}"


def plan_shards(clips: pa.Table, cfg: ShardConfig, frame_rate: float = 25.0, frame_files: str = "") -> list[ShardPlan]:
    """Cut the clip table (columns key, path, start, end), sorted by key, into tars of equal length.

    frame_rate, frame_files: images a second, and which files are meant, of clips that are folders of images.
    Raises UserError when a key occurs twice: a tar would merge the two clips silently.
    """
    rows = sorted(clips.select(["key", "path", "start", "end"]).to_pylist(), key=lambda row: row["key"])
    doubled = [second["key"] for first, second in pairwise(rows) if first["key"] == second["key"]]
    if doubled:
        raise UserError(f"{len(doubled)} keys occur twice in the clip table, first: {doubled[0]}; read the data again")
    step = cfg.clips_per_shard
    return [
        ShardPlan(
            index=index,
            clips=tuple(PlannedClip(**row) for row in rows[first : first + step]),
            frame_rate=frame_rate,
            frame_files=frame_files,
        )
        for index, first in enumerate(range(0, len(rows), step))
    ]


def plan_hash(plan: ShardPlan, cfg: ShardConfig) -> str:
    """Hash the plan, the configuration and what identifies the source files now (size, time of change)."""
    now = identities([clip.path for clip in plan.clips], plan.frame_rate)
    text = json.dumps(
        {
            "writer": WRITER_VERSION,
            "profile": cfg.profile,
            "short_side": cfg.short_side,
            "frame_files": plan.frame_files,
            "clips": [(c.key, c.path, c.start, c.end, *found) for c, found in zip(plan.clips, now, strict=True)],
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()
