"""Settings of writing shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shards.settings import BadSetting, Settings, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardConfig(Settings):
    """How clips are stored."""

    profile: Literal["h264", "vp9", "copy"] = setting(
        "h264", "h264 (GPU decoders, PyAV) | vp9 (DALI's decoder on a CPU) | copy (the files as they are)"
    )
    short_side: int = setting(
        256,
        "longest short side in pixels; smaller clips keep their size; sides become multiples of 16 that are near "
        "(1/32), as GPU decoders like it; 256 decodes 7-8x faster than 720p",
        at_least=48,
        at_most=4096,
    )
    clips_per_shard: int = setting(
        256, "clips of one tar: the unit of writing, of retrying and of parallel work", at_least=1
    )
    store: str = setting(
        "",
        "URL or absolute path of a folder for this data set's tars (s3://bucket/folder); empty = in the run folder",
    )

    def check(self) -> None:
        """Refuse a store that is another folder on every node."""
        if self.store:
            from shards.storage.remote import is_url  # fsspec is slow to load, and few recipes have a store

            if not is_url(self.store) and not self.store.startswith("/"):
                raise BadSetting("store", self.store, "must be a URL or an absolute path, the same on every node")
