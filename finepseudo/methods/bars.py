"""The bar that the confidence of a pseudo-label has to exceed: the papers' constant, or one measured in each round.

Shapes: N clips of the pool, M held-out labelled clips, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from finepseudo.methods.base import MethodConfig
from shards.settings import BadSetting, setting

if TYPE_CHECKING:
    from finepseudo.methods.base import Bools, Floats, Pool, Votes

Bar = Literal["fixed", "adaptive", "calibrated"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BarConfig(MethodConfig):
    """Keys of a method whose labels have to exceed a bar; its `theta` is the fixed one."""

    bar: Bar = setting(
        "fixed",
        "fixed: theta | adaptive: the mean confidence of the pool in this round | calibrated: the lowest one above "
        "which `precision` of the held-out labelled clips (split.held_out) are labelled right",
        source="fixed: FinePseudo, sec 4.2; adaptive: FreeMatch, eq. (5), over a whole round",
    )
    bar_by_class: bool = setting(
        False,
        "adaptive: lower it for classes that the pool is predicted as less often; accepts much where classes are few",
        source="FreeMatch, eq. (6) to (8)",
    )
    precision: float = setting(
        0.95, "calibrated: share of right labels that is aimed at", source="our choice", above=0, at_most=1
    )

    def check(self) -> None:
        """Refuse what another bar would ignore."""
        if self.bar_by_class and self.bar != "adaptive":
            raise BadSetting("bar_by_class", self.bar_by_class, f"needs bar adaptive, not {self.bar}; change one")


def exceeds(votes: Votes, theta: float, pool: Pool) -> Bools:
    """Tell which labels are surer than theta, or than the bar that was measured for their class [N]."""
    bar = theta if pool.bar is None else pool.bar[votes.p.argmax(axis=1)]
    return votes.confidence > bar


def adaptive_bar(pieces: Iterable[Floats], *, by_class: bool) -> Floats:
    """Mean confidence of the usable clips of a pool, whose p [n, C] come piece by piece: [C], infinite without any.

    by_class: times the class's share of the pool's predictions, against the largest one.
    """
    import numpy as np

    count, confidence, mass, width = 0, 0.0, np.zeros(0), 0
    for p in pieces:
        width = p.shape[1]
        if len(p):
            count, confidence = count + len(p), confidence + float(p.max(axis=1).sum())
            mass = p.sum(axis=0) + (mass if len(mass) else 0)
    bar: Floats = np.full(width, confidence / count if count else np.inf)
    return bar * mass / mass.max() if by_class and count else bar


def calibrated_bar(confidence: Floats, right: Bools, precision: float, n_classes: int) -> Floats:
    """Set the lowest bar above which at least `precision` of the held-out clips are labelled right: [C].

    confidence, right: of the held-out clips [M]. The bar is just under the least confidence that it keeps, so never
    below what was seen. Infinite where no bar reaches the precision: nothing is accepted then.
    """
    import numpy as np

    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order].astype(np.float32)  # as `Votes.confidence` has it
    reached = np.cumsum(right[order]) >= precision * np.arange(1, len(order) + 1) - 1e-9
    reached &= np.append(np.diff(sorted_confidence) != 0, True)[: len(order)]  # equal ones stand or fall together
    bar = np.nextafter(sorted_confidence[np.flatnonzero(reached)[-1]], np.float32(-1)) if reached.any() else np.inf
    return np.full(n_classes, float(bar))
