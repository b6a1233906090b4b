"""The alignment engine against the float64 double loop, on every backend."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from finepseudo.soft_dtw import (
    AlignmentBank,
    class_alignability,
    hard_path,
    native,
    soft_alignment,
    soft_dtw_cdist,
    soft_dtw_pairwise,
)

BACKENDS = ["torch", *(f"cpu-{name}" for name in native.isas())]


def videos(count: int, frames: int, features: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, frames, features, generator=torch.Generator().manual_seed(seed))


@functools.cache
def double_loop(t: int, s: int, gamma: float) -> torch.Tensor:
    return soft_dtw_cdist(videos(2, t, 9, 1), AlignmentBank(videos(3, s, 9, 2).double()), gamma, backend="reference")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gamma", [1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize(("t", "s"), [(1, 1), (1, 5), (2, 3), (4, 4), (7, 13), (16, 16), (33, 9), (70, 70)])
def test_cdist_agrees_with_the_double_loop(backend: str, gamma: float, t: int, s: int) -> None:
    u, g = videos(2, t, 9, 1), videos(3, s, 9, 2)
    exact = double_loop(t, s, gamma)
    assert exact.dtype == torch.float64
    value = soft_dtw_cdist(u, AlignmentBank(g), gamma, backend=backend)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=3e-6 * max(1, (t + s) / 16))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("features", [2, 600])
def test_float32_keeps_its_precision(backend: str, features: int) -> None:
    """Two features a row: its numbers are large, and no average hides what their product has lost."""
    u, g = videos(7, 37, features, 1), videos(19, 32, features, 2)
    exact = soft_dtw_cdist(u, AlignmentBank(g.double()), backend="reference")
    value = soft_dtw_cdist(u, AlignmentBank(g), backend=backend)
    torch.testing.assert_close(value.double(), exact, rtol=0, atol=6e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("t", [1, 3, 8, 21])
def test_gradients_agree_with_the_double_loop(backend: str, symmetric: bool, t: int) -> None:
    x, y = videos(5, t, 10, 3), None if symmetric else videos(4, t + 2, 10, 4)
    weight = torch.randn(5, 5 if symmetric else 4, generator=torch.Generator().manual_seed(5))
    found = []
    for name, dtype in ((backend, torch.float32), ("reference", torch.float64)):
        a = x.detach().to(dtype, copy=True).requires_grad_()
        b = None if y is None else y.to(dtype, copy=True).requires_grad_()
        value = soft_dtw_pairwise(a, b, gamma=1e-2, backend=name)
        (value * weight).sum().backward()
        found.append([v for v in (value.detach(), a.grad, None if b is None else b.grad) if v is not None])
    for ours, exact in zip(*found, strict=True):
        assert (ours.double() - exact).norm() <= 3e-6 * exact.norm()


def test_gradcheck_in_float64() -> None:
    x, y = videos(3, 4, 3).double().requires_grad_(), videos(2, 5, 3, 7).double().requires_grad_()
    lengths, other = torch.tensor([4, 1, 3]), torch.tensor([5, 2])

    def with_self(a: torch.Tensor) -> torch.Tensor:
        return soft_dtw_pairwise(a, gamma=0.1, lengths=lengths, normalize="2T", backend="torch")

    def with_other(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return soft_dtw_pairwise(a, b, gamma=0.1, lengths=lengths, y_lengths=other, normalize="T", backend="torch")

    assert torch.autograd.gradcheck(with_self, (x,))
    assert torch.autograd.gradcheck(with_other, (x, y))


@pytest.mark.parametrize("gamma", [1e-3, 1e-2, 1e-1])
def test_expected_alignment_and_hard_path(gamma: float) -> None:
    x, y = videos(1, 12, 6)[0], videos(1, 9, 6, 1)[0]
    cost, mass = soft_alignment(x, y, gamma)
    assert cost.shape == mass.shape == (12, 9)
    assert mass[0, 0].item() == pytest.approx(1, abs=1e-12)
    assert mass[-1, -1].item() == 1
    assert 12 <= mass.sum().item() <= 12 + 9 - 1
    hard, path = hard_path(x, y)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [11, 8]
    assert {tuple(s) for s in path.diff(dim=0).tolist()} <= {(1, 1), (1, 0), (0, 1)}
    assert cost[path[:, 0], path[:, 1]].sum().item() == pytest.approx(hard)
    soft = soft_dtw_pairwise(x[None].double(), y[None].double(), gamma).item()
    assert hard - gamma * 12 * math.log(3 + 2 * math.sqrt(2)) <= soft <= hard + 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
def test_class_alignability_is_the_class_mean(backend: str) -> None:
    u, g = videos(6, 5, 8), videos(9, 5, 8, 1)
    labels = torch.tensor([4, 0, 1, 0, 1, 4, 0, 0, 1])
    bank = AlignmentBank(g, labels=labels, n_classes=6)
    value = class_alignability(u, bank, lambda d: torch.exp(-d), normalize="T", backend=backend)
    score = torch.exp(-soft_dtw_cdist(u, bank, normalize="T", backend=backend))
    expect = torch.stack(
        [score[:, labels == c].mean(1) if (labels == c).any() else torch.zeros(6) for c in range(6)], 1
    )
    torch.testing.assert_close(value, expect)


@pytest.mark.parametrize("backend", BACKENDS)
def test_lengths_cut_and_what_lies_beyond_does_not_matter(backend: str) -> None:
    x, y = videos(4, 9, 6), videos(5, 11, 6, 1)
    a, b = torch.tensor([9, 1, 4, 8]), torch.tensor([3, 11, 1, 5, 11])
    expect = torch.tensor(
        [
            [soft_dtw_pairwise(x[i : i + 1, : a[i]], y[j : j + 1, : b[j]], backend=backend).item() for j in range(5)]
            for i in range(4)
        ]
    )
    for i in range(4):
        x[i, a[i] :] = math.nan
    x.requires_grad_()
    value = soft_dtw_pairwise(x, y, lengths=a, y_lengths=b, backend=backend)
    torch.testing.assert_close(value, expect)
    torch.testing.assert_close(soft_dtw_cdist(x, AlignmentBank(y, b), lengths=a, backend=backend), expect)
    value.sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad[1, 1:] == 0).all()
