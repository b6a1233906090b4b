"""Distances of clips, beside oracles that walk every path or go clip by clip in plain Python."""

import itertools
import math

import pytest
import torch

from finepseudo.alignment.carl import carl_loss
from finepseudo.alignment.config import AlignabilityConfig, GitdlConfig
from finepseudo.alignment.distances import OTHERS, class_scores, cross_distances, open_ended, pair_distances
from finepseudo.soft_dtw import AlignmentBank, class_alignability, soft_dtw_cdist


def clips(count, frames=5, size=3, seed=0):
    torch.manual_seed(seed)
    return torch.randn(count, frames, size, dtype=torch.float64)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def mean(rows):
    unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows]
    return [sum(column) / len(unit) for column in zip(*unit, strict=True)]


ORACLES = {
    "pooled_cosine": lambda a, b: len(a) * (1 - cosine(mean(a), mean(b))),
    "framewise_cosine": lambda a, b: sum(1 - cosine(x, y) for x, y in zip(a, b, strict=True)),
    "otam": lambda a, b: (walked(costs(a, b)) + walked(costs(b, a))) / 2,
}


def costs(a, b):
    return [[1 - cosine(x, y) for y in b] for x in a]


def walked(cost, smooth=0.1):
    """Soft minimum over the costs of all paths, each walked from its end to its beginning."""
    rows, width = len(cost), len(cost[0]) + 2
    padded = [[0.0, *row, 0.0] for row in cost]

    def paths(i, j):
        if j == 0:
            yield 0.0  # one way only through the zeros before the clip: they cost nothing however far they go
            return
        before = [(i, j - 1)] if i == 0 else [(i - 1, j - 1), (i, j - 1)]
        if i and j in (1, width - 1):
            before.append((i - 1, j))
        for place in before:
            for rest in paths(*place):
                yield rest + padded[i][j]

    return -smooth * math.log(sum(math.exp(-total / smooth) for total in paths(rows - 1, width - 1)))


@pytest.mark.parametrize("kind", OTHERS)
def test_a_distance_is_that_of_the_oracle_for_every_pair(kind):
    u, v = clips(3, 4), clips(2, 4, seed=1)
    found = OTHERS[kind](u, v)
    for i, j in itertools.product(range(3), range(2)):
        assert found[i, j].item() == pytest.approx(ORACLES[kind](u[i].tolist(), v[j].tolist())), (i, j)


@pytest.mark.parametrize("kind", [*OTHERS, "soft_dtw"])
def test_a_distance_is_symmetric_least_for_equal_clips_and_has_gradients(kind):
    cfg = AlignabilityConfig(distance=kind)
    u = clips(4).requires_grad_()
    found = pair_distances(u, cfg)
    torch.testing.assert_close(found, found.T)
    assert (found.argmin(1) == torch.arange(4)).all()
    if kind != "soft_dtw":  # its engine has tests of its own
        assert torch.autograd.gradcheck(lambda x: pair_distances(x, cfg), (u,))
    bank = AlignmentBank(u.detach())
    torch.testing.assert_close(cross_distances(u.detach(), bank, cfg), found.detach())


def test_open_ends_cost_nothing():
    """The second clip lies whole in the middle of the first one."""
    inner = torch.eye(3, dtype=torch.float64)
    cost = 1 - torch.cat([-inner[:1], inner, -inner[2:]]) @ inner.T
    assert open_ended(cost[None])[0].item() < 0.1
    assert open_ended(cost.T[None])[0].item() > 2, "the other way round it does not"


@pytest.mark.parametrize("kind", OTHERS)
def test_class_scores_are_means_over_each_class_of_the_gallery(kind, monkeypatch):
    monkeypatch.setattr("finepseudo.alignment.distances.PAIRS_AT_ONCE", 5)  # so that the clips come in parts
    u, cfg = clips(3).float(), AlignabilityConfig(distance=kind)
    bank = AlignmentBank(clips(5, seed=1).float(), labels=torch.tensor([2, 0, 2, 0, 2]), n_classes=4)
    score = cross_distances(u, bank, cfg).neg().exp()
    found = class_scores(u, bank, lambda d: d.neg().exp(), cfg)
    wanted = torch.stack([score[:, [1, 3]].mean(1), torch.zeros(3), score[:, [0, 2, 4]].mean(1), torch.zeros(3)], 1)
    torch.testing.assert_close(found, wanted)


def test_soft_dtw_keeps_its_engine():
    u, cfg = clips(3).float(), AlignabilityConfig(gamma=0.1)
    bank = AlignmentBank(clips(4, seed=1).float(), labels=torch.tensor([0, 1, 1, 0]))
    assert torch.equal(cross_distances(u, bank, cfg), soft_dtw_cdist(u, bank, 0.1))
    scorer = torch.sigmoid
    assert torch.equal(class_scores(u, bank, scorer, cfg), class_alignability(u, bank, scorer, 0.1))


@pytest.mark.parametrize("variance", [0.5, 10.0])
def test_carl_is_the_divergence_from_a_gaussian_over_frames(variance):
    cfg = GitdlConfig(variance=variance, tau=0.3)
    g, l = (torch.nn.functional.normalize(clips(2, 4, seed=s), dim=-1) for s in (0, 1))  # noqa: E741
    ids_g, ids_l = torch.tensor([[0, 3, 6, 9], [1, 2, 3, 4]]), torch.tensor([[2, 3, 4, 5], [0, 2, 4, 6]])
    found = carl_loss(g, l, ids_g, ids_l, cfg)
    for b in range(2):
        total = 0.0
        for x, y, at, to in ((g[b], l[b], ids_g[b], ids_l[b]), (l[b], g[b], ids_l[b], ids_g[b])):
            for i in range(4):
                weight = [math.exp(-((at[i] - to[j]).item() ** 2) / (2 * variance)) for j in range(4)]
                model = [math.exp((x[i] @ y[j]).item() / 0.3) for j in range(4)]
                pairs = [(w / sum(weight), m / sum(model)) for w, m in zip(weight, model, strict=True)]
                total += sum(p * math.log(p / q) for p, q in pairs if p > 0)
        assert found[b].item() == pytest.approx(total / 8, rel=1e-6)


def test_carl_falls_to_nothing_where_cosines_follow_the_gaussian():
    """One place that is equally far from all: every softmax is flat, as is a very wide Gaussian."""
    same = torch.ones(1, 4, 2) / math.sqrt(2)
    ids = torch.arange(4)[None]
    assert carl_loss(same, same, ids, ids, GitdlConfig(variance=1e9))[0].item() == pytest.approx(0, abs=1e-6)
    assert carl_loss(same, same, ids, ids, GitdlConfig(variance=0.1))[0].item() > 1
