from __future__ import annotations

import pytest
import torch
from torch import nn

from finepseudo.consistency.teacher import MeanTeacher, momentum_of


def student() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def test_half_life() -> None:
    assert momentum_of(10) ** 10 == pytest.approx(0.5)
    with pytest.raises(ValueError, match="half_life 0 must be positive"):
        momentum_of(0)


def test_it_averages_weights_and_statistics_and_copies_counters() -> None:
    pupil = student().train()
    teacher = MeanTeacher(pupil)
    start = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    with torch.no_grad():
        for parameter in pupil.parameters():
            parameter.add_(1)
    pupil(torch.randn(8, 3))
    teacher.follow(pupil, 0.75)
    for name, value in teacher.model.state_dict().items():
        now = pupil.state_dict()[name]
        expected = 0.75 * start[name] + 0.25 * now if value.is_floating_point() else now
        torch.testing.assert_close(value, expected)
    teacher.follow(pupil, 0.0)
    assert all(torch.equal(value, pupil.state_dict()[name]) for name, value in teacher.model.state_dict().items())


def test_it_is_part_of_the_state_has_no_gradient_and_stays_in_evaluation() -> None:
    pupil = student()
    whole = nn.ModuleDict({"student": pupil, "teacher": MeanTeacher(pupil)}).train()
    assert not whole["teacher"].model.training
    assert not any(parameter.requires_grad for parameter in whole["teacher"].parameters())
    assert "teacher.model.0.weight" in whole.state_dict()
    other = nn.ModuleDict({"student": student(), "teacher": MeanTeacher(student())})
    other.load_state_dict(whole.state_dict())
