"""What consistency methods share: their keys, and labelled and unlabelled clips side by side in every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from finepseudo.consistency import ramps
from finepseudo.consistency.names import STRONG, WEAK
from finepseudo.methods.base import LABELLED, MethodConfig, Setting, Stream, TrainAction
from shards.settings import Settings, section, setting

if TYPE_CHECKING:
    from finepseudo.consistency.network import Network
    from finepseudo.training.objectives import Objective
    from shards.read.config import AugmentConfig, ViewConfig

UNLABELLED = "unlabelled"
"""Name of the stream of the pool."""
SHORTEST = 50.0
"""Half-life, in steps, that a teacher has at least where none is given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StrongConfig(Settings):
    """How a strong view differs from what f_E usually sees; strengths of the jitter are those of action_input."""

    jitter: float = setting(0.8, "probability of the colour jitter", source="open; CARL", at_least=0, at_most=1)
    gray: float = setting(0.2, "probability of a grey image", source="open; CARL", at_least=0, at_most=1)
    blur: float = setting(0.4, "probability of a Gaussian blur", source="open; CARL", at_least=0, at_most=1)
    erase: float = setting(
        0.5,
        "probability of one erased rectangle",
        source="open; Cutout of FixMatch's RandAugment",
        at_least=0,
        at_most=1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SideBySideConfig(MethodConfig):
    """Keys of every method that reads labelled and unlabelled clips side by side."""

    mu: float = setting(
        5.0, "unlabelled clips of a step for each labelled one", source="SVFormer: 5", above=0, at_most=100
    )
    weight: float = setting(1.0, "weight of the unlabelled loss", source="FixMatch: 1", at_least=0)
    warmup: float = setting(
        0.0,
        "share of the steps that read labels alone first; training starts from round 0, which was trained on them",
        source="this project",
        at_least=0,
        below=1,
    )
    ramp: Literal["none", "linear", "sine"] = setting(
        "none",
        "after the warm-up: full weight at once | linear over `ramp_share` of the steps left | a quarter of a sine",
        source="FixMatch, SVFormer: none",
    )
    ramp_share: float = setting(
        0.4, "share of the steps after the warm-up that ramp linear takes", source="USB: .4", above=0, at_most=1
    )
    weak_flip: float | None = setting(
        None, "probability of a left-right flip in the weak view; null = as f_E usually sees", at_least=0, at_most=1
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoViewsConfig(SideBySideConfig):
    """Keys of every method that shows a clip of the pool weakly and strongly changed."""

    same_frames: bool = setting(
        True, "whether the weak and the strong view show the same frames", source="FixMatch: of one image"
    )
    strong: StrongConfig = section(StrongConfig, "how the strong view differs")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsistencyConfig(TwoViewsConfig):
    """Keys of every method whose student learns from the strong view what a teacher says of the weak one."""

    half_life: float | None = setting(
        None,
        "optimiser steps in which a weight's share in the teacher halves; 0 = the student teaches itself; null = a "
        "tenth of the steps after the warm-up, at least 50",
        source="this project: a decay per step, such as .999, is frozen in a short training",
        at_least=0,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTaughtConfig(ConsistencyConfig):
    """Keys of consistency methods whose student labels the pool itself."""

    half_life: float | None = setting(
        0.0,
        "optimiser steps in which a weight's share in the teacher halves; 0 = the student teaches itself; null = a "
        "tenth of the steps after the warm-up, at least 50",
        source="its paper: the student itself",
        at_least=0,
    )


def streams(cfg: TwoViewsConfig, request: TrainAction, view: ViewConfig) -> tuple[Stream, ...]:
    """Read the labelled clips as ever, and mu times as many of the pool in a weak and a strong view."""
    del request
    return labelled_and_pool(cfg, view, *pool_views(cfg, view))


def labelled_and_pool(cfg: SideBySideConfig, view: ViewConfig, *seen: ViewConfig) -> tuple[Stream, ...]:
    """Read the labelled clips as ever and beside them those of the pool in the views `seen`."""
    return (
        Stream(name=LABELLED, role="labelled", views=(view,)),
        Stream(name=UNLABELLED, role="unlabelled", views=seen, share=cfg.mu),
    )


def weak_view(cfg: SideBySideConfig, view: ViewConfig) -> ViewConfig:
    """Make the weak view of an unlabelled clip from what f_E usually sees."""
    flip = view.augment.flip if cfg.weak_flip is None else cfg.weak_flip
    return replace(view, name=WEAK, augment=replace(view.augment, flip=flip))


def pool_views(cfg: TwoViewsConfig, view: ViewConfig) -> tuple[ViewConfig, ViewConfig]:
    """Make the weak and the strong view of an unlabelled clip from what f_E usually sees."""
    look = strong_look(view.augment, cfg.strong)
    return (
        weak_view(cfg, view),
        replace(view, name=STRONG, augment=look, frames_as=WEAK if cfg.same_frames else ""),
    )


def strong_look(look: AugmentConfig, strong: StrongConfig) -> AugmentConfig:
    """Make the augmentation of a strong view from the usual one."""
    return replace(look, **{field.name: getattr(strong, field.name) for field in fields(strong)})


def warm_steps(cfg: SideBySideConfig, steps: int) -> int:
    """Count the steps that read labels alone."""
    return round(cfg.warmup * steps)


def ramp_of(cfg: SideBySideConfig, steps: int) -> Callable[[int], float]:
    """Give the weight of the unlabelled loss by optimiser steps done."""
    warm = warm_steps(cfg, steps)

    def weight(done: int) -> float:
        match cfg.ramp:
            case "sine":
                return cfg.weight * ramps.sine(done, warm, steps)
            case "linear":
                return cfg.weight * ramps.linear(done, warm, warm + cfg.ramp_share * (steps - warm))
            case "none":
                return cfg.weight * ramps.step(done, warm)

    return weight


def half_life_of(cfg: ConsistencyConfig, steps: int) -> float:
    """Give the half-life of the teacher in optimiser steps."""
    return max(SHORTEST, (steps - warm_steps(cfg, steps)) / 10) if cfg.half_life is None else cfg.half_life


def sgd_in_steps(weight_decay: float) -> dict[str, Any]:
    """Give the optimiser of SVFormer and SeFAR as keys of a preset: lr is for 64 labelled clips a step."""
    return {
        "optim.name": "sgd",
        "optim.lr": 0.005,
        "optim.weight_decay": weight_decay,
        "optim.warmup_epochs": 0.0,
        "optim.clip_norm": None,
        "optim.drops": [25 / 30, 28 / 30],
    }


def objective_of(cfg: SideBySideConfig, setting: Setting, network: Network | None = None, **parts: Any) -> Objective:  # noqa: ANN401
    """Build the shared objective with the ramp and the teacher of the keys; `parts`: the others that a method chooses.

    network: what is trained in place of f_E. Without keys of a teacher the student teaches itself.
    """
    from finepseudo.consistency.objective import ConsistencyObjective, Parts

    chosen = Parts(
        ramp=ramp_of(cfg, setting.steps),
        half_life=half_life_of(cfg, setting.steps) if isinstance(cfg, ConsistencyConfig) else 0.0,
        warm_up=warm_steps(cfg, setting.steps),
        **parts,
    )
    return ConsistencyObjective(network or setting.encoder, setting.loss, chosen, setting.seed)
