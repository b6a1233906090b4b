"""Adam, AdamW or SGD, linear warm-up, cosine or steps. The rate is a function of the step alone: resuming is exact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.run_folder.layout import CHECKPOINTS
from finepseudo.training.config import OptimConfig, OptimiserConfig
from shards.errors import UserError


class Undecayed(Protocol):
    """A module that exempts some of its parameters from weight decay."""

    def undecayed(self) -> Iterable[nn.Parameter]:
        """Give them."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Where a training lies in a schedule that spans several: it runs from `number` to `number + 1` of `count`."""

    number: int = 0
    count: int = 1


def rate_factor(
    step: int, total_steps: int, warmup_steps: int, drops: Sequence[float] = (), part: Part | None = None
) -> float:
    """Fraction of the base rate at `step` (from 0) of a training of `total_steps`.

    Half a cosine runs down to near 0 over all parts, each of which takes an equal share of it whatever its length. In
    the first steps of each, where Adam's averages are young, it is multiplied by (step + 1) / warmup_steps. With
    `drops`, shares of all after the warm-up, it stays 1 and falls to a tenth at each of them.
    """
    part = part or Part()
    ramp = min((step + 1) / warmup_steps, 1.0) if warmup_steps else 1.0
    own = max(step - warmup_steps, 0) / max(total_steps - warmup_steps, 1)
    done = (part.number + min(own, 1.0)) / part.count
    if drops:
        return ramp * float(0.1 ** sum(done >= share for share in drops))
    return ramp * 0.5 * (1 + math.cos(math.pi * done))


def learning_rate(
    cfg: OptimiserConfig, step: int, total_steps: int, steps_per_epoch: int, part: Part | None = None
) -> float:
    """Learning rate at `step` of a stage of total_steps; warm-up takes at most half of the stage."""
    warmup = min(round(cfg.warmup_epochs * steps_per_epoch), total_steps // 2)
    return cfg.lr * rate_factor(step, total_steps, warmup, cfg.drops, part)


def build_optimizer(objective: nn.Module, cfg: OptimConfig) -> torch.optim.Optimizer:
    """Make the optimiser of the trainable parameters; each group holds `factor`, its multiple of the learning rate.

    A module's method `undecayed`, where it has one, gives those of its parameters that have no weight decay: f_S, whose
    scores would all become the same, and what the recipe of an encoder exempts.
    """
    modules = list(objective.modules())
    scorer = {id(p) for module in modules if isinstance(module, AlignabilityScorer) for p in module.parameters()}
    kept = {id(p) for module in modules if hasattr(module, "undecayed") for p in cast(Undecayed, module).undecayed()}
    parts: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in objective.parameters():
        if parameter.requires_grad:
            parts.setdefault((id(parameter) in scorer, id(parameter) in kept), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {
            "params": part,
            "factor": cfg.scorer_lr_factor if fast else 1.0,
            "weight_decay": 0.0 if whole else cfg.weight_decay,
        }
        for (fast, whole), part in parts.items()
    ]
    if cfg.name == "sgd":
        return torch.optim.SGD(groups, lr=cfg.lr, momentum=cfg.momentum, nesterov=cfg.nesterov, fused=True)
    adam = torch.optim.AdamW if cfg.name == "adamw" else torch.optim.Adam
    return adam(groups, lr=cfg.lr, fused=True)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a saved state into an optimiser of `build_optimizer`; states of before it was fused, too.

    Raises UserError for the state of a version that grouped the weights of this encoder otherwise.
    """
    sizes = [[len(group["params"]) for group in groups] for groups in (state["param_groups"], optimizer.param_groups)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"checkpoint: groups of {sizes[0]} weights, where weight decay now makes {sizes[1]}: it is of another "
            f"version; remove the folder {CHECKPOINTS} of this stage to train the stage from its start"
        )
    for group in state["param_groups"]:
        group["fused"] = True
    optimizer.load_state_dict(state)


class FiniteGuard:
    """Keeps weights from a loss or gradient that is not finite, without asking the device a step.

    From the first one on no step of the optimiser changes anything: its fused kernel reads a flag on the device, as it
    does for torch's GradScaler. The host asks `broken` when it suits.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        """Guard every step that is taken through `step`; the optimiser must be fused."""
        self._optimizer = optimizer
        self._found = torch.zeros((), device=device)
        self._first = torch.zeros(3, dtype=torch.float64, device=device)
        optimizer.found_inf = self._found  # type: ignore[attr-defined]

    @torch.no_grad()
    def step(self, number: int, loss: Tensor, norm: Tensor) -> None:
        """Take step `number` unless the loss or the gradient's norm, of this step or of one before, is not finite."""
        bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
        told = torch.stack([torch.full_like(self._first[0], number), loss.double(), norm.double()])
        self._first.copy_(torch.where(bad & (self._found == 0), told, self._first))
        self._found.copy_(torch.maximum(self._found, bad.to(self._found)))
        self._optimizer.step()

    def broken(self) -> tuple[int, float, float] | None:
        """Return number, loss and norm of the first step that was not finite, if any; waits for the device."""
        number, loss, norm = self._first.tolist()
        return (int(number), loss, norm) if number else None


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's rate to `rate` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def clip_gradients(parameters: Iterable[nn.Parameter], cfg: OptimiserConfig) -> Tensor:
    """Scale the gradients to a norm of at most cfg.clip_norm, where it is given; return the norm before."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, math.inf if cfg.clip_norm is None else cfg.clip_norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
