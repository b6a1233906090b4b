"""A training is as long as one of two keys says."""

import pytest

from jobs.config.training import TrainConfig
from shards.settings import BadSetting


@pytest.mark.parametrize("length", [{"steps": 3}, {"epochs": 3}])
def test_one_length_is_enough(length):
    assert TrainConfig(**length)


@pytest.mark.parametrize("length", [{}, {"steps": 3, "epochs": 3}])
def test_no_length_and_two_lengths_are_refused(length):
    with pytest.raises(BadSetting, match="set exactly one, the others to null"):
        TrainConfig(**length)
