"""UPS: which labels are positive, which negative, how they are balanced, and what is trained on them."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finepseudo.consistency.ruled_out import RuledOutObjective
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.methods.base import Embed, Labels, Passes, Pool, Setting, TrainAction, flat
from finepseudo.methods.labelling import label_pool, ruled_out
from finepseudo.methods.ups import RULED_OUT, UPS, UpsConfig, keep, vote
from finepseudo.training.config import CrossEntropyConfig
from finepseudo.training.objectives import CrossEntropyObjective
from shards.read.config import ViewConfig
from tests.finepseudo.batches import clip_batch

CFG = UpsConfig()


def pool(mean, std, tempered_mean=None, tempered_std=None, usable=None) -> Pool:
    mean, std = np.atleast_2d(np.array(mean, float)), np.atleast_2d(np.array(std, float))
    tempered = [mean if tempered_mean is None else np.atleast_2d(np.array(tempered_mean, float))]
    tempered += [std if tempered_std is None else np.atleast_2d(np.array(tempered_std, float))]
    passes = Passes(mean=mean, std=std, tempered_mean=tempered[0], tempered_std=tempered[1])
    usable = np.ones(len(mean), bool) if usable is None else np.array(usable)
    return Pool(usable, None, np.full(mean.shape, 1 / mean.shape[1]), np.zeros(len(mean)), passes)


@pytest.mark.parametrize(
    ("p", "d", "accepted"),
    [(0.70, 0.049, True), (0.699, 0.049, False), (0.70, 0.05, False), (0.99, 0.0, True), (0.99, 0.2, False)],
)
def test_a_positive_label_is_sure_on_the_mean_and_steady_over_the_passes(p, d, accepted):
    votes = vote(CFG, pool([[p, 1 - p]], [[d, 0.9]]))
    assert votes.accepted.tolist() == [accepted]
    assert votes.p[0, 0] == p and votes.spread.tolist() == [d], "it is voted with the mean of the passes, not with p_E"


def test_a_class_is_ruled_out_by_the_tempered_passes():
    tempered = [[0.80, 0.049, 0.051, 0.049, 0.051]]
    deviation = [[0.001, 0.0049, 0.001, 0.0051, 0.1]]
    votes = vote(CFG, pool([[0.9, 0.0, 0.0, 0.05, 0.05]], [[0.9] * 5], tempered, deviation))
    assert votes.negative.tolist() == [[False, True, False, False, False]]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 60), st.floats(0.01, 1), st.floats(1e-4, 1))
def test_negatives_never_include_the_label(seed, classes, theta, kappa):
    rng = np.random.default_rng(seed)
    mean, tempered = rng.dirichlet(np.full(classes, 0.3), 8), rng.dirichlet(np.ones(classes), 8)
    given_ = pool(mean, rng.random(mean.shape) / 10, tempered, rng.random(mean.shape) / 100)
    votes = vote(UpsConfig(negative_theta=theta, negative_kappa=kappa), given_)
    assert not votes.negative[np.arange(8), votes.p.argmax(1)].any()


def test_a_broken_clip_has_neither_kind_of_label():
    votes = vote(CFG, pool([[1.0, 0.0]] * 2, [[0.0, 0.0]] * 2, usable=[True, False]))
    assert votes.accepted.tolist() == [True, False]
    assert votes.negative.tolist() == [[False, True], [False, False]]


def labels(counts, classes=3, seed=0) -> Labels:
    """So many accepted labels of each class, with spreads that differ."""
    label = np.repeat(np.arange(len(counts)), counts)
    spread = np.random.default_rng(seed).permutation(len(label)) / 100
    return Labels(classes=classes, label=label, spread=spread, accepted=np.ones(len(label), bool))


@pytest.mark.parametrize(
    ("counts", "floor", "kept"),
    [
        ((40, 30, 28), 25, (28, 28, 28)),  # the rarest class has more than the floor
        ((40, 30, 5), 25, (25, 25, 5)),
        ((40, 30), 25, (25, 25)),  # a class without a label is the rarest
        ((3, 0, 2), 25, (3, 0, 2)),
        ((9, 9, 9), 1, (9, 9, 9)),
    ],
)
def test_early_labels_are_balanced_and_the_surest_stay(counts, floor, kept):
    found = labels(counts)
    chosen = keep(UpsConfig(class_floor=floor), 0, found)
    assert np.bincount(found.label[chosen], minlength=len(counts)).tolist() == list(kept)
    for one in range(len(counts)):
        mine = found.label == one
        gone = mine & ~chosen
        assert not gone.any() or found.spread[mine & chosen].max() < found.spread[gone].min()


def test_later_rounds_keep_all_and_nothing_that_was_refused_comes_back():
    found = labels((40, 1))
    assert keep(UpsConfig(balanced_rounds=2), 2, found).all()
    none = Labels(classes=2, label=found.label, spread=found.spread, accepted=np.zeros(41, bool))
    assert not keep(CFG, 0, none).any()
    assert not keep(CFG, 8, found).all() and keep(CFG, 9, found).all(), "9 rounds in its code"
    found.accepted[::2] = False
    assert not keep(CFG, 0, found)[::2].any()


@pytest.mark.parametrize("restart", [False, True])
def test_a_round_goes_on_or_begins_anew(restart):
    requests = flat(UPS.plan(UpsConfig(reinitialise=restart), 3, True))
    trained = [r for r in requests if isinstance(r, TrainAction)]
    assert [r.start for r in trained] == ([None] * 3 if restart else [0, 1, 2])
    assert [r.labels for r in trained] == [0, 1, 2] and not any(r.plain for r in trained)
    assert [(r.part, r.parts) for r in trained] == ([(0, 1)] * 3 if restart else [(0, 3), (1, 3), (2, 3)])
    assert all(r.passes for r in requests if isinstance(r, Embed))


def test_clips_that_only_rule_out_are_read_beside_the_labelled_ones():
    view, request = ViewConfig(), TrainAction(number=1, start=0, labels=0)
    first, second = UPS.streams(UpsConfig(negative_share=2.0), request, view)
    assert (first.role, second.role, second.name, second.share) == ("labelled", "ruled_out", RULED_OUT, 2.0)
    assert len(UPS.streams(UpsConfig(negatives=False), request, view)) == 1


@pytest.fixture
def table(tmp_path):
    """Of clip0 to clip3: a positive label, two negative ones, one negative one, nothing."""
    mean = np.array([[0.98, 0.01, 0.01], [0.5, 0.49, 0.01], [0.51, 0.48, 0.01], [0.4, 0.3, 0.3]])
    tempered = np.array([[0.9, 0.05, 0.05], [0.9, 0.04, 0.04], [0.5, 0.46, 0.04], [0.4, 0.3, 0.3]])
    passes = Passes(mean=mean, std=mean * 0, tempered_mean=tempered, tempered_std=mean * 0)
    keys, ones = [f"clip{i}" for i in range(4)], np.ones(4, bool)
    path = tmp_path / "pseudo_labels.parquet"
    pq.write_table(label_pool(UPS, CFG, keys, None, mean, np.zeros(4), ones, passes), path)
    return path


def objective(labels=None, **values):
    torch.manual_seed(0)
    encoder = build_action_encoder(ActionEncoderConfig(variant="tiny", dropout=0.0), 3)
    request = TrainAction(number=1, start=0, labels=0)
    loss = CrossEntropyConfig()
    made = Setting(request=request, encoder=encoder, fresh=None, loss=loss, n_classes=3, steps=4, seed=0, labels=labels)
    return UPS.objective(UpsConfig(**values), made)


def test_the_table_says_which_clips_rule_out_what(table):
    keys, negative = ruled_out(table)
    assert keys == ["clip1", "clip2"] and negative.tolist() == [[False, True, True], [False, False, True]]


def test_a_step_is_cross_entropy_and_negative_cross_entropy(table):
    made = objective(table, negative_weight=0.5)
    labelled, other = clip_batch(4, seed=1), clip_batch(3, seed=2, invalid=(0,))
    out = made({"labelled": labelled, RULED_OUT: other})
    logits = made.encoder(torch.cat([labelled.frames[:, 0], other.frames[1:, 0]]))
    positive = torch.nn.functional.cross_entropy(logits[:4], labelled.labels)
    not_so = 1 - logits[4:].softmax(1)
    negative = -((not_so[0, 1].log() + not_so[0, 2].log()) / 2 + not_so[1, 2].log()) / 2
    torch.testing.assert_close(out.loss, positive + 0.5 * negative)
    torch.testing.assert_close(out.metrics["train/negative"], negative.detach())


def test_without_negative_clips_a_step_is_that_of_the_labels(table):
    made = objective(table)
    batch = clip_batch(4, seed=1)
    out = made({"labelled": batch, RULED_OUT: clip_batch(2, invalid=(0, 1))})
    torch.testing.assert_close(out.loss, CrossEntropyObjective(made.encoder, CrossEntropyConfig())({"": batch}).loss)
    assert isinstance(made, RuledOutObjective)
    assert isinstance(objective(table, negatives=False), CrossEntropyObjective)
