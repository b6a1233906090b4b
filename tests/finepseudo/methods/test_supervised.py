"""How long the reference is trained."""

from __future__ import annotations

import pytest

from finepseudo.methods.base import TrainAction, flat
from finepseudo.methods.supervised import SUPERVISED, SupervisedConfig


@pytest.mark.parametrize(
    ("epochs", "rounds", "wanted"), [(None, 10, (10, None)), (5, 10, (1, 50)), (5, 0, None), (None, 0, None)]
)
def test_it_takes_the_steps_or_the_epochs_of_all_rounds(epochs, rounds, wanted):
    requests = flat(SUPERVISED.plan(SupervisedConfig(epochs=epochs), rounds, True))
    assert all(isinstance(request, TrainAction) for request in requests)
    assert [(r.times, r.epochs) for r in requests] == ([wanted] if wanted else [])
