"""The frames that an encoder's weights were trained on: they follow from the weights; contradictions are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.contract import Expected
from jobs.config.build import build, plain
from jobs.config.sections import InputConfig
from shards.errors import UserError
from shards.read.config import AugmentConfig

SEEN_BY: Mapping[str, tuple[str, ...]] = {
    "action_encoder": ("action_input",),
    "frame_encoder": ("frame_input", "pretrain.input"),
}
"""The input sections of each encoder."""

_TOLERANCE = 0.005
"""Of mean and std: recipes round them."""


def fill_inputs(values: dict[str, Any]) -> None:
    """Lay what the weights expect under what a recipe says of the frames, in place."""
    for encoder, sections in SEEN_BY.items():
        kind = ActionEncoderConfig if encoder == "action_encoder" else FrameEncoderConfig
        expected = build(kind, values.get(encoder) or {}, encoder).expects
        if expected is None:
            continue
        for section in sections:
            _fill(_input(values, section), expected)


def _input(values: dict[str, Any], section: str) -> dict[str, Any]:
    """Give the mapping of an input section, made where the recipe has none."""
    *above, last = section.split(".")
    for name in above:
        values = values.setdefault(name, {})
    if section == "pretrain.input" and last not in values:  # its defaults are CARL's
        values[last] = {"sampling": {"policy": "gitdl"}, "augment": plain(AugmentConfig.carl_ssl())}
        for name in ("mean", "std", "channels", "size"):
            del values[last]["augment"][name]
    inputs: dict[str, Any] = values.setdefault(last, {})
    return inputs


def _fill(inputs: dict[str, Any], expected: Expected) -> None:
    augment, sampling = inputs.setdefault("augment", {}), inputs.setdefault("sampling", {})
    for name in ("channels", "mean", "std", "size"):
        augment.setdefault(name, plain(getattr(expected, name)))
    if expected.frames is not None:
        sampling.setdefault("frames", expected.frames)
    if expected.stride is not None and sampling.get("policy") == "dense":
        sampling.setdefault("stride", expected.stride)


def check_frames(section: str, inputs: InputConfig, encoder: ActionEncoderConfig | FrameEncoderConfig) -> None:
    """Refuse frames that the weights of an encoder have never seen, or that it cannot take."""
    expected, look = encoder.expects, inputs.augment
    if expected is None:
        return
    start = f"weights {encoder.start.kind}" if encoder.start.kind else f"variant {encoder.variant}"
    if encoder.start.kind and (look.channels != expected.channels or not _close(look, expected)):
        raise ValueError(
            f"{section}.augment: channels {look.channels}, mean {list(look.mean)}, std {list(look.std)}; {start} "
            f"expect {expected.colours()}: leave these keys out"
        )
    if expected.fixed_size and look.size != expected.size:
        raise ValueError(f"{section}.augment.size {look.size}: {start} takes {expected.size} pixels; leave the key out")
    if expected.fixed_frames and inputs.sampling.frames != expected.frames:
        raise ValueError(
            f"{section}.sampling.frames {inputs.sampling.frames}: {start} takes {expected.frames}; leave the key out"
        )


def _close(look: AugmentConfig, expected: Expected) -> bool:
    pairs = (*zip(look.mean, expected.mean, strict=True), *zip(look.std, expected.std, strict=True))
    return all(abs(given - wanted) <= _TOLERANCE for given, wanted in pairs)


def require_weights(encoders: Mapping[str, ActionEncoderConfig | FrameEncoderConfig]) -> None:
    """Refuse to begin without the weights that encoders start from. Raises UserError."""
    for name, encoder in encoders.items():
        if problem := weight_problem(name, encoder):
            raise UserError(problem)


def weight_problem(name: str, encoder: ActionEncoderConfig | FrameEncoderConfig) -> str | None:
    """Say that an encoder has been given no weights, or that their file is not there."""
    if missing := encoder.without_weights:
        return f"{name}.{missing}"
    file = encoder.weights_file
    if file is not None and not file.is_file():
        return f"{name}.weights: {file} is not there; give the path of a checkpoint"
    return None
