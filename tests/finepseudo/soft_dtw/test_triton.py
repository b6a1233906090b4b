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

INTERPRET = """
import torch
from finepseudo.soft_dtw import AlignmentBank, backends, soft_dtw_cdist, soft_dtw_pairwise, triton_fused
launches = []
kernel = triton_fused.walk_columns
class Counted:
    def __getitem__(self, grid):
        launches.append(grid)
        return kernel[grid]
triton_fused.walk_columns = Counted()
triton_fused.EDGE_CELLS = 5 * 64 * 16 * 5  # several rectangles even here
torch.manual_seed(0)
HALF, BRAIN, FULL = torch.float16, torch.bfloat16, torch.float32
for u, g, t, s, f, gamma, dtype in (
    (2, 130, 5, 7, 8, 1e-3, FULL), (3, 9, 16, 1, 8, 1e-1, FULL), (2, 3, 1, 16, 8, 1e-2, FULL),
    (2, 3, 4, 6, 130, 1e-2, HALF), (2, 130, 5, 7, 8, 1e-3, HALF), (70, 18, 3, 9, 24, 1e-2, BRAIN),
    (3, 9, 9, 1, 16, 1e-1, HALF), (3, 3, 1, 17, 128, 1e-3, HALF), (3, 2, 20, 25, 100, 1e-3, HALF),
):
    x, y = torch.randn(u, t, f), torch.randn(g, s, f)
    a, b = torch.randint(1, t + 1, (u,)), torch.randint(1, s + 1, (g,))
    x[0, 0] = 0
    bank = AlignmentBank(y, b, dtype=dtype)
    exact = soft_dtw_cdist(x, bank, gamma, lengths=a, backend="reference")
    for name in ("triton", "triton-two-stage"):
        launches.clear()
        value = soft_dtw_cdist(x, bank, gamma, lengths=a, backend=name)
        fused = name == "triton" and dtype != FULL and f <= backends.FUSED_FEATURES
        assert bool(launches) == fused, (name, dtype, f)
        assert not (fused and s > triton_fused.MOST_COLUMNS and len(launches) < 2)
        assert value.dtype == FULL and value.shape == (u, g)
        assert (value - exact).abs().max() < 1e-5, (name, dtype, (value - exact).abs().max())
x = torch.randn(5, 4, 6)
x[2, 1, 3] = float("nan")
bad = torch.zeros(5, 5, dtype=torch.bool)
bad[2], bad[:, 2] = True, True
for dtype in (FULL, HALF):
    bank = AlignmentBank(x, dtype=dtype)
    whole = soft_dtw_cdist(x, bank, backend="triton")
    assert torch.equal(whole.isnan(), bad)
    part = soft_dtw_cdist(x[3:], bank, backend="triton")
    assert dtype == FULL or torch.equal(part.nan_to_num(-9), whole[3:].nan_to_num(-9))
    assert soft_dtw_cdist(x[:0], bank, backend="triton").shape == (0, 5)
x = torch.randn(3, 4, 6, requires_grad=True)
grads = [torch.autograd.grad(soft_dtw_pairwise(x, backend=b).sum(), x)[0] for b in ("triton", "reference")]
torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)
"""


def run(*command: str, **variables: str) -> str:
    env = os.environ | {"TRITON_DEFAULT_FP_FUSION": "1"} | variables
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@needs_triton
def test_interpreter_agrees_with_the_double_loop() -> None:
    run("-c", INTERPRET, TRITON_INTERPRET="1")


@pytest.mark.slow
@needs_triton
def test_machine_code_for_sm_90_spills_nothing(tmp_path: Path) -> None:
    found = json.loads(run("-m", "tests.finepseudo.machine_code", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path)))
    most = {"two-stage 16": 48, "two-stage 32": 64, "two-stage 64": 96}
    for name, kernel in found.items():
        assert kernel["stack"] == kernel["spills"] == 0, (name, kernel)
        assert kernel["registers"] <= most.get(name, 255), (name, kernel)
        assert kernel["instructions"] <= 21.5, (name, kernel)  # 14 are the recursion itself
        assert kernel["special"] == 3, (name, kernel)  # two ex2 and one lg2 a cell: no other special-function work
        assert kernel["nan_safe"], (name, kernel)
        assert (kernel["products"] > 0) == name.startswith("fused"), (name, kernel)  # tensor cores
    print(json.dumps(found, indent=1))


@pytest.mark.skipif(backends.has_triton(), reason="triton is installed here")
@pytest.mark.parametrize("backend", ["triton", "triton-two-stage"])
def test_without_triton_the_refusal_says_so(backend: str) -> None:
    x = torch.randn(2, 3, 4)
    with pytest.raises(ValueError, match=rf"^backend is '{backend}' but .* not installed"):
        soft_dtw_cdist(x, AlignmentBank(x), backend=backend)
