"""What must hold for any input: mass, bounds, symmetry, tails, and bits that depend on nothing but the pair."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finepseudo.soft_dtw import (
    AlignmentBank,
    class_alignability,
    hard_path,
    native,
    soft_alignment,
    soft_dtw_cdist,
    soft_dtw_pairwise,
)

COMPILED = [f"cpu-{name}" for name in native.isas()]
BACKENDS = ["torch", *COMPILED]
GROWTH = math.log(3 + 2 * math.sqrt(2))  # log of the growth of the number of paths per frame


def videos(count: int, frames: int, features: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, frames, features, generator=torch.Generator().manual_seed(seed))


def masses(backend: str, cosine: torch.Tensor, grad: torch.Tensor, gamma: float) -> torch.Tensor:
    """Mass of each cell for given cosines [B, T, S]: against unit vectors the gradient of the rows is -E."""
    t, s = cosine.shape[1:]
    x = cosine.clone().requires_grad_()
    lengths = torch.full((len(x),), t), torch.tensor([s])
    value = torch.ops.finepseudo.soft_dtw(x, torch.eye(s)[None], *lengths, gamma, backend)
    value.backward(grad[:, None])
    return -x.grad


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gamma", [1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("t", [1, 4, 33, 64])
def test_mass_starts_and_ends_whole(backend: str, gamma: float, t: int) -> None:
    cosine = torch.rand(3, t, t, generator=torch.Generator().manual_seed(t)) * 2 - 1
    upstream = torch.tensor([1.0, -0.5, 3.0])
    mass = masses(backend, cosine, upstream, gamma) / upstream[:, None, None]
    torch.testing.assert_close(mass[:, -1, -1], torch.ones(3), rtol=0, atol=0)
    torch.testing.assert_close(mass[:, 0, 0], torch.ones(3), rtol=0, atol=2e-5)
    assert (mass > -1e-6).all()
    assert (mass.sum((1, 2)) >= t * (1 - 1e-5)).all()
    assert (mass.sum((1, 2)) <= (2 * t - 1) * (1 + 1e-5)).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_mass_equals_the_expected_alignment(backend: str) -> None:
    x, y = videos(1, 7, 5)[0], torch.eye(9)
    x = torch.nn.functional.pad(x, (0, 4))
    unit = torch.nn.functional.normalize(x, dim=-1)
    expect = soft_alignment(x, y, 0.01)[1]
    torch.testing.assert_close(masses(backend, unit[None], torch.ones(1), 0.01)[0].double(), expect, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gamma", [1e-3, 1e-2, 1e-1])
def test_soft_lies_between_hard_and_its_bound(backend: str, gamma: float) -> None:
    t = 100
    x, y = videos(3, t, 8), videos(3, t, 8, 1)
    x[2] = y[2] = 1.0  # identical frames: every path costs 0, the furthest soft can be from hard
    value = soft_dtw_cdist(x, AlignmentBank(y), gamma, backend=backend)
    for i in range(3):
        hard, _ = hard_path(x[i], y[i])
        assert hard - gamma * t * GROWTH - 1e-4 <= value[i, i].item() <= hard + 1e-4
    paths = [1] * t  # Delannoy numbers: how many paths there are
    for _ in range(t - 1):
        row = [1]
        for j in range(1, t):
            row.append(row[-1] + paths[j] + paths[j - 1])
        paths = row
    assert value[2, 2].item() == pytest.approx(-gamma * math.log(paths[-1]), abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_shape_agrees_with_the_double_loop(data: st.DataObject) -> None:
    u, g, t, s, f = (data.draw(st.integers(1, top)) for top in (4, 19, 11, 11, 35))
    gamma = data.draw(st.sampled_from([1e-3, 1e-2, 0.1, 1.0]))
    seed = data.draw(st.integers(0, 2**16))
    rng = torch.Generator().manual_seed(seed)
    x, y = videos(u, t, f, seed), videos(g, s, f, seed + 1)
    x[torch.rand(u, t, generator=rng) < 0.1] = 0  # frames of norm zero
    y[torch.rand(g, s, generator=rng) < 0.1] = 0
    a, b = torch.randint(1, t + 1, (u,), generator=rng), torch.randint(1, s + 1, (g,), generator=rng)
    upstream = torch.randn(u, g, generator=rng)
    found = {}
    for name in ("reference", *BACKENDS):
        p, q = x.clone().requires_grad_(), y.clone().requires_grad_()
        value = soft_dtw_pairwise(p, q, gamma, lengths=a, y_lengths=b, backend=name)
        (value * upstream).sum().backward()
        found[name] = [v.detach().double() for v in (value, p.grad, q.grad)]
        bank = soft_dtw_cdist(x, AlignmentBank(y, b), gamma, lengths=a, backend=name)
        torch.testing.assert_close(bank.to(value.dtype), value.detach(), rtol=1e-6, atol=1e-5)
    for name in BACKENDS:
        for ours, exact in zip(found[name], found["reference"], strict=True):
            torch.testing.assert_close(ours, exact, rtol=2e-4, atol=2e-5 * max(1.0, exact.abs().max().item()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("t", "count", "s", "f"), [(13, 50, 9, 21), (5, 9, 5, 300)])
def test_bits_do_not_depend_on_the_batch(backend: str, t: int, count: int, s: int, f: int) -> None:
    u, g = videos(37, t, f), videos(count, s, f, 1)
    lengths, others = torch.arange(37) % t + 1, torch.arange(count) % s + 1
    bank = AlignmentBank(g, others, torch.arange(count) % 7)
    scorer = torch.nn.Sequential(
        torch.nn.Unflatten(-1, (count, 1)), torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
    )
    whole = soft_dtw_cdist(u, bank, lengths=lengths, backend=backend)
    score = class_alignability(u, bank, lambda d: scorer(d).squeeze(-1), lengths=lengths, backend=backend)
    for rows in (
        torch.tensor([36]),
        torch.arange(5, 22),
        torch.randperm(37, generator=torch.Generator().manual_seed(0)),
    ):
        part = {"lengths": lengths[rows], "backend": backend}
        assert torch.equal(soft_dtw_cdist(u[rows], bank, **part), whole[rows])
        assert torch.equal(class_alignability(u[rows], bank, lambda d: scorer(d).squeeze(-1), **part), score[rows])


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("gamma", [1e-3, 1.0])
def test_bits_do_not_depend_on_the_gallery_or_the_side(backend: str, gamma: float) -> None:
    x, lengths = videos(41, 13, 21), torch.arange(41) % 13 + 1
    square = soft_dtw_pairwise(x, gamma=gamma, lengths=lengths, backend=backend)
    order = torch.randperm(41, generator=torch.Generator().manual_seed(0))
    assert torch.equal(square, square.T)
    assert torch.equal(
        soft_dtw_pairwise(x[order], gamma=gamma, lengths=lengths[order], backend=backend), square[order][:, order]
    )
    assert torch.equal(soft_dtw_pairwise(x, x, gamma, lengths=lengths, y_lengths=lengths, backend=backend), square)
    assert torch.equal(
        soft_dtw_cdist(x[:3], AlignmentBank(x[20:24], lengths[20:24]), gamma, lengths=lengths[:3], backend=backend),
        square[:3, 20:24],
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_bits_do_not_depend_on_threads(backend: str) -> None:
    x = videos(70, 11, 24) if backend in COMPILED else videos(70, 30, 130)  # large enough for a library to split
    weight = videos(1, 70, 70, 1)[0]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            a = x.clone().requires_grad_()
            value = soft_dtw_pairwise(a, backend=backend)
            (value * weight).sum().backward()
            bank = AlignmentBank(x, labels=torch.arange(70) % 5)
            score = class_alignability(x, bank, torch.exp, backend=backend)
            found.append((value.detach(), a.grad, soft_dtw_cdist(x, bank, backend=backend), score))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(p, q) for p, q in zip(found[0], other, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_symmetric_pairs_equal_the_full_rectangle(backend: str) -> None:
    x, lengths = videos(19, 10, 12), torch.arange(19) % 10 + 1
    upstream = videos(1, 19, 19, 3)[0]
    a, b, c = x.clone().requires_grad_(), x.clone().requires_grad_(), x.clone().requires_grad_()
    half = soft_dtw_pairwise(a, lengths=lengths, backend=backend)
    full = soft_dtw_pairwise(b, c, lengths=lengths, y_lengths=lengths, backend=backend)
    torch.testing.assert_close(half, full, rtol=0, atol=1e-5)
    (half * upstream).sum().backward()
    (full * upstream).sum().backward()
    torch.testing.assert_close(a.grad, b.grad + c.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_stays_in_its_row_and_column(backend: str) -> None:
    x = videos(20, 6, 10)
    x[3, 2, 5] = math.nan
    bank = AlignmentBank(x)
    value = soft_dtw_cdist(x, bank, backend=backend)
    bad = torch.zeros(20, 20, dtype=torch.bool)
    bad[3], bad[:, 3] = True, True
    assert torch.equal(value.isnan(), bad)
    a = x.clone().requires_grad_()
    square = soft_dtw_pairwise(a, backend=backend)
    assert torch.equal(square.isnan(), bad)
    torch.where(bad, 0.0, square).sum().backward()
    assert a.grad[torch.arange(20) != 3].isfinite().all()
    clean = x[torch.arange(20) != 3].requires_grad_()
    soft_dtw_pairwise(clean, backend=backend).sum().backward()
    torch.testing.assert_close(a.grad[torch.arange(20) != 3], clean.grad, rtol=1e-5, atol=1e-5)
    bad[3, 5] = False  # one of its pairs has a gradient: NaN reaches that partner and nobody else
    b = x.clone().requires_grad_()
    torch.where(bad, 0.0, soft_dtw_pairwise(b, backend=backend)).sum().backward()
    assert b.grad.isnan().flatten(1).any(1).nonzero()[:, 0].tolist() == [3, 5]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_zero_frames_and_extreme_sizes(backend: str, size: float) -> None:
    x = videos(2, 5, 6)
    plain = soft_dtw_pairwise(x, backend=backend)
    torch.testing.assert_close(soft_dtw_pairwise(x * size, backend=backend), plain, rtol=1e-5, atol=1e-5)
    blank = torch.zeros(1, 5, 6, requires_grad=True)
    value = soft_dtw_pairwise(blank, x, backend=backend)
    torch.testing.assert_close(value, torch.full((1, 2), 5.0), rtol=0, atol=0.02)  # cost 1 everywhere: 5 cells
    value.sum().backward()
    assert torch.equal(blank.grad, torch.zeros_like(blank))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_sixteen_bit_banks_keep_their_stated_error(backend: str, dtype: torch.dtype, limit: float) -> None:
    u, g = videos(4, 32, 128), videos(33, 32, 128, 1)
    exact = soft_dtw_cdist(u, AlignmentBank(g.double()), backend="torch")
    value = soft_dtw_cdist(u, AlignmentBank(g, dtype=dtype), backend=backend)
    assert value.dtype == torch.float32
    error = (value - exact).abs().max().item()
    assert 1e-5 < error < limit


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("features", [1, 15, 16, 17, 31])
def test_bfloat16_tails(backend: str, features: int) -> None:
    u, g = videos(3, 9, features).bfloat16(), videos(18, 5, features, 1).bfloat16()
    one = soft_dtw_cdist(u, AlignmentBank(g, dtype=torch.bfloat16), backend=backend)
    other = soft_dtw_cdist(u, AlignmentBank(g, dtype=torch.bfloat16), backend="torch")
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("t", [32, 64])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient_error_at_small_gamma(backend: str, t: int) -> None:
    x = videos(12, t, 128)
    grads = []
    for dtype, name in ((torch.float32, backend), (torch.float64, "torch")):
        a = x.to(dtype, copy=True).requires_grad_()
        soft_dtw_pairwise(a, gamma=1e-3, backend=name).triu(1).sum().backward()
        grads.append(a.grad.double())
    assert (grads[0] - grads[1]).norm() <= 3e-6 * grads[1].norm()
