"""What is seen of a clip: which frames, and what happens to them. A stream of clips may ask for several such views."""

from __future__ import annotations

from dataclasses import dataclass, field

from shards.read.augment import AugmentConfig
from shards.read.sampling import SamplingConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewConfig:
    """One view of a clip."""

    # which frames
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    # crop, flip, colour, normalisation
    augment: AugmentConfig = field(default_factory=AugmentConfig)
