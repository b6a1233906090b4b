"""SeFAR with the alignability vote: what it adds, and that nothing of it is a true label."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finepseudo.consistency.side import ByKey
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.methods.base import Setting, flat
from finepseudo.methods.finepseudo_sefar import FINEPSEUDO_SEFAR
from finepseudo.methods.sefar import SEFAR
from finepseudo.training.config import CrossEntropyConfig
from tests.finepseudo.methods.test_sefar import grouped

CLASSES, KEYS = 4, ("0", "1", "2", "3")
(REQUEST,) = flat(FINEPSEUDO_SEFAR.plan(FINEPSEUDO_SEFAR.config(), 1, True))


def told(method, scores=None, **values):
    """One step half way, with dropout off, so that every row draws the same."""
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny"), CLASSES)
    side = () if scores is None else (ByKey(KEYS, np.asarray(scores, np.float32)),)
    setting = Setting(
        request=REQUEST,
        encoder=encoder,
        fresh=lambda: encoder,
        loss=CrossEntropyConfig(),
        n_classes=CLASSES,
        steps=12,
        seed=0,
        side=side,
    )
    made = method.objective(method.config(channel_drop=0.0, head_dropout=0.0, **values), setting)
    made.after_step(6, 12)
    torch.manual_seed(1)
    return made({"labelled": grouped(2, ("only",), True), "unlabelled": grouped(4, ("weak", "strong"), False)})


SURE = np.eye(CLASSES)[[3, 3, 3, 3]]


def test_without_a_share_it_is_sefar_to_the_bit():
    own, theirs = told(FINEPSEUDO_SEFAR, SURE, target_share=0.0, weight_share=0.0), told(SEFAR)
    assert torch.equal(own.loss, theirs.loss)
    assert all(torch.equal(own.metrics[name], value) for name, value in theirs.metrics.items())


def test_a_vote_moves_the_label_and_its_weight_each_by_its_own_key():
    plain = told(SEFAR).metrics
    voted = told(FINEPSEUDO_SEFAR, SURE, target_share=1.0, weight_share=0.0).metrics
    assert voted["train/confidence"] > 0.99 > plain["train/confidence"]
    assert voted["train/agreement"] != plain["train/agreement"]
    sure = told(FINEPSEUDO_SEFAR, SURE, target_share=1.0, weight_share=1.0).metrics
    assert sure["train/weight"] > voted["train/weight"], "p at the label is p_A's"
    assert sure["train/confidence"] == voted["train/confidence"]


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_weight_is_sefars_of_the_mixed_confidence(share):
    """eta(p, d) with p mixed and, without dropout, d = 0: 2 sigmoid(exp(p) - e)."""
    uniform = told(SEFAR).metrics["train/confidence"]
    scores = np.tile([[0.0, 0.0, 0.0, 0.05]], (4, 1))
    found = told(FINEPSEUDO_SEFAR, scores, tau=0.1, target_share=1.0, weight_share=share).metrics
    p_a = torch.tensor(scores[0] / 0.1).softmax(0)
    assert found["train/confidence"] == pytest.approx(p_a[3].item(), abs=1e-6)
    if share:
        assert (
            found["train/weight"]
            > told(FINEPSEUDO_SEFAR, scores, target_share=1.0, weight_share=0.0).metrics["train/weight"]
        )
    assert 1 / CLASSES <= uniform < 1


def test_it_needs_alignability_and_no_label_of_the_pool():
    assert FINEPSEUDO_SEFAR.aligns and FINEPSEUDO_SEFAR.vote is None
    assert set(FINEPSEUDO_SEFAR.keys_of("training")) >= {
        f"method.finepseudo_sefar.{key}" for key in ("tau", "target_share", "weight_share", "groups")
    }
