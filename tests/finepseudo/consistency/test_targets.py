from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from finepseudo.consistency import targets


def drawn(seed: int, n: int = 6, c: int = 5) -> torch.Tensor:
    return torch.randn(n, c, generator=torch.Generator().manual_seed(seed)).softmax(1)


def test_hard_and_hard_above() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    assert targets.hard(p).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert torch.equal(targets.hard_above(p, 0.6), torch.stack([p[0], targets.hard(p)[1]]))


@given(st.integers(0, 50), st.floats(0.2, 3))
def test_sharpening_keeps_the_order_and_is_a_distribution(seed: int, temperature: float) -> None:
    p = drawn(seed)
    q = targets.sharpened(p, temperature)
    torch.testing.assert_close(q.sum(1), torch.ones(6))
    torch.testing.assert_close(q, p ** (1 / temperature) / (p ** (1 / temperature)).sum(1, keepdim=True))
    assert torch.equal(p.argmax(1), q.argmax(1))


@given(st.integers(0, 50), st.floats(0.01, 1), st.floats(0.001, 1))
def test_negatives_never_include_the_most_likely_class(seed: int, theta: float, kappa: float) -> None:
    mean, std, label = drawn(seed), drawn(seed + 1) / 10, drawn(seed + 2).argmax(1)
    negative = targets.negatives(mean, std, label, theta, kappa)
    wanted = (mean < theta) & (std < kappa)
    wanted[range(6), label] = False
    assert torch.equal(negative, wanted)


def test_losses_against_torch() -> None:
    logits, p = torch.randn(6, 5), drawn(3)
    torch.testing.assert_close(targets.soft_cross_entropy(logits, p), F.cross_entropy(logits, p, reduction="none"))
    negative = torch.zeros(6, 5, dtype=torch.bool)
    negative[0, 1] = negative[0, 2] = negative[3, 4] = True
    loss = targets.negative_cross_entropy(logits, negative)
    q = logits.softmax(1)
    torch.testing.assert_close(loss[0], -((1 - q[0, 1]).log() + (1 - q[0, 2]).log()) / 2)
    torch.testing.assert_close(loss[3], -(1 - q[3, 4]).log())
    assert loss[[1, 2, 4, 5]].abs().sum() == 0
