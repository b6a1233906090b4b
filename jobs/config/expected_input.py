"""The frames that an encoder's weights were trained on: they follow from the weights; contradictions are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from finepseudo.encoders.config import RUN, ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.contract import Expected
from jobs.config.build import build, plain, set_dotted
from jobs.config.sections import InputConfig
from shards.read.config import AugmentConfig
from shards.settings import BadSetting

SEEN_BY: Mapping[str, tuple[str, ...]] = {
    "action_encoder": ("action_input",),
    "frame_encoder": ("frame_input", "pretrain.input"),
}
"""The input sections of each encoder."""

_FOLLOWS = ("channels", "mean", "std", "size")
"""Keys of `augment` that follow from the weights."""

_TOLERANCE = 0.005
"""Of mean and std: recipes round them."""


def fill_inputs(values: dict[str, Any]) -> None:
    """Lay what the weights expect under what a recipe says of the frames, in place."""
    for encoder, sections in SEEN_BY.items():
        kind = ActionEncoderConfig if encoder == "action_encoder" else FrameEncoderConfig
        expected = build(kind, values.get(encoder, {}), encoder).expects
        if expected is None:
            continue
        for section in sections:
            if section == "pretrain.input":
                _lay_under(values, section, _carls())
            for key, value in _wanted(expected, dense=_found(values, f"{section}.sampling.policy") == "dense"):
                _lay_under(values, f"{section}.{key}", value)


def _carls() -> dict[str, Any]:
    """Give CARL's augmentation, the default of pre-training, without what follows from the weights."""
    augment = plain(AugmentConfig.carl_ssl())
    return {
        "sampling": {"policy": "gitdl"},
        "augment": {key: value for key, value in augment.items() if key not in _FOLLOWS},
    }


def _wanted(expected: Expected, *, dense: bool) -> Iterator[tuple[str, Any]]:
    for key in _FOLLOWS:
        yield f"augment.{key}", plain(getattr(expected, key))
    if expected.frames is not None:
        yield "sampling.frames", expected.frames
    if expected.stride is not None and dense:
        yield "sampling.stride", expected.stride


def _lay_under(values: dict[str, Any], key: str, value: object) -> None:
    """Set a key that the recipe leaves out; a section that is none is left to whoever reads the values."""
    above, _, last = key.rpartition(".")
    section = _found(values, above)
    if isinstance(section, Mapping) and last not in section:
        set_dotted(values, key, value)


def _found(values: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 -- what a YAML file holds
    """Give what stands at a dotted key: {} where nothing does, None below what is no section."""
    found: Any = values
    for name in key.split("."):
        found = found.get(name, {}) if isinstance(found, Mapping) else None
    return found


def check_frames(section: str, inputs: InputConfig, encoder: ActionEncoderConfig | FrameEncoderConfig) -> None:
    """Refuse frames that the weights of an encoder have never seen, or that it cannot take."""
    expected, look, frames = encoder.expects, inputs.augment, inputs.sampling.frames
    if expected is None:
        return
    start = f"weights {encoder.start.kind}" if encoder.start.kind else f"variant {encoder.variant}"
    if encoder.start.kind and (key := _unseen(look, expected)):
        rule = f"{start} expect {expected.colours()}; leave these keys out"
        raise BadSetting(f"{section}.augment.{key}", getattr(look, key), rule)
    if expected.fixed_size and look.size != expected.size:
        raise BadSetting(f"{section}.augment.size", look.size, f"{start} takes {expected.size}; set it to that")
    if expected.fixed_frames and frames != expected.frames:
        raise BadSetting(f"{section}.sampling.frames", frames, f"{start} takes {expected.frames}; set it to that")


def _unseen(look: AugmentConfig, expected: Expected) -> str | None:
    """Name the first of channels, mean and std that is not as expected."""
    if look.channels != expected.channels:
        return "channels"
    for key in ("mean", "std"):
        pairs = zip(getattr(look, key), getattr(expected, key), strict=True)
        if any(abs(given - wanted) > _TOLERANCE for given, wanted in pairs):
            return key
    return None


def weight_problem(name: str, encoder: ActionEncoderConfig | FrameEncoderConfig) -> str | None:
    """Say that an encoder has been given no weights, or that their file is not there."""
    if missing := encoder.without_weights:
        return f"{name}.{missing}"
    file = encoder.weights_file
    if file is None or file.is_file():
        return None
    if encoder.start.kind == RUN:
        lacks = "holds no pre-trained encoder" if file.is_dir() else "is not there"
        return f"{name}.weights: {file} {lacks}; give the folder of a run that has been pre-trained, or its weights"
    return f"{name}.weights: {file} {'is a folder' if file.is_dir() else 'is not there'}; give the path of a checkpoint"
