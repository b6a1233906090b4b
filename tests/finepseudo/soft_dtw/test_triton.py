"""The Triton kernels without a GPU: their results in the interpreter, their machine code for an H100 (sm_90)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from finepseudo.soft_dtw import AlignmentBank, backends, soft_dtw_cdist

ROOT = Path(__file__).parents[3]
needs_triton = pytest.mark.skipif(not backends.has_triton(), reason="the optional package triton is not installed")

GALLERY = """
import torch
from tests.finepseudo import interpreter
interpreter.make_ready()
from finepseudo.soft_dtw import AlignmentBank, class_alignability, ops, soft_dtw_cdist
torch.manual_seed(0)
HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32
for u, g, t, s, f, gamma, dtype in (
    (2, 130, 5, 7, 8, 1e-3, FULL), (3, 9, 16, 1, 8, 1e-1, FULL), (2, 3, 1, 16, 8, 1e-2, FULL),
    (2, 3, 4, 9, 130, 1e-3, FULL),
    (2, 3, 4, 6, 130, 1e-2, HALF), (2, 130, 5, 7, 8, 1e-3, HALF), (70, 18, 3, 9, 24, 1e-3, BRAIN),
    (3, 9, 9, 1, 16, 1e-1, HALF), (3, 3, 1, 17, 128, 1e-3, HALF), (3, 2, 20, 25, 100, 1e-3, HALF),
    (2, 3, 3, 5, 300, 1e-3, FULL),
):
    x, y = torch.randn(u, t, f), torch.randn(g, s, f)
    a, b = torch.randint(1, t + 1, (u,)), torch.randint(1, s + 1, (g,))
    x[0, 0] = 0
    bank = AlignmentBank(y, b, dtype=dtype)
    rows = bank.rounded(x, a, "triton")
    exact = ops.soft_dtw(rows, bank.unit, a, b, gamma, "reference")
    value = soft_dtw_cdist(x, bank, gamma, lengths=a, backend="triton")
    assert value.dtype == FULL and value.shape == (u, g)
    assert (value - exact).abs().max() < 5e-6, (t, s, f, gamma, dtype, (value - exact).abs().max())
x = torch.randn(5, 4, 6)
x[2, 1, 3] = float("nan")
bad = torch.zeros(5, 5, dtype=torch.bool)
bad[2], bad[:, 2] = True, True
for dtype in (FULL, HALF):
    bank = AlignmentBank(x, labels=torch.tensor([0, 1, 0, 1, 1]), dtype=dtype)
    for gamma in (1e-3, 1e-1):
        whole = soft_dtw_cdist(x, bank, gamma, backend="triton")
        assert torch.equal(whole.isnan(), bad)
        part = soft_dtw_cdist(x[3:], bank, gamma, backend="triton")
        assert torch.equal(part.nan_to_num(-9), whole[3:].nan_to_num(-9))
    assert soft_dtw_cdist(x[:0], bank, backend="triton").shape == (0, 5)
    means = [class_alignability(x[3:], bank, lambda d: torch.exp(-d), backend=b) for b in ("triton", "torch")]
    torch.testing.assert_close(*means, rtol=1e-4, atol=1e-5, equal_nan=True)
"""

TRAINING = """
import torch
from tests.finepseudo import interpreter
interpreter.make_ready()
from finepseudo.soft_dtw import ops, rows, soft_dtw_pairwise
torch.manual_seed(0)
for b, c, t, s, f, gamma in (
    (5, None, 8, 8, 16, 1e-3), (5, None, 8, 8, 40, 1e-1), (3, 4, 17, 6, 16, 1e-3), (3, 4, 6, 17, 70, 1e-1),
    (2, 3, 3, 65, 4, 1e-2), (3, None, 32, 32, 128, 1e-3)
):
    x, y = torch.randn(b, t, f), None if c is None else torch.randn(c, s, f)
    a, d = torch.randint(1, t + 1, (b,)), None if c is None else torch.randint(1, s + 1, (c,))
    x[0, 0] = 0
    exact = rows.unit_rows(x.double(), a).float()
    torch.testing.assert_close(ops.unit_rows(x, a), exact, rtol=2**-23, atol=0)  # rounded once
    weight = torch.randn(b, c or b)
    weight[torch.rand_like(weight) < 0.4] = 0
    found = []
    for name, dtype in (("triton", torch.float32), ("torch", torch.float64)):
        leaves = [v.to(dtype, copy=True).requires_grad_() for v in (x, y) if v is not None]
        value = soft_dtw_pairwise(*leaves, gamma=gamma, lengths=a, y_lengths=d, backend=name)
        found.append([value.detach(), *torch.autograd.grad(value, leaves, weight.to(dtype))])
    assert (found[0][0] - found[1][0]).abs().max() < 5e-6
    for ours, theirs in zip(found[0][1:], found[1][1:]):
        error = (ours - theirs).norm() / theirs.norm()
        assert error < 1e-6, (b, c, t, s, f, gamma, error)
x = torch.randn(5, 4, 6)
x[2, 1, 3], x[0, 0], weight = float("nan"), 0, torch.randn(5, 5)
weight[2], weight[:, 2] = 0, 0
x[1] *= 1e15
lengths = torch.tensor([4, 3, 4, 2, 4])
grads = []
for name in ("triton", "torch"):
    a = x.clone().requires_grad_()
    value = soft_dtw_pairwise(a, lengths=lengths, backend=name)
    grads.append(torch.autograd.grad(value, a, weight)[0])
torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5, equal_nan=True)
compiled = torch.compile(soft_dtw_pairwise, backend="aot_eager", fullgraph=True)
for y in (None, torch.randn(3, 6, 6)):
    found = []
    for call in (soft_dtw_pairwise, compiled):
        leaves = [v.clone().requires_grad_() for v in (x[3:], y) if v is not None]
        value = call(*leaves, backend="triton")
        found.append([value.detach(), *torch.autograd.grad(value.sum(), leaves)])
    assert all(torch.equal(*pair) for pair in zip(*found))
assert not grads[0][[0, 1, 3, 4]].isnan().any() and grads[0][0, 0].eq(0).all() and grads[0][3, 2:].eq(0).all()
"""

TENSOR_CORES = """
import torch
from tests.finepseudo import interpreter
interpreter.make_ready()
interpreter.add_as_tensor_cores_do()
from finepseudo.soft_dtw import soft_dtw_pairwise
torch.manual_seed(0)
x = torch.randn(128) + 0.1 * torch.randn(4, 8, 128)  # cosines near 1, many paths of nearly equal cost
weight, found = torch.randn(4, 4), []
for name, dtype in (("triton", torch.float32), ("torch", torch.float64)):
    leaf = x.to(dtype, copy=True).requires_grad_()
    found.append(torch.autograd.grad(soft_dtw_pairwise(leaf, backend=name), leaf, weight.to(dtype))[0])
error = (found[0] - found[1]).norm() / found[1].norm()
assert error < 1e-5, error  # 2e-5 where costs are added up in the tensor cores alone
"""

COUNT = """
import os
import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import create_function_from_signature
from finepseudo.bench.alignment_gpu import SHAPES, DTYPES
from finepseudo.soft_dtw import AlignmentBank, soft_dtw_cdist, soft_dtw_pairwise
from finepseudo.soft_dtw import triton_fused, triton_gather, triton_pairs, triton_rows
from tests.gpu import test_soft_dtw as gpu
os.environ["TRITON_INTERPRET"] = "1"  # only now: tensors of a CPU are taken, by kernels that would be compiled
target, kernels, launches = make_backend(GPUTarget("cuda", 90, 32)), set(), []
class Recorded:
    def __init__(self, name, kernel):
        self.name = name
        self.specialise = create_function_from_signature(kernel.signature, kernel.params, target)
    def __getitem__(self, grid):
        assert len(grid) < 2 or grid[1] <= 65535
        def call(*given, **constants):
            _, kinds, options = self.specialise(*given, **constants)
            launches.append(self.name)
            kernels.add((self.name, str(kinds), str(sorted(options.items()))))
        return call
for module in (triton_fused, triton_gather, triton_pairs, triton_rows):
    for name in ("walk_tables", "align", "push_back", "gather_rows", "normalise", "normalise_backward"):
        if hasattr(module, name):
            setattr(module, name, Recorded(name, getattr(module, name)))
for dtype in DTYPES.values():
    for u, g, t, s, f in gpu.SHAPES:
        a, b = torch.arange(u) % t + 1, torch.arange(g) % s + 1
        for gamma in (1e-3, 1e-1):
            bank = AlignmentBank(torch.ones(g, s, f), b, dtype=dtype)
            launches.clear()
            soft_dtw_cdist(torch.ones(u, t, f), bank, gamma, lengths=a, backend="triton")
            assert launches == ["normalise", "walk_tables"], launches  # whatever the lengths
    for t, f in SHAPES:
        for videos, gallery in ((3, 40), (1024, 6), (1, 1)):
            bank = AlignmentBank(torch.ones(gallery, t, f), dtype=dtype)
            soft_dtw_cdist(torch.ones(videos, t, f), bank, backend="triton")
for b, c, t, s in (*gpu.SIDES, (96, None, 16, 16), (96, None, 32, 32), (95, None, 32, 32), (1, 33, 32, 32)):
    x, y = torch.ones(b, t, 128, requires_grad=True), None if c is None else torch.ones(c, s, 128)
    triton_pairs._mass_cells = lambda device: 1 << 28
    launches.clear()
    soft_dtw_pairwise(x, y, backend="triton").sum().backward()
    assert len(launches) <= (5 if y is None else 7), launches
print(len(kernels))
"""


def run(*command: str, **variables: str) -> str:
    env = os.environ | {"TRITON_DEFAULT_FP_FUSION": "1"} | variables
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("code", [GALLERY, TRAINING, TENSOR_CORES], ids=["gallery", "training", "tensor cores"])
def test_interpreter_agrees_with_the_double_loop(code: str) -> None:
    run("-c", code, TRITON_INTERPRET="1")


@pytest.mark.slow
@needs_triton
def test_few_kernels_are_compiled_and_few_are_launched_in_a_training_step() -> None:
    """Each compilation takes seconds on a GPU's machine: those of tests/gpu and the bench together are counted."""
    assert int(run("-c", COUNT, TRITON_INTERPRET="0")) <= 35


@pytest.mark.slow
@needs_triton
def test_machine_code_for_sm_90_spills_nothing(tmp_path: Path) -> None:
    found = json.loads(run("-m", "tests.finepseudo.machine_code", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path)))
    for name, kernel in found.items():
        assert kernel["stack"] == kernel["spills"] == 0, (name, kernel)
        if name.startswith("fused"):
            assert kernel["nan_safe"], (name, kernel)
            assert kernel["products"] > 0, (name, kernel)  # on tensor cores
            assert kernel["special"] == (3 if name.endswith("exact") else 2), (name, kernel)  # powers and logarithms
    for name in ("fused fp16 128", "fused bf16 128", "fused fp16 64"):
        assert found[name]["instructions"] <= 17, (name, found[name])  # 15 are the recursion itself
        assert found[name]["registers"] <= 170, (name, found[name])  # three programs on a multiprocessor
    print(json.dumps(found, indent=1))


@pytest.mark.slow
@needs_triton
def test_the_host_s_part_of_a_training_pass_is_measured_without_a_gpu() -> None:
    found = json.loads(run("-m", "tests.finepseudo.host_time", "--rounds", "2", TRITON_INTERPRET="0"))
    assert found.keys() == {"pass", "autograd of a product", "launch"}
    assert all(value > 0 for value in found.values())


@pytest.mark.skipif(backends.has_triton(), reason="triton is installed here")
def test_without_triton_the_refusal_says_so() -> None:
    x = torch.randn(2, 3, 4)
    with pytest.raises(ValueError, match=r"^backend is 'triton' but .* not installed"):
        soft_dtw_cdist(x, AlignmentBank(x), backend="triton")
