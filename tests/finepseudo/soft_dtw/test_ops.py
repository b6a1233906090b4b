"""The operators inside torch: opcheck, torch.compile, DistributedDataParallel, memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from finepseudo.soft_dtw import AlignmentBank, native, ops, soft_dtw_cdist, soft_dtw_pairwise

BACKENDS = ["torch", "reference", *(f"cpu-{name}" for name in native.isas()[:1])]
ROOT = Path(__file__).parents[3]


def unit(count: int, frames: int, seed: int = 0) -> torch.Tensor:
    rows = torch.randn(count, frames, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_opcheck(backend: str) -> None:
    x, y, lengths = unit(3, 4).requires_grad_(), unit(2, 5, 1).requires_grad_(), torch.tensor([4, 2, 3])
    torch.library.opcheck(ops.soft_dtw, (x, y, lengths, torch.tensor([5, 1]), 0.1, backend))
    torch.library.opcheck(ops.soft_dtw, (x, None, lengths, lengths, 0.1, backend))
    plain, other = x.detach(), y.detach()
    upstream = torch.ones(3, 2, dtype=torch.float64 if backend == "reference" else torch.float32)
    torch.library.opcheck(ops.soft_dtw_backward, (upstream, plain, other, lengths, torch.tensor([5, 1]), 0.1, backend))
    bank = AlignmentBank(other)
    operand, order = bank.operand(backend)
    torch.library.opcheck(ops.soft_dtw_bank, (plain, lengths, operand, order, bank.lengths, 0.1, backend))


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compiled_by_torch_with_gradient(compiler: str) -> None:
    if compiler == "inductor" and native.why_missing() is not None:
        pytest.skip("no C++ compiler here")
    torch.compiler.reset()
    x = torch.randn(5, 6, 7)

    def loss(a: torch.Tensor) -> torch.Tensor:
        return (soft_dtw_pairwise(a * 2.0, normalize="T") ** 2).sum()

    grads = []
    for call in (loss, torch.compile(loss, backend=compiler)):
        a = x.clone().requires_grad_()
        call(a).backward()
        grads.append(a.grad)
    bank = AlignmentBank(x)
    compiled = torch.compile(lambda a: soft_dtw_cdist(a, bank), backend=compiler)
    # inductor writes the normalisation again, which moves last bits; the other keeps every operation
    tolerance = {"rtol": 1e-6, "atol": 1e-5} if compiler == "inductor" else {"rtol": 0.0, "atol": 0.0}
    torch.testing.assert_close(grads[0], grads[1], **tolerance)
    torch.testing.assert_close(compiled(x), soft_dtw_cdist(x, bank), **tolerance)


WORKER = """
import sys, torch, torch.distributed as dist
from finepseudo.soft_dtw import soft_dtw_pairwise
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
torch.manual_seed(0)
net = torch.nn.Linear(6, 6)
model = torch.nn.parallel.DistributedDataParallel(net)
data = torch.randn(4, 5, 6)
mine = data[rank * 2 : rank * 2 + 2]
soft_dtw_pairwise(model(mine)).sum().backward()
found = net.weight.grad.clone()
plain = torch.nn.Linear(6, 6)
plain.load_state_dict(net.state_dict())
(sum(soft_dtw_pairwise(plain(part)).sum() for part in (data[:2], data[2:])) / 2).backward()
torch.testing.assert_close(found, plain.weight.grad)
del model  # the group must not die with DDP's reducer: that waits, holding the interpreter, for a thread that needs it
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_gradients_under_distributed_data_parallel(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", WORKER, str(rank), str(tmp_path / "store")] for rank in (0, 1)]
    running = [subprocess.Popen(command, cwd=ROOT) for command in commands]
    assert [process.wait(120) for process in running] == [0, 0]


MEMORY = """
import resource, torch
from finepseudo.soft_dtw import AlignmentBank, class_alignability, soft_dtw_pairwise
def step(b):
    x = torch.randn(b, 16, 128, requires_grad=True)
    soft_dtw_pairwise(x, torch.randn(b, 16, 128)).sum().backward()
def stream(u):
    bank = AlignmentBank(torch.randn(6000, 1, 4), labels=torch.arange(6000) % 4)
    class_alignability(torch.randn(u, 1, 4), bank, lambda d: torch.exp(-d))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
step(8); stream(8); base = peak(); step(110); pairs = peak(); stream(8000); print(pairs - base, peak() - pairs)
"""


@pytest.mark.slow
def test_memory_of_many_pairs_is_that_of_the_videos() -> None:
    """12,100 pairs forward and backward take under 48 MiB; class means of 48 million pairs under 64 MiB."""
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=ROOT, capture_output=True, text=True, check=True)
    pairs, stream = (float(word) for word in done.stdout.split())
    assert pairs < 48
    assert stream < 64  # the whole table would be 192 MB in float32, and as much again for its scores
