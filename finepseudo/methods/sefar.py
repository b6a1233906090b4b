"""SeFAR: groups of frames, a moderate perturbation of time, labels weighted by how steady the teacher is.

`sefar` follows the paper, `sefar_as_released` the published code where that does something else (it mirrors the colour
planes of the fine groups in place of their time; its drawing of another partner for each group is not repeated),
`sefar_stable` what we would run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from finepseudo.methods.base import LABELLED, Method, Setting, Stream, TrainAction
from finepseudo.methods.rounds import train_once
from finepseudo.methods.side_by_side import (
    UNLABELLED,
    ConsistencyConfig,
    StrongConfig,
    objective_of,
    pool_views,
    sgd_in_steps,
)
from shards.read.groups import group_sizes, group_slots, group_views
from shards.settings import BadSetting, section, setting

if TYPE_CHECKING:
    from finepseudo.consistency.network import Network
    from finepseudo.consistency.objective import Perturb
    from finepseudo.encoders.action_encoder import ActionEncoder
    from finepseudo.encoders.config import ActionEncoderConfig
    from finepseudo.training.objectives import Objective
    from shards.read.config import ViewConfig

Operation = Literal[
    "none",
    "reverse",
    "local_shuffle",
    "all_shuffle",
    "all_reverse",
    "warping",
    "t_half",
    "slow",
    "t_drop",
    "channel_flip",
]
_PERTURB = (
    "what the strong view does to time: reverse and local_shuffle inside each fine group, others to the whole clip; "
)
_HALF_LIFE = (
    "optimiser steps in which a weight's share in the teacher halves; null = a tenth of those left, at least 50"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SefarConfig(ConsistencyConfig):
    """Keys of `sefar`."""

    groups: tuple[int, ...] = setting(
        (),
        "frames of each group, the context last; empty = a quarter, a quarter and half of what f_E sees",
        source="SeFAR: [2, 2, 4] of 8",
        at_least=1,
    )
    perturb: Operation = setting(
        "reverse", f"{_PERTURB}channel_flip mirrors colour planes", source="SeFAR, Mod-Perturb"
    )
    passes: int = setting(10, "K, passes of the teacher's head with dropout", source="SeFAR: 10", at_least=1)
    head_dropout: float = setting(0.5, "dropout of the fusion head", source="SeFAR's code: .5", at_least=0, below=1)
    min_confidence: float = setting(
        0.0, "confidence below which a label does not count", source="SeFAR: none", at_least=0, at_most=1
    )
    regulation: Literal["adaptive", "threshold"] = setting(
        "adaptive",
        "what a label weighs: adaptive, by how sure and how steady the teacher is; threshold, 1 from min_confidence on",
        source="SeFAR; its ablation without Ada-Reg",
    )
    channel_drop: float = setting(
        0.2,
        "probability that a colour plane of a group of a strong view is zeroed; of all groups with shared_crop",
        source="SeFAR's code: .2",
        at_least=0,
        below=1,
    )
    beta: float = setting(10.0, "own share of a mixed clip ~ Beta(beta, beta)", source="SeFAR: 10", above=0)
    mix_weight: float = setting(
        1.0, "weight of the mixing loss, relative to that of the strong views", source="SeFAR: 2 / 2", at_least=0
    )
    mix_space: Literal["logits", "probs"] = setting(
        "logits", "what of the student is compared with the mixed probabilities", source="SeFAR's code: logits"
    )
    shared_crop: bool = setting(
        False,
        "whether all groups of a view are cropped, mirrored and coloured alike",
        source="SeFAR's code: they are not",
    )
    mu: float = setting(3.0, "unlabelled clips of a step for each labelled one", source="SeFAR: 3", above=0)
    weight: float = setting(2.0, "weight of the unlabelled losses", source="SeFAR: 2", at_least=0)
    warmup: float = setting(
        1 / 6, "share of the steps on labels alone", source="SeFAR: 5 of 30 epochs", at_least=0, below=1
    )
    ramp: Literal["none", "linear", "sine"] = setting(
        "sine", "how the unlabelled losses come in after the warm-up", source="SeFAR: sine"
    )
    half_life: float | None = setting(6931.0, _HALF_LIFE, source="SeFAR: .9999, here a step", at_least=0)
    weak_flip: float | None = setting(
        0.0, "probability of a left-right flip in the weak view", source="SeFAR: none", at_least=0, at_most=1
    )
    same_frames: bool = setting(
        False, "whether the weak and the strong view show the same frames", source="SeFAR: two decodes"
    )
    strong: StrongConfig = section(
        lambda: StrongConfig(jitter=0, gray=0, blur=0, erase=0), "how the strong view differs; SeFAR's code: no colours"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class AsReleasedConfig(SefarConfig):
    """Keys of `sefar_as_released`."""

    perturb: Operation = setting(
        "channel_flip", f"{_PERTURB}channel_flip mirrors colour planes", source="SeFAR's code: RGB to BGR"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class StableConfig(SefarConfig):
    """Keys of `sefar_stable`."""

    half_life: float | None = setting(None, _HALF_LIFE, source="this project", at_least=0)
    mix_space: Literal["logits", "probs"] = setting(
        "probs", "what of the student is compared with the mixed probabilities", source="this project"
    )
    shared_crop: bool = setting(
        True, "whether all groups of a view are cropped, mirrored and coloured alike", source="this project"
    )


def streams(cfg: SefarConfig, request: TrainAction, view: ViewConfig, name: str = "sefar") -> tuple[Stream, ...]:
    """Read every clip in groups of frames, those of the pool in a weak and a strong draw of their own.

    name: of the row, for what is refused.
    """
    del request
    key = f"method.{name}.groups"
    frames, look = view.sampling.frames, view.sampling
    groups = group_sizes(cfg.groups, frames)
    if sum(groups) != frames or not all(groups) or not all(group_slots(groups, frames)):
        rule = f"must share out the {frames} frames that f_E sees; change it, or action_input.sampling.frames"
        raise BadSetting(key, cfg.groups, rule)
    if look.policy != "uniform":
        raise BadSetting(key, cfg.groups, f"span the whole clip, not {look.policy}; set sampling policy uniform")
    seen = replace(view, sampling=replace(look, policy="groups", groups=groups))
    weak, strong = pool_views(cfg, seen)
    parts = [group_views(one, share_augment=cfg.shared_crop) for one in (seen, weak, strong)]
    if cfg.same_frames:
        parts[2] = tuple(replace(part, frames_as=parts[1][0].name) for part in parts[2])
    return (
        Stream(name=LABELLED, role="labelled", views=parts[0]),
        Stream(name=UNLABELLED, role="unlabelled", views=(*parts[1], *parts[2]), share=cfg.mu),
    )


def fits(cfg: SefarConfig, encoder: ActionEncoderConfig) -> None:
    """Refuse an encoder that cannot take a group of frames."""
    expected = encoder.expects
    if expected is not None and expected.fixed_frames and not encoder.row.grouped:
        rule = f"go through f_E one by one, and variant {encoder.variant} takes {expected.frames} frames alone"
        raise BadSetting("groups", cfg.groups, f"{rule}; take timesformer_s, timesformer_b or a convolutional variant")


def network(cfg: SefarConfig, encoder: ActionEncoder, classes: int) -> Network:
    """Put the fusion head on f_E."""
    from finepseudo.consistency.grouped import GroupedEncoder

    return GroupedEncoder(encoder, cfg.groups, classes, cfg.head_dropout)


def objective(cfg: SefarConfig, setting: Setting, **parts: Any) -> Objective:  # noqa: ANN401
    """Cross-entropy on labels and, by adaptive regulation, on the teacher's argmax; squared distance of mixed clips.

    parts: others of the shared objective, of a method that adds to SeFAR.
    """
    from finepseudo.consistency.objective import Mixing
    from finepseudo.consistency.weighters import AdaptiveRegulation, Threshold

    regulated = cfg.regulation == "adaptive"
    return objective_of(
        cfg,
        setting,
        network(cfg, setting.encoder, setting.n_classes),
        weighter=AdaptiveRegulation(cfg.min_confidence) if regulated else Threshold(cfg.min_confidence),
        passes=cfg.passes,
        slots=lambda frames: group_slots(group_sizes(cfg.groups, frames), frames),
        perturb=perturbation(cfg.perturb),
        channel_drop=cfg.channel_drop,
        drop_alike=cfg.shared_crop,
        mixing=Mixing(
            beta=cfg.beta,
            weight=cfg.mix_weight,
            target=lambda probabilities: probabilities,
            weighted=True,
            logits=cfg.mix_space == "logits",
        ),
        **parts,
    )


def perturbation(kind: Operation) -> Perturb:
    """Make the operation of a strong view."""
    from finepseudo.consistency.perturb import flip_fine_channels, perturb_time

    return flip_fine_channels if kind == "channel_flip" else perturb_time(kind)


_SGD = sgd_in_steps(weight_decay=1e-3)


def _row(
    name: str, title: str, config: type[SefarConfig], about: str, presets: Mapping[str, Mapping[str, Any]]
) -> Method[SefarConfig]:
    return Method(
        name=name,
        title=title,
        paper=f"SeFAR (AAAI 2025, arXiv 2501.01245), {about}",
        hue="orange",
        config=config,
        plan=train_once,
        streams=partial(streams, name=name),
        objective=objective,
        network=network,
        fits=fits,
        presets=presets,
    )


SEFAR = _row(
    "sefar",
    "SeFAR",
    SefarConfig,
    "as the paper has it",
    {"paper": _SGD, "as_released": {"perturb": "channel_flip", **_SGD}},
)
SEFAR_AS_RELEASED = _row(
    "sefar_as_released", "SeFAR as released", AsReleasedConfig, "as the published code does it", {"as_released": _SGD}
)
SEFAR_STABLE = _row("sefar_stable", "SeFAR, stable", StableConfig, "our choices where it leaves some", {"paper": _SGD})
