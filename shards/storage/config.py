"""Settings of the copies of remote shards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheConfig:
    """Where copies of remote shards are kept on each node; local shards need none."""

    # Folder on the node's own disk; empty = in the system's temporary folder. All processes of a node share it.
    folder: str = ""
    # Largest size of the folder in gigabytes; 0 = keep nothing.
    gigabytes: float = 50.0

    def __post_init__(self) -> None:
        """Refuse negative sizes."""
        if self.gigabytes < 0:
            raise ValueError(f"cache.gigabytes = {self.gigabytes}: must be 0 or more")

    @property
    def limit(self) -> int:
        """The largest size in bytes."""
        return int(self.gigabytes * 1e9)
