"""The Triton kernel without a GPU: its results in the interpreter, its machine code for an H100 or H200 (sm_90)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from finepseudo.soft_dtw import AlignmentBank, backends, soft_dtw_cdist

ROOT = Path(__file__).parents[2]
needs_triton = pytest.mark.skipif(not backends.has_triton(), reason="the optional package triton is not installed")

INTERPRET = """
import torch
from finepseudo.soft_dtw import AlignmentBank, soft_dtw_cdist, soft_dtw_pairwise
torch.manual_seed(0)
for u, g, t, s, gamma in ((2, 130, 5, 7, 1e-3), (3, 9, 16, 1, 1e-1), (2, 3, 1, 16, 1e-2)):
    x, y = torch.randn(u, t, 8), torch.randn(g, s, 8)
    a, b = torch.randint(1, t + 1, (u,)), torch.randint(1, s + 1, (g,))
    for dtype, limit in ((torch.float32, 1e-5), (torch.float16, 1e-5)):
        bank = AlignmentBank(y, b, dtype=dtype)
        value = soft_dtw_cdist(x, bank, gamma, lengths=a, backend="triton")
        exact = soft_dtw_cdist(x, bank, gamma, lengths=a, backend="reference")
        assert (value - exact).abs().max() < limit, (value - exact).abs().max()
x = torch.randn(3, 4, 6, requires_grad=True)
grads = [torch.autograd.grad(soft_dtw_pairwise(x, backend=b).sum(), x)[0] for b in ("triton", "reference")]
torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)
"""

COMPILE = """
import json, re, subprocess, tempfile
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from finepseudo.soft_dtw import triton_kernels
tools = Path(triton.__file__).parent / "backends/nvidia/bin"
pointers = dict(dots="*fp32", out="*fp32", u_len="*i64", g_len="*i64")
numbers = dict(gallery="i32", rows="i32", steepness="fp32", border="fp32")
found = {}
for columns in (16, 32, 64):
    constants = dict(columns=columns, block=triton_kernels.BLOCK, native=True)
    source = ASTSource(triton_kernels.walk_tables, signature=pointers | numbers | {k: "constexpr" for k in constants},
                       constexprs=constants)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        run = lambda tool, *a: subprocess.run([tools / tool, *a, file.name], capture_output=True, text=True).stdout
        usage, code = run("cuobjdump", "-res-usage"), run("nvdisasm", "-hex")
    lines = [l for l in code.splitlines() if re.search(r"/\\*[0-9a-f]{4,}\\*/ +[A-Z@]", l) and "NOP" not in l]
    found[columns] = dict(
        registers=int(re.search(r"REG:(\\d+)", usage)[1]), stack=int(re.search(r"STACK:(\\d+)", usage)[1]),
        spills=sum("STL" in l or "LDL" in l for l in lines), instructions=len(lines) / columns,
        special=sum("MUFU" in l for l in lines) / columns,
    )
print(json.dumps(found))
"""


def run(code: str, **variables: str) -> str:
    env = os.environ | {"TRITON_DEFAULT_FP_FUSION": "1"} | variables
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@needs_triton
def test_interpreter_agrees_with_the_double_loop() -> None:
    run(INTERPRET, TRITON_INTERPRET="1")


@pytest.mark.slow
@needs_triton
def test_machine_code_for_sm_90_spills_nothing(tmp_path: Path) -> None:
    found = json.loads(run(COMPILE, TRITON_CACHE_DIR=str(tmp_path)))
    for columns, most_registers in (("16", 48), ("32", 80), ("64", 136)):
        kernel = found[columns]
        assert kernel["stack"] == kernel["spills"] == 0, found
        assert kernel["registers"] <= most_registers, found
        assert kernel["special"] == 3, found  # two ex2 and one lg2 a cell: no other special-function work
    assert found["64"]["instructions"] <= 28, found
    print(found)


@pytest.mark.skipif(backends.has_triton(), reason="triton is installed here")
def test_without_triton_the_refusal_says_so() -> None:
    x = torch.randn(2, 3, 4)
    with pytest.raises(ValueError, match=r"^backend is 'triton' but .* not installed"):
        soft_dtw_cdist(x, AlignmentBank(x), backend="triton")


def gpu_missing() -> bool:
    return not (torch.cuda.is_available() and backends.has_triton())


@pytest.mark.gpu
@pytest.mark.skipif(gpu_missing(), reason="no CUDA device, or triton is not installed")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_on_a_gpu_it_agrees_with_the_cpu(dtype: torch.dtype) -> None:
    u, g = torch.randn(5, 32, 128), torch.randn(700, 32, 128)
    lengths = torch.randint(1, 33, (700,))
    value = soft_dtw_cdist(u.cuda(), AlignmentBank(g.cuda(), lengths.cuda(), dtype=dtype), backend="triton")
    exact = soft_dtw_cdist(u.double(), AlignmentBank(g.double(), lengths), backend="torch")
    assert (value.cpu() - exact).abs().max() < (5e-5 if dtype == torch.float32 else 2e-3)
