"""What the stages have in common whose actors make part files of the clips of a label draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.methods.base import AnyMethod, Embed, Score, Similarity
from finepseudo.run_folder.done import DONE
from jobs.pipeline.stages.base import Stage, name_of, tags_of


@dataclass(frozen=True, kw_only=True)
class PoolStage(Stage):
    """One request of a method over many clips; method None is round 0."""

    resources = "mapping"
    seed: int
    method: AnyMethod | None
    request: Embed | Score | Similarity

    def of_round(self, where: Callable[[int, str | None, int], Path]) -> Path:
        """Find what another stage made in the same round: where(seed, method, round)."""
        return where(self.seed, name_of(self.method), self.request.number)

    @property
    def outputs(self) -> Sequence[str]:
        """One file a part."""
        return ("part-*.parquet",)

    @property
    def tags(self) -> Mapping[str, Any]:
        """Mark its lines."""
        return tags_of(self.kind, self.seed, self.method, self.request.number)


def trained(name: str, folder: Path | None, cfg: ActionEncoderConfig | FrameEncoderConfig) -> dict[str, Path]:
    """Name a trained encoder and its code as inputs, where one is wanted."""
    return {name: folder / DONE, **cfg.code} if folder else {}
