"""Settings of writing shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardConfig:
    """How clips are stored."""

    # h264 (GPU decoders, PyAV) | vp9 (DALI's decoder on a CPU) | copy (the files as they are).
    profile: Literal["h264", "vp9", "copy"] = "h264"
    # Longest short side in pixels; smaller clips keep their size. 256 decodes 7-8x faster than 720p.
    short_side: int = 256
    # Clips of one tar: the unit of writing, of retrying and of parallel work.
    clips_per_shard: int = 256
    # URL or absolute path of a folder for this data set's tars (s3://bucket/folder); empty = in the run folder.
    store: str = ""

    def __post_init__(self) -> None:
        """Refuse unknown profiles and sizes."""
        if not 48 <= self.short_side <= 4096:
            raise ValueError(f"shards.short_side: {self.short_side} is outside 48..4096 pixels")
        if self.clips_per_shard < 1:
            raise ValueError(f"shards.clips_per_shard: {self.clips_per_shard}; at least 1 is needed")
        if self.store:
            from shards.storage.remote import is_url  # fsspec is slow to load, and few recipes have a store

            if is_url(self.store) or self.store.startswith("/"):
                return
            raise ValueError(f"shards.store: {self.store} must be a URL or an absolute path, the same on every node")
