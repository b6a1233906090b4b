"""Triplets, score and f_S against oracles of plain loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finepseudo.alignment.config import AlignabilityConfig, ScorerConfig
from finepseudo.alignment.scorer import AlignabilityScorer, Pairs, score_loss, triplet_loss
from finepseudo.encoders.config import FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.evaluation.metrics import average_precision
from finepseudo.training.objectives import AlignabilityObjective
from tests.finepseudo.batches import clip_batch


def random_distances(seed, labels):
    rng = np.random.default_rng(seed)
    half = rng.uniform(0, 1, (len(labels), len(labels)))
    return torch.from_numpy(half + half.T)


def oracle(distances, labels, margin, mining):
    """Loss and mined (anchor, negative) pairs."""
    hinges, mined = [], set()
    for i, j in itertools.permutations(range(len(labels)), 2):
        if labels[i] < 0 or labels[i] != labels[j]:
            continue
        negatives = [k for k in range(len(labels)) if labels[k] >= 0 and labels[k] != labels[i]]
        if mining == "hardest" and negatives:
            negatives = [min(negatives, key=lambda k: float(distances[i, k]))]
        for k in negatives:
            hinge = float(distances[i, j] - distances[i, k]) + margin
            if mining == "all" or hinge > 0:
                hinges.append(max(hinge, 0.0))
                mined.add((i, k))
    return (sum(hinges) / len(hinges) if hinges else 0.0), mined


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(-1, 2), min_size=2, max_size=7),
    st.sampled_from(["all", "hard", "hardest"]),
    st.sampled_from([0.0, 0.1, 0.5]),
)
def test_triplets_are_the_oracles(seed, labels, mining, margin):
    distances = random_distances(seed, labels)
    pairs = Pairs.of(torch.tensor(labels), torch.ones(len(labels), dtype=torch.bool))
    loss, mined, active = triplet_loss(distances, pairs, margin, mining)
    expected, chosen = oracle(distances, labels, margin, mining)
    assert float(loss) == pytest.approx(expected, abs=1e-9)
    assert {tuple(pair) for pair in mined.nonzero().tolist()} == chosen
    assert 0 <= active <= 1


def test_all_differs_from_hard_only_by_easy_triplets():
    """With a hinge and a plain sum the two would be the same method."""
    labels = [0, 0, 1, 1, 2, 2]
    distances = random_distances(1, labels)
    pairs = Pairs.of(torch.tensor(labels), torch.ones(6, dtype=torch.bool))
    diluted, plain = (triplet_loss(distances, pairs, 0.1, mode)[0] for mode in ("all", "hard"))
    assert 0 < diluted < plain


def test_pairs_leave_out_the_diagonal_and_unusable_clips():
    pairs = Pairs.of(torch.tensor([0, 0, 1, -1, 0]), torch.tensor([True, True, True, True, False]))
    assert pairs.same.nonzero().tolist() == [[0, 1], [1, 0]]
    assert pairs.different.nonzero().tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]


def test_score_loss_is_balanced():
    """One positive and many negatives weigh the same: unbalanced, S would fall to the prior of about .01."""
    logits = torch.zeros(20, 20)
    logits[0, 1] = 2.0
    positive = torch.zeros(20, 20, dtype=torch.bool)
    positive[0, 1] = True
    loss = score_loss(logits, positive, ~positive)
    expected = 0.5 * math.log(1 + math.exp(-2)) + 0.5 * math.log(2)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    nothing = torch.zeros(20, 20, dtype=torch.bool)
    assert score_loss(logits, nothing, nothing) == 0


@pytest.mark.parametrize("hidden", [2, 16])
def test_scorer_starts_decreasing_on_the_observed_range(hidden):
    scorer = AlignabilityScorer(ScorerConfig(hidden=hidden))
    distances = torch.linspace(0.3, 0.9, 50)
    scorer.observe(distances)
    scores = scorer(distances)
    assert (scores.diff() < 0).all()
    assert scores[0] > 0.7 and scores[-1] < 0.3
    scorer.train()
    before = scorer.mean.clone()
    scorer(distances)
    assert torch.equal(before, scorer.mean)  # only observe moves the statistics


def test_scorer_statistics_are_running_and_saved():
    scorer = AlignabilityScorer(ScorerConfig(momentum=0.5))
    scorer.observe(torch.tensor([1.0, 3.0]))
    scorer.observe(torch.tensor([4.0, 8.0]))
    assert scorer.mean == 4 and scorer.variance == 5
    copy = AlignabilityScorer(ScorerConfig(momentum=0.5))
    copy.load_state_dict(scorer.state_dict())
    x = torch.linspace(0, 9, 5)
    torch.testing.assert_close(copy(x), scorer(x))


@pytest.mark.parametrize("values", [[math.nan, 1.0], [math.inf, 1.0], [2.0], []])
def test_statistics_keep_what_they_were_where_distances_are_few_or_not_finite(values):
    scorer = AlignabilityScorer()
    scorer.observe(torch.tensor([1.0, 3.0]))
    scorer.observe(torch.tensor(values))
    assert (scorer.mean.item(), scorer.variance.item(), scorer.seen.item()) == (2.0, 2.0, 1)


@pytest.mark.parametrize("clips", [2, 3])
def test_a_first_batch_of_few_clips_that_are_alike_has_a_gradient_of_an_ordinary_size(clips):
    torch.manual_seed(0)
    encoder = build_frame_encoder(FrameEncoderConfig(variant="tiny", dropout=0.0, train_length=8))
    module = AlignabilityObjective(encoder, AlignabilityScorer(), AlignabilityConfig(norm="T", gamma=0.1))
    batch = clip_batch(clips=clips, classes=1)
    if clips > 2:
        batch.frames[2].copy_(batch.frames[0] + 1e-3)
    module({"labelled": batch}).loss.backward()
    norms = [p.grad.norm() for p in module.parameters() if p.grad is not None]
    assert 0 < torch.stack(norms).norm() < 100


def test_monotone_score_ranks_pairs_as_the_distance_does():
    rng = np.random.default_rng(0)
    same = rng.random(300) < 0.5
    distance = rng.normal(0, 1, 300) - same
    scorer = AlignabilityScorer()
    scorer.observe(torch.from_numpy(distance).float())
    logits = scorer.logits(torch.from_numpy(distance).float()).detach().numpy()
    assert average_precision(logits, same) == pytest.approx(average_precision(-distance, same), abs=0.01)


def test_a_score_that_is_not_learned_is_exp_of_minus_d_over_t():
    scorer = AlignabilityScorer(ScorerConfig(norm="2T"), learned=False)
    assert scorer.cfg.norm == "T"
    distances = torch.tensor([0.1, 0.7, 3.0])
    scorer.observe(torch.tensor([5.0, 9.0]))
    torch.testing.assert_close(scorer(distances), torch.exp(-distances))
    edges = scorer(torch.tensor([-0.02, 0.0, 1e4]))
    assert (edges[:2] > 0.99999).all() and edges[2] == 0
    assert scorer.logits(torch.tensor([-0.02, 0.0, 50.0])).isfinite().all()
    assert not any(parameter.requires_grad for parameter in scorer.parameters())


def test_without_l_score_the_loss_is_the_triplets_alone():
    encoder = build_frame_encoder(FrameEncoderConfig(variant="tiny", train_length=8))
    scorer = AlignabilityScorer(learned=False)
    module = AlignabilityObjective(encoder, scorer, AlignabilityConfig(norm="T", omega=0.0))
    distances = (torch.rand(6, 6) * 8).requires_grad_()
    step = module.losses(distances, torch.tensor([0, 0, 1, 1, 2, 2]), 8)
    assert step.loss == step.metrics["train/triplet"]
    step.loss.backward()
    assert distances.grad.isfinite().all()
    same = torch.tensor([0, 0, 1, 1, 2, 2])[:, None] == torch.tensor([0, 0, 1, 1, 2, 2])
    wanted = torch.exp(-distances.detach() / 8)[same & ~torch.eye(6, dtype=torch.bool)].mean()
    torch.testing.assert_close(step.metrics["train/same"], wanted)


def test_scorer_lets_gradients_through_to_the_embeddings():
    scorer = AlignabilityScorer()
    distances = torch.tensor([0.2, 0.4, 0.9], requires_grad=True)
    scorer.observe(distances)
    scorer(distances).sum().backward()
    assert (distances.grad < 0).all()


def test_constants_are_checked():
    for options in ({"gamma": 0.0}, {"margin": -1.0}, {"omega": 0.0, "triplet_weight": 0.0}):
        with pytest.raises(ValueError, match="must"):
            AlignabilityConfig(**options)
    with pytest.raises(ValueError, match="even"):
        ScorerConfig(hidden=3)
