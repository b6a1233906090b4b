"""SVFormer on any network: confident labels of a moving average, tube tokens mixed as pixels, time warped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from finepseudo.methods.base import Method, Setting
from finepseudo.methods.rounds import train_once
from finepseudo.methods.side_by_side import (
    ConsistencyConfig,
    StrongConfig,
    objective_of,
    sgd_in_steps,
    streams,
)
from shards.settings import section, setting

if TYPE_CHECKING:
    from finepseudo.training.objectives import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class SvformerConfig(ConsistencyConfig):
    """Keys of `svformer`."""

    tau: float = setting(
        0.3, "confidence from which a label is one-hot and counts", source="SVFormer: .3", at_least=0, at_most=1
    )
    beta: float = setting(10.0, "own share of a mixed clip ~ Beta(beta, beta)", source="SVFormer: 10", above=0)
    mix_weight: float = setting(
        1.0, "weight of the mixing loss, relative to that of the strong views", source="SVFormer: 2 / 2", at_least=0
    )
    warp: bool = setting(
        True,
        "whether a strong view keeps a quarter, a half or all of its frames, drawn once a batch",
        source="SVFormer",
    )
    channel_drop: float = setting(
        0.2,
        "probability that a colour plane of a strong view is zeroed; not in the share that a mixed clip has of another",
        source="SVFormer's code: .2",
        at_least=0,
        below=1,
    )
    weight: float = setting(2.0, "weight of the unlabelled losses", source="SVFormer: 2", at_least=0)
    warmup: float = setting(
        1 / 6, "share of the steps on labels alone", source="SVFormer: 5 of 30 epochs", at_least=0, below=1
    )
    half_life: float | None = setting(
        69.0,
        "optimiser steps in which a weight's share in the teacher halves; null = a tenth of those left, at least 50",
        source="SVFormer: .99",
        at_least=0,
    )
    strong: StrongConfig = section(
        lambda: StrongConfig(jitter=0, gray=0, blur=0, erase=0),
        "how the strong view differs; SVFormer's code: no colours",
    )


def objective(cfg: SvformerConfig, setting: Setting) -> Objective:
    """Cross-entropy on labels and on what is sure; the squared distance of mixed clips to mixed labels.

    A mixed clip counts by the shares of those of its two labels that are sure.
    """
    from finepseudo.consistency.objective import Mixing
    from finepseudo.consistency.perturb import perturb_time
    from finepseudo.consistency.targets import hard_above
    from finepseudo.consistency.weighters import Threshold

    target = partial(hard_above, threshold=cfg.tau)
    return objective_of(
        cfg,
        setting,
        weighter=Threshold(cfg.tau),
        target=target,
        perturb=perturb_time("warping") if cfg.warp else None,
        channel_drop=cfg.channel_drop,
        mixing=Mixing(beta=cfg.beta, weight=cfg.mix_weight, target=target, weighted=True, logits=True),
    )


SVFORMER = Method(
    name="svformer",
    title="SVFormer",
    paper="SVFormer (Xing et al., CVPR 2023): its losses, on any f_E",
    hue="green",
    config=SvformerConfig,
    plan=train_once,
    streams=streams,
    objective=objective,
    presets={"paper": sgd_in_steps(weight_decay=1e-4)},
)
