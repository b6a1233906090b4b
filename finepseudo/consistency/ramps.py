"""Weights of an unlabelled loss over a training: pure functions of how far it has come.

Positions are counted in any unit (steps, epochs): `done` of them are behind the current one, so the first is 0.
"""

from __future__ import annotations

import math


def sine(done: float, warm_up: float, total: float) -> float:
    """SeFAR's ramp: 0 before `warm_up`, then sin(pi / 2 (done + 1 - warm_up) / (total - warm_up)), at most 1.

    >>> [round(sine(epoch, 5, 30), 3) for epoch in (4, 5, 10, 17, 24, 29)]
    [0.0, 0.063, 0.368, 0.729, 0.951, 1.0]
    """
    if done < warm_up:
        return 0.0
    return math.sin(math.pi / 2 * min(1.0, (done + 1 - warm_up) / (total - warm_up)))


def linear(done: float, begin: float, end: float) -> float:
    """Pseudo-Label's ramp (Lee, 2013): 0 up to `begin`, 1 from `end` on, linear in between.

    >>> [linear(step, 100, 600) for step in (0, 100, 350, 600, 900)]
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    if end <= begin:
        return float(done >= end)
    return min(1.0, max(0.0, (done - begin) / (end - begin)))


def step(done: float, begin: float) -> float:
    """Return 0 before `begin`, 1 from it on."""
    return float(done >= begin)
