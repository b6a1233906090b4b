"""The Triton kernels on a GPU against float64 on the CPU."""

from __future__ import annotations

import math

import pytest
import torch

from finepseudo.soft_dtw import AlignmentBank, backends, class_alignability, ops, soft_dtw_cdist, soft_dtw_pairwise


def missing() -> str:
    if not torch.cuda.is_available():
        return "no CUDA device"
    return "" if backends.has_triton() else "the optional package triton is not installed"


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(missing()), reason=missing())]
LIMIT = {torch.float32: 1e-5, torch.float16: 1e-5, torch.bfloat16: 1e-5}
"""Against float64 on the same rounded rows, in units of max(1, T / 16)."""

SHAPES = [(5, 700, 32, 32, 128), (130, 33, 16, 16, 64), (3, 40, 1, 9, 100), (70, 17, 70, 50, 24), (4, 90, 32, 32, 512)]
"""U, G, T, T' and F."""
SIDES = [(40, None, 16, 16), (9, 50, 32, 20), (96, None, 32, 32)]
"""B, B', T and T' of training."""


def videos(count: int, frames: int, features: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, frames, features, generator=torch.Generator().manual_seed(seed))


def exact(u: torch.Tensor, u_len: torch.Tensor, bank: AlignmentBank, gamma: float, backend: str) -> torch.Tensor:
    """Distances in float64 on the CPU of the rows as the device rounded them (and not made unit rows again)."""
    rows, lengths = bank.rounded(u, u_len, backend), (u_len.cpu(), bank.lengths.cpu())
    return ops.soft_dtw(rows.cpu().double(), bank.unit.cpu().double(), *lengths, gamma, "torch")


@pytest.mark.parametrize("backend", ["triton", "torch"])
@pytest.mark.parametrize("dtype", list(LIMIT))
@pytest.mark.parametrize(("u", "g", "t", "s", "f"), SHAPES)
@pytest.mark.parametrize("gamma", [1e-3, 1e-1])
def test_it_agrees_with_float64(
    backend: str, dtype: torch.dtype, u: int, g: int, t: int, s: int, f: int, gamma: float
) -> None:
    x, y = videos(u, t, f), videos(g, s, f, 1)
    a, b = torch.arange(u) % t + 1, torch.arange(g) % s + 1
    x[0, 0] = 0
    bank = AlignmentBank(y.cuda(), b.cuda(), dtype=dtype)
    value = soft_dtw_cdist(x.cuda(), bank, gamma, lengths=a.cuda(), backend=backend)
    assert value.device.type == "cuda"
    error = (value.cpu().double() - exact(x.cuda(), a.cuda(), bank, gamma, backend)).abs().max().item()
    assert error < LIMIT[dtype] * max(1, t / 16), error


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_nan_stays_in_its_row_and_column(backend: str) -> None:
    x = videos(80, 20, 64)
    x[7, 3, 5] = math.nan
    bad = torch.zeros(80, 80, dtype=torch.bool)
    bad[7], bad[:, 7] = True, True
    for dtype in (torch.float32, torch.float16):
        value = soft_dtw_cdist(x.cuda(), AlignmentBank(x.cuda(), dtype=dtype), backend=backend)
        assert torch.equal(value.isnan().cpu(), bad)


def test_the_fused_kernel_gives_bits_that_do_not_depend_on_the_batch() -> None:
    u, bank = videos(300, 32, 128).cuda(), AlignmentBank(videos(500, 32, 128, 1).cuda(), dtype=torch.float16)
    whole = soft_dtw_cdist(u, bank)
    assert torch.equal(soft_dtw_cdist(u[17:18], bank), whole[17:18])
    assert torch.equal(soft_dtw_cdist(u.flip(0), bank).flip(0), whole)
    part = AlignmentBank(videos(500, 32, 128, 1)[401:].cuda(), dtype=torch.float16)
    assert torch.equal(soft_dtw_cdist(u, part), whole[:, 401:])


@pytest.mark.parametrize("gamma", [1e-3, 1e-1])
@pytest.mark.parametrize("sides", SIDES)
def test_gradients_agree_with_float64(sides: tuple[int, int | None, int, int], gamma: float) -> None:
    b, c, t, s = sides
    x, y = videos(b, t, 64), None if c is None else videos(c, s, 64, 1)
    lengths, other = torch.arange(b) % t + 1, None if c is None else torch.arange(c) % s + 1
    weight = videos(1, b, c or b, 2)[0]
    weight[weight.abs() < 0.5] = 0
    found = []
    for device, dtype in (("cuda", torch.float32), ("cpu", torch.float64)):
        leaves = [v.to(device, dtype, copy=True).requires_grad_() for v in (x, y) if v is not None]
        value = soft_dtw_pairwise(*leaves, gamma=gamma, lengths=lengths, y_lengths=other)
        gradients = torch.autograd.grad(value, leaves, weight.to(device, dtype))
        found.append([value.detach(), *gradients])
    assert (found[0][0].cpu().double() - found[1][0]).abs().max() < 1e-5 * max(1, t / 16)
    for ours, theirs in zip(found[0][1:], found[1][1:], strict=True):
        assert (ours.cpu().double() - theirs).norm() <= 5e-6 * theirs.norm()


def test_gradients_are_the_same_bits_twice_and_keep_nan_to_its_pairs() -> None:
    x, weight = videos(30, 12, 40).cuda(), videos(1, 30, 30, 2)[0].cuda()
    x[7, 3, 5] = math.nan
    weight[7], weight[:, 7] = 0, 0
    a = x.clone().requires_grad_()
    first, again = (torch.autograd.grad(soft_dtw_pairwise(a), a, weight)[0] for _ in range(2))
    assert torch.equal(first[torch.arange(30) != 7], again[torch.arange(30) != 7])
    assert not first[torch.arange(30) != 7].isnan().any()


def test_class_means_agree_with_the_cpu_and_do_not_wait_for_the_gpu() -> None:
    x, labels = videos(40, 16, 64), torch.arange(40) % 7
    bank = AlignmentBank(x.cuda(), labels=labels.cuda())
    score = class_alignability(x.cuda(), bank, lambda d: torch.exp(-d / 9))
    plain = class_alignability(x.double(), AlignmentBank(x.double(), labels=labels), lambda d: torch.exp(-d / 9))
    torch.testing.assert_close(score.cpu(), plain, rtol=1e-5, atol=1e-6)
    pool = x.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = class_alignability(pool, bank, lambda d: torch.exp(-d / 9))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(again, score)


def test_class_means_of_a_large_pool_take_little_memory() -> None:
    u, bank = (
        videos(4000, 4, 16).cuda(),
        AlignmentBank(videos(6000, 4, 16, 1).cuda(), labels=(torch.arange(6000) % 400).cuda(), dtype=torch.float16),
    )
    class_alignability(u[:64], bank, torch.exp)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    class_alignability(u, bank, torch.exp)
    assert (
        torch.cuda.max_memory_allocated() - before < 90 << 20
    )  # all distances would be 92 MiB, and as much for scores
