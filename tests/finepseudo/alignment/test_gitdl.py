"""GITDL against an oracle of plain loops, and the weights the paper's constants give."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finepseudo.alignment.config import GitdlConfig
from finepseudo.alignment.gitdl import common_frames, gitdl_loss, normalised_times


def unit(rng, *shape):
    value = rng.normal(size=shape)
    return torch.from_numpy(value / np.linalg.norm(value, axis=-1, keepdims=True))


def oracle(g, loc, ids_g, ids_l, cfg):
    """Eq. (9) of one clip, both directions, by loops over dictionaries."""
    first_g, first_l = {}, {}
    for table, ids in ((first_g, ids_g), (first_l, ids_l)):
        for place, frame in enumerate(ids.tolist()):
            table.setdefault(frame, place)
    shared = sorted(set(first_g) & set(first_l))
    if len(shared) < 2:
        return 0.0
    time = {f: (f - shared[0]) / (shared[-1] - shared[0]) for f in shared}
    total = 0.0
    for a, b, pa, pb in ((g, loc, first_g, first_l), (loc, g, first_l, first_g)):
        for i in shared:
            h = {j: math.exp(float(a[pa[i]] @ b[pb[j]]) / cfg.tau) for j in shared}
            w = {j: 1 - cfg.mu * math.exp(-((time[i] - time[j]) ** 2) / (2 * cfg.sigma**2)) for j in shared}
            own = w[i] if cfg.weight_positive else 1.0
            below = own * h[i] + sum(w[j] * h[j] for j in shared if j != i)
            total -= math.log(h[i] / below) / (2 * len(shared))
    return total


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(0, 12), min_size=6, max_size=6).map(sorted),
    st.lists(st.integers(0, 12), min_size=6, max_size=6).map(sorted),
    st.sampled_from([0.0, 0.5, 0.99]),
    st.booleans(),
)
def test_loss_is_the_oracles(seed, ids_g, ids_l, mu, weight_positive):
    """Any frame numbers: repeated, disjoint, partly shared."""
    rng = np.random.default_rng(seed)
    g, loc = unit(rng, 2, 6, 4), unit(rng, 2, 6, 4)
    cfg = GitdlConfig(mu=mu, weight_positive=weight_positive)
    ids = torch.tensor([[ids_g, ids_l], [ids_l, list(range(6))]])
    loss, count, _ = gitdl_loss(g, loc, ids[:, 0], ids[:, 1], cfg)
    for b in range(2):
        # times and weights are float32, and 1 - mu is small: its logarithm is good to some 1e-6
        assert float(loss[b]) == pytest.approx(oracle(g[b], loc[b], ids[b, 0], ids[b, 1], cfg), abs=1e-5)
        assert int(count[b]) == len(set(ids[b, 0].tolist()) & set(ids[b, 1].tolist()))


def test_weights_of_the_paper_in_a_window_of_16():
    """Times are normalised: in frame units sigma .2 would make every weight .999996 (no Gaussian at all)."""
    ids = torch.arange(40, 72, 2)[None]
    times = normalised_times(ids, torch.ones(1, 16, dtype=torch.bool))
    assert times[0, 0] == 0 and times[0, -1] == 1
    weights = 1 - 0.99 * torch.exp(-times[0].square() / (2 * 0.2**2))
    expected = [0.064, 0.207, 0.400, 0.753, 0.972]
    assert weights[[1, 2, 3, 5, 8]].tolist() == pytest.approx(expected, abs=6e-4)


def test_aligned_clips_beat_shuffled_ones_and_the_gradient_is_finite():
    rng = np.random.default_rng(0)
    g = unit(rng, 1, 8, 16).requires_grad_()
    ids = torch.arange(8)[None]
    right, _, found = gitdl_loss(g, g.detach(), ids, ids, GitdlConfig())
    wrong, _, lost = gitdl_loss(g, g.detach().flip(1), ids, ids, GitdlConfig())
    assert 0 <= right < wrong and found == 1 and lost == 0
    right.sum().backward()
    assert g.grad.isfinite().all()


def test_common_frames_pairs_first_places():
    partner, shared = common_frames(torch.tensor([[3, 3, 5, 9]]), torch.tensor([[5, 3, 3, 7]]))
    assert shared.tolist() == [[True, False, True, False]]
    assert partner[0, 0] == 1 and partner[0, 2] == 0


def test_constants_are_checked():
    with pytest.raises(ValueError, match=r"mu = 1\.0"):
        GitdlConfig(mu=1.0)
    with pytest.raises(ValueError, match="must be above 0"):
        GitdlConfig(sigma=0.0)
