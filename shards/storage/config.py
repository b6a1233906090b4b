"""Settings of the copies of remote shards."""

from __future__ import annotations

from dataclasses import dataclass

from shards.settings import Settings, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheConfig(Settings):
    """Where copies of remote shards are kept on each node; local shards need none."""

    folder: str = setting(
        "",
        "folder on the node's own disk, shared by all processes of a node; empty = in the system's temporary folder",
    )
    gigabytes: float = setting(50.0, "largest size of the folder; 0 = keep nothing", at_least=0)

    @property
    def limit(self) -> int:
        """The largest size in bytes."""
        return round(self.gigabytes * 1e9)
