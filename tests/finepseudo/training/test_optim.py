"""The learning rate is a pure function of the step; f_S learns faster; frozen weights stay out."""

import copy
import math
from itertools import pairwise

import pytest
import torch

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.training.config import OptimConfig
from finepseudo.training.optim import (
    FiniteGuard,
    Part,
    build_optimizer,
    clip_gradients,
    learning_rate,
    load_optimizer,
    set_learning_rate,
)
from shards.errors import UserError
from tests.finepseudo.batches import objective


def test_warm_up_then_cosine():
    cfg = OptimConfig(lr=1.0, warmup_epochs=2)
    rates = [learning_rate(cfg, step, 100, 5) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1.0 and rates[55] == pytest.approx(0.5)
    assert all(a >= b for a, b in pairwise(rates[10:])) and 0 < rates[-1] < 0.01


def test_the_rate_may_fall_in_steps():
    """SeFAR: a tenth from epoch 25 of 30 on, a hundredth from 28."""
    cfg = OptimConfig(lr=0.005, warmup_epochs=0, drops=(25 / 30, 28 / 30))
    rates = [learning_rate(cfg, step, 600, 20) for step in range(600)]
    assert rates[:500] == [0.005] * 500
    assert rates[500:560] == pytest.approx([0.0005] * 60)
    assert rates[560:] == pytest.approx([0.00005] * 40)


def test_warm_up_leaves_half_of_a_short_stage():
    cfg = OptimConfig(lr=1.0)
    assert learning_rate(cfg, 3, 8, 100) == 1.0
    assert learning_rate(cfg, 0, 1, 1) == 1.0


@pytest.mark.parametrize("part", range(4))
def test_a_round_has_its_share_of_the_schedule_however_many_steps_it_takes(part):
    """How many labels were accepted moves neither warm-up nor cosine: both go by the share of the round."""
    cfg = OptimConfig(lr=1.0, warmup_epochs=0.5)
    few, many = ([learning_rate(cfg, s, 5 * n, n, Part(part, 4)) for s in range(5 * n)] for n in (20, 200))
    assert few[9::10] == pytest.approx(many[99::100], abs=0.01)
    assert many[0] < 0.02 and max(many) == pytest.approx(0.5 * (1 + math.cos(math.pi * part / 4)))
    assert many.index(max(many)) in (99, 100)


def test_rounds_join_but_for_their_warm_up():
    cfg = OptimConfig(lr=1.0, warmup_epochs=0)
    rates = [learning_rate(cfg, s, n, n, Part(part, 3)) for part, n in enumerate((50, 10, 100)) for s in range(n)]
    assert rates[0] == 1.0 and all(a >= b for a, b in pairwise(rates)) and rates[50] == pytest.approx(0.75)


def test_groups():
    module = objective("alignability")
    module.encoder.freeze_image_encoder()
    optimizer = build_optimizer(module, OptimConfig(lr=0.5))
    set_learning_rate(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in module.parameters() if p.requires_grad}
    assert not held & {id(p) for p in module.encoder.image.parameters()}
    assert len(build_optimizer(objective("cross_entropy"), OptimConfig()).param_groups) == 1


def test_f_s_does_not_decay_where_nothing_teaches_it():
    module = objective("alignability")
    before = {name: value.clone() for name, value in module.scorer.state_dict().items()}
    optimizer = build_optimizer(module, OptimConfig(lr=0.1, weight_decay=0.1))
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in module.scorer.state_dict().items())
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_a_score_that_is_not_learned_is_not_trained():
    module = objective("alignability")
    module.scorer = AlignabilityScorer(learned=False)
    optimizer = build_optimizer(module, OptimConfig())
    assert len(optimizer.param_groups) == 1


def test_a_state_of_other_groups_is_refused_in_a_line():
    weights = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(1)) for _ in range(2)])
    state = build_optimizer(weights, OptimConfig()).state_dict()
    optimizer = build_optimizer(objective("alignability"), OptimConfig())
    with pytest.raises(UserError, match=r"^checkpoint: groups of \[2\] weights, .* remove the folder checkpoints"):
        load_optimizer(optimizer, state)


def test_clipping():
    parameter = torch.nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), 50.0)
    assert clip_gradients([parameter], OptimConfig()) == 100
    assert parameter.grad.norm() == pytest.approx(10, rel=1e-5)
    parameter.grad = torch.full((4,), 50.0)
    assert clip_gradients([parameter], OptimConfig(clip_norm=None)) == 100
    assert torch.equal(parameter.grad, torch.full((4,), 50.0))


def test_constants_are_checked():
    with pytest.raises(ValueError, match="lr"):
        OptimConfig(lr=0.0)
    with pytest.raises(ValueError, match=r"momentum = .* must be above 0 with nesterov"):
        OptimConfig(name="sgd", momentum=0.0)
    assert OptimConfig(name="sgd", momentum=0.0, nesterov=False).momentum == 0


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_from_the_first_step_that_is_not_finite_on_nothing_moves(name):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = build_optimizer(torch.nn.ParameterList([weight]), OptimConfig(lr=0.1, name=name))
    guard = FiniteGuard(optimizer, torch.device("cpu"))
    kept = {}
    for number, loss, gradient in [(1, 0.5, 1.0), (2, float("inf"), 1.0), (3, 0.5, float("nan")), (4, 0.5, 1.0)]:
        weight.grad = torch.full((3,), gradient)
        guard.step(number, torch.tensor(loss), weight.grad.norm())
        state = {"weight": weight.detach().clone(), **{k: v.clone() for k, v in optimizer.state[weight].items()}}
        kept[number] = state
        assert guard.broken() == (None if number == 1 else (2, float("inf"), pytest.approx(3**0.5)))
    assert (kept[1]["weight"] < 1).all() and kept[1].get("step", 1) == 1
    for number in (2, 3, 4):
        assert all(torch.equal(kept[1][name], kept[number][name]) for name in kept[1])


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_that_of_the_books_and_goes_on_from_its_state(nesterov):
    """v = m v + (g + d w); w -= lr (g + d w + m v) by Nesterov, w -= lr v without (torch's form)."""
    cfg = OptimConfig(name="sgd", lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.01)
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 5))
    optimizer = build_optimizer(torch.nn.ParameterList([weight]), cfg)
    w, v = weight.detach().clone(), torch.zeros(5)
    for step in range(6):
        gradient = torch.sin(torch.arange(5.0) + step)
        weight.grad = gradient.clone()
        optimizer.step()
        full = gradient + 0.01 * w
        v = 0.9 * v + full
        w = w - 0.1 * (full + 0.9 * v if nesterov else v)
        torch.testing.assert_close(weight.detach(), w)
        if step == 2:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = build_optimizer(torch.nn.ParameterList([weight]), cfg)
            load_optimizer(optimizer, state)


def test_adamw_decays_weights_apart_from_the_moments():
    """w -= lr d w, then Adam's step by the gradient alone: its first is of the rate's size whatever the decay."""
    weight = torch.nn.Parameter(torch.tensor([2.0, -4.0]))
    optimizer = build_optimizer(torch.nn.ParameterList([weight]), OptimConfig(name="adamw", lr=0.1, weight_decay=0.5))
    weight.grad = torch.tensor([3.0, 5.0])
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([2 * 0.95 - 0.1, -4 * 0.95 - 0.1]))


def test_adam_is_torchs_and_takes_states_of_before_it_was_fused():
    weights, optimizers = [], []
    for fused in (True, False):
        weights.append(torch.nn.Parameter(torch.linspace(-1, 1, 5)))
        optimizers.append(torch.optim.Adam([weights[-1]], lr=0.1, weight_decay=0.01))
        if fused:
            optimizers[-1] = build_optimizer(
                torch.nn.ParameterList([weights[-1]]), OptimConfig(lr=0.1, weight_decay=0.01)
            )
            FiniteGuard(optimizers[-1], torch.device("cpu"))
    for step in range(6):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            weight.grad = torch.sin(torch.arange(5.0) + step)
            optimizer.step()
        if step == 2:
            state = copy.deepcopy(optimizers[1].state_dict())
            load_optimizer(
                optimizers[0], {**state, "param_groups": [dict(g, factor=1.0) for g in state["param_groups"]]}
            )
        torch.testing.assert_close(*(weight.detach() for weight in weights))
