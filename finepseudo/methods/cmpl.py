"""CMPL: a light network beside f_E sees clips with other eyes; each labels the pool for the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finepseudo.encoders.config import RANDOM, ActionEncoderConfig
from finepseudo.encoders.table import ACTION
from finepseudo.methods.base import Method, Setting
from finepseudo.methods.rounds import train_once
from finepseudo.methods.side_by_side import TwoViewsConfig, ramp_of, streams
from shards.settings import section, setting

if TYPE_CHECKING:
    from finepseudo.encoders.action_encoder import ActionEncoder
    from finepseudo.training.objectives import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class CmplConfig(TwoViewsConfig):
    """Keys of `cmpl`."""

    tau: float = setting(
        0.8,
        "least confidence of the labeller that counts; .3 to .5 with about 100 classes or more",
        source="open in the paper; tune",
        at_least=0,
        at_most=1,
    )
    auxiliary: str = setting(
        "slow_r50",
        "backbone of the auxiliary network, which starts at random and sees the frames of f_E",
        source="CMPL: a 3D-ResNet-50 of a quarter of the width",
        known=ACTION,
    )
    auxiliary_options: dict[str, Any] = section(
        lambda: {"channels": 16}, "arguments of its builder; {} for another backbone", source="CMPL: 1/4 width"
    )


def objective(cfg: CmplConfig, setting: Setting) -> Objective:
    """Cross-entropy of both on labels, and on what the other one is sure of."""
    from finepseudo.consistency.cross import CrossObjective
    from finepseudo.consistency.weighters import Threshold

    return CrossObjective(
        setting.encoder, auxiliary(cfg, setting), setting.loss, Threshold(cfg.tau), ramp_of(cfg, setting.steps)
    )


def auxiliary(cfg: CmplConfig, setting: Setting) -> ActionEncoder:
    """Make the second network; precision and dropout are those of f_E."""
    from finepseudo.encoders.action_encoder import build_action_encoder

    like = setting.encoder.cfg
    made = ActionEncoderConfig(
        variant=cfg.auxiliary,
        options=cfg.auxiliary_options,
        weights=RANDOM,
        precision=like.precision,
        compile=like.compile,
        dropout=like.dropout,
    )
    return build_action_encoder(made, setting.n_classes)


CMPL = Method(
    name="cmpl",
    title="CMPL",
    paper="Xu et al., CVPR 2022: cross-model pseudo-labels; no code, thresholds open",
    hue="blue",
    config=CmplConfig,
    plan=train_once,
    streams=streams,
    objective=objective,
    needs="a light second network, trained beside f_E",
)
