"""Settings of the optimiser and of the cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

from shards.settings import Settings, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig(Settings):
    """Adam and its schedule within one stage."""

    lr: float = setting(
        1e-4,
        "learning rate after warm-up; sweep 3e-5 .. 1e-3",
        source="open in the paper (stripped); 1e-4 as CARL, TCC, TimeBalance and SEVERE",
        above=0,
    )
    weight_decay: float = setting(1e-5, "weight decay", source="open in the paper; CARL's", at_least=0)
    clip_norm: float = setting(10.0, "bound on the gradient norm", source="open in the paper; CARL's", above=0)
    warmup_epochs: float = setting(
        5.0,
        "linear warm-up, in epochs of the stage, at most half of it; Adam starts anew in each self-training round, and "
        "its rate warms up again: in epochs of the round, or, where that is set in steps or clips, of the labels",
        source="paper, sec 4.2: 5",
        at_least=0,
    )
    scorer_lr_factor: float = setting(
        5.0,
        "multiple of lr for f_S: a handful of weights behind a standardised input learns this much faster",
        source="open in the paper",
        above=0,
    )
    self_training_factor: float = setting(
        0.1, "fraction of lr that self-training rounds run at", source="open in the paper", above=0
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossEntropyConfig(Settings):
    """Constants of eq. (6)."""

    label_smoothing: float = setting(0.0, "label smoothing", source="paper, eq. (6): none", at_least=0, below=1)
