"""A backbone from its row: built, filled with published weights, its trunk frozen where the weights ask for it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol, cast

from torch import Tensor, nn

from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.contract import imported
from finepseudo.encoders.weights import WeightsRecord, load_into
from shards.errors import UserError

Config = ActionEncoderConfig | FrameEncoderConfig


class Network(Protocol):
    """A backbone: `width` D, and a call that maps a video [B, 3, T, H, W] or images [N, 3, H, W] to [B or N, D]."""

    width: int

    def __call__(self, x: Tensor) -> Tensor:
        """Map frames to features."""
        ...


def build_backbone(cfg: Config) -> nn.Module:
    """Build the backbone of a variant at random. Raises UserError where its options do not fit the builder."""
    return build_from(cfg.row.builder, cfg.built_from, f"variant {cfg.variant}")


def build_from(builder: str, options: Mapping[str, Any], what: str) -> nn.Module:
    """Call a builder. Raises UserError, in one line, where it does not take the options or makes no backbone."""
    make = imported(builder)
    try:
        inspect.signature(make).bind(**options)
        network = make(**options)
    except Exception as error:  # the class may be a user's: making it may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{what}: cannot be built with options {dict(options)}: {reason}") from error
    if not isinstance(network, nn.Module) or not isinstance(getattr(network, "width", None), int):
        raise UserError(f"{what}: {builder} must make a torch module with `width`, the number of its features")
    return network


def fill(encoder: nn.Module, backbone: nn.Module, cfg: Config) -> WeightsRecord | None:
    """Lay the published weights of cfg over a backbone, or over the whole encoder where the file holds one."""
    start = cfg.start
    if missing := cfg.without_weights:
        raise UserError(f"{cfg.KIND}_encoder.{missing}")
    if start.published is None or start.file is None or start.kind is None:
        return None
    return load_into(encoder if start.published.whole else backbone, start.file, start.kind, start.published)


def freeze_trunk(backbone: nn.Module, cfg: Config) -> None:
    """Freeze what published weights leave as it is; a random start trains everything."""
    if cfg.start.published is not None and hasattr(backbone, "freeze_trunk"):
        cast(Any, backbone).freeze_trunk()
