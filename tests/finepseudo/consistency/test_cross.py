"""CMPL: each network is taught what the other one is sure of."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from finepseudo.consistency.cross import CrossObjective
from finepseudo.consistency.network import own_labels
from finepseudo.consistency.weighters import Threshold
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.training.config import CrossEntropyConfig
from tests.finepseudo.consistency.test_objective import CLASSES, batches


def made(ramp: float = 1.0) -> CrossObjective:
    torch.manual_seed(0)
    cfg = ActionEncoderConfig(variant="tiny", dropout=0.0)
    one, two = (build_action_encoder(cfg, CLASSES).double() for _ in range(2))
    with torch.no_grad():
        two.fc.weight.mul_(8)  # surer than the first
    return CrossObjective(one, two, CrossEntropyConfig(), Threshold(0.0), lambda done: ramp * (done >= 1)).train()


def at(step: int, objective: CrossObjective) -> CrossObjective:
    objective.after_step(step, 9)
    return objective


def test_the_loss_is_that_of_labels_and_of_the_others_labels() -> None:
    objective, both = at(1, made(ramp=0.5)), batches()
    pool = both["unlabelled"]
    said = [own_labels(n, pool.views["weak"].frames[:, 0]) for n in (objective.encoder, objective.auxiliary)]
    bar = torch.cat([p.max(1).values for p in said]).median().item()
    objective.weighter = Threshold(bar)
    kept = [(p.max(1).values >= bar).double() for p in said]
    assert kept[0].sum() != kept[1].sum() > 0, "the case tells one labeller from the other"
    frames = torch.cat([both["labelled"].frames[:, 0], pool.views["strong"].frames[:, 0]])
    answers = [copy.deepcopy(n)(frames) for n in (objective.encoder, objective.auxiliary)]
    wanted = [F.cross_entropy(a[:4], both["labelled"].labels) for a in answers]
    for own, other in ((0, 1), (1, 0)):
        losses = F.cross_entropy(answers[own][4:], said[other].argmax(1), reduction="none")
        wanted.append(0.5 * (losses * kept[other]).sum() / 8)
    out = objective(both)
    torch.testing.assert_close(out.loss, sum(wanted))
    torch.testing.assert_close(out.metrics["train/agreement_auxiliary"], 2 * wanted[3].detach())


def test_labels_carry_no_gradient_to_who_made_them() -> None:
    objective, both = at(1, made()), batches(labelled=1)
    both["labelled"].labels[:] = -1
    out = objective(both)
    out.metrics.clear()
    out.loss.backward()
    assert all(p.grad is not None for n in (objective.encoder, objective.auxiliary) for p in n.parameters())
    assert objective.encoder.training and objective.auxiliary.training, "labelling leaves them in training"


def test_before_the_ramp_a_step_is_the_labels_alone_and_its_metrics_have_the_same_names() -> None:
    objective = made()
    first, later = objective(batches()), at(1, objective)(batches())
    assert first.metrics["train/agreement"] == first.metrics["train/ramp"] == 0 < later.metrics["train/agreement"]
    assert first.metrics.keys() == later.metrics.keys()


@pytest.mark.parametrize("invalid", [(), (0, 3), tuple(range(8))])
def test_an_empty_pool_and_gaps_give_finite_losses(invalid: tuple[int, ...]) -> None:
    objective = at(1, made())
    out = objective(batches(invalid=invalid))
    out.loss.backward()
    assert out.loss.isfinite()
    assert all(p.grad.isfinite().all() for p in objective.parameters() if p.grad is not None)


def test_both_networks_and_the_steps_are_in_the_state() -> None:
    one, two = at(3, made()), made()
    two.load_state_dict(one.state_dict())
    assert two.done == 3
    assert {name.split(".")[0] for name in one.state_dict()} == {"encoder", "auxiliary", "_extra_state"}
