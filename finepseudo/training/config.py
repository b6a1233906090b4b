"""Settings of the optimiser and of the cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shards.settings import BadSetting, Settings, setting


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserConfig(Settings):
    """An optimiser and its schedule within one stage."""

    name: Literal["adam", "adamw", "sgd"] = setting(
        "adam",
        "Adam, Adam with weight decay apart from its moments, or stochastic gradient descent",
        source="paper, sec 4.2: Adam; AIM: adamw",
    )
    lr: float = setting(
        1e-4,
        "learning rate after warm-up; sweep 3e-5 .. 1e-3",
        source="open in the paper (stripped); 1e-4 as CARL, TCC, TimeBalance and SEVERE",
        above=0,
    )
    weight_decay: float = setting(1e-5, "weight decay", source="open in the paper; CARL's", at_least=0)
    momentum: float = setting(0.9, "momentum of sgd", source="SeFAR, SVFormer: .9", at_least=0, below=1)
    nesterov: bool = setting(True, "whether the momentum of sgd is Nesterov's", source="UPS, SeFAR: it is")
    clip_norm: float | None = setting(
        10.0, "bound on the gradient norm; null = none", source="open in the paper; CARL's", above=0
    )
    warmup_epochs: float = setting(
        5.0,
        "linear warm-up, in epochs of the stage, at most half of it; Adam starts from zero in each self-training "
        "round, and its rate warms up again: in epochs of the round, or, where that is set in steps or clips, of the "
        "labels",
        source="paper, sec 4.2: 5",
        at_least=0,
    )
    drops: tuple[float, ...] = setting(
        (),
        "shares of the steps after the warm-up at which the rate falls to a tenth; none = half a cosine down to 0",
        source="open in the paper; SeFAR, SVFormer: at epochs 25 and 28 of 30",
        above=0,
        below=1,
    )

    def check(self) -> None:
        """Refuse Nesterov's momentum without momentum."""
        if self.name == "sgd" and self.nesterov and not self.momentum:
            raise BadSetting(
                "momentum", self.momentum, "must be above 0 with nesterov; raise it, or set nesterov false"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig(OptimiserConfig):
    """The optimiser of a stage."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class TclrConfig(Settings):
    """Constants of TCLR, the contrast that pre-trains f_E without labels."""

    tau: float = setting(0.1, "temperature", source="TCLR: .1", above=0)
    instance: float = setting(1.0, "weight of L_IC: a video among others", source="TCLR: the plain sum", at_least=0)
    local_local: float = setting(
        1.0, "weight of L_LL: a local clip among those of its video", source="TCLR: the plain sum", at_least=0
    )
    global_local: float = setting(
        1.0,
        "weight of L_GL: the times of a global clip and the local clips there; 0 for a network that shows none",
        source="TCLR: the plain sum",
        at_least=0,
    )

    def check(self) -> None:
        """Refuse to train by nothing."""
        if not (self.instance or self.local_local or self.global_local):
            raise BadSetting("instance", self.instance, "with local_local and global_local 0 too, nothing is learned")


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryConfig(Settings):
    """What a training does without, for networks and batches that do not fit. Slower; the step stays the same."""

    recompute: bool = setting(False, "compute the activations of every block again in the backward pass")
    micro_batch: int | None = setting(
        None,
        "clips of a worker that the encoder takes at a time; pairs are still mined over the global batch, batch "
        "statistics are those of a piece; an objective that takes the encoder apart does so with all; null: all at "
        "once",
        at_least=1,
    )
    shard: bool = setting(
        False, "cut weights, gradients and Adam's state over the workers (FSDP2) in place of a copy on each (DDP)"
    )
