"""The Triton kernels on a GPU against float64 on the CPU."""

from __future__ import annotations

import math

import pytest
import torch

from finepseudo.soft_dtw import AlignmentBank, backends, class_alignability, soft_dtw_cdist, soft_dtw_pairwise


def missing() -> str:
    if not torch.cuda.is_available():
        return "no CUDA device"
    return "" if backends.has_triton() else "the optional package triton is not installed"


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(missing()), reason=missing())]
LIMIT = {torch.float32: 1e-5, torch.float16: 1e-5, torch.bfloat16: 1e-5}
"""Against float64 on the same rounded rows, in units of max(1, T / 16)."""


def videos(count: int, frames: int, features: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, frames, features, generator=torch.Generator().manual_seed(seed))


def exact(u: torch.Tensor, u_len: torch.Tensor, bank: AlignmentBank, gamma: float) -> torch.Tensor:
    """Distances in float64 of the rows as the bank rounds them."""
    rows = bank.rounded(u, u_len).double()
    return soft_dtw_cdist(rows, AlignmentBank(bank.unit.double(), bank.lengths), gamma, lengths=u_len, backend="torch")


@pytest.mark.parametrize("backend", ["triton", "triton-two-stage", "torch"])
@pytest.mark.parametrize("dtype", list(LIMIT))
@pytest.mark.parametrize(
    ("u", "g", "t", "s", "f"),
    [(5, 700, 32, 32, 128), (130, 33, 16, 16, 64), (3, 40, 1, 9, 100), (70, 17, 70, 50, 24), (4, 90, 32, 32, 512)],
)
@pytest.mark.parametrize("gamma", [1e-3, 1e-1])
def test_it_agrees_with_float64(
    backend: str, dtype: torch.dtype, u: int, g: int, t: int, s: int, f: int, gamma: float
) -> None:
    x, y = videos(u, t, f), videos(g, s, f, 1)
    a, b = torch.arange(u) % t + 1, torch.arange(g) % s + 1
    x[0, 0] = 0
    bank = AlignmentBank(y, b, dtype=dtype)
    value = soft_dtw_cdist(
        x.cuda(), AlignmentBank(y.cuda(), b.cuda(), dtype=dtype), gamma, lengths=a.cuda(), backend=backend
    )
    assert value.device.type == "cuda"
    error = (value.cpu().double() - exact(x, a, bank, gamma)).abs().max().item()
    assert error < LIMIT[dtype] * max(1, t / 16), error


@pytest.mark.parametrize("backend", ["triton", "triton-two-stage", "torch"])
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


def test_gradients_and_class_means_agree_with_the_cpu() -> None:
    x, weight = videos(40, 16, 64), videos(1, 40, 40, 2)[0]
    grads = []
    for device, dtype in (("cuda", torch.float32), ("cpu", torch.float64)):
        a = x.to(device, dtype, copy=True).requires_grad_()
        (soft_dtw_pairwise(a) * weight.to(device, dtype)).sum().backward()
        grads.append(a.grad.cpu().double())
    assert (grads[0] - grads[1]).norm() <= 1e-5 * grads[1].norm()
    labels = torch.arange(40) % 7
    score = class_alignability(x.cuda(), AlignmentBank(x.cuda(), labels=labels.cuda()), lambda d: torch.exp(-d / 9))
    plain = class_alignability(x.double(), AlignmentBank(x.double(), labels=labels), lambda d: torch.exp(-d / 9))
    torch.testing.assert_close(score.cpu(), plain, rtol=1e-5, atol=1e-6)


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
