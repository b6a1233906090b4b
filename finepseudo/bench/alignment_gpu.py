"""The GPU's rows of `finepseudo bench alignment`: pairs a second of each design, and their error against float64."""

from __future__ import annotations

import time
from functools import partial

import torch

from finepseudo.bench.race import Contender, Target, figure, race, say, table_head, table_row
from finepseudo.soft_dtw import AlignmentBank, backends, soft_dtw_cdist

GAMMA = 1e-3
PAIRS = Target(must=250, aim=650)
"""Million pairs a second on an H200, T 32, F 128."""
SHAPES = [(16, 128), (32, 128), (64, 128), (32, 512)]
"""T and F; 1024 videos against a gallery of 6000."""
DESIGNS = {
    "fused fp16": ("triton", torch.float16),
    "fused bf16": ("triton", torch.bfloat16),
    "two-stage fp16": ("triton-two-stage", torch.float16),
    "two-stage fp32": ("triton", torch.float32),
    "torch fp32": ("torch", torch.float32),
}


def gpu_clock() -> float:
    """Return the time once the GPU has done all it was told."""
    torch.cuda.synchronize()
    return time.perf_counter()


def gpu(rounds: int, quick: bool) -> None:
    """Race the designs on the GPU, if there is one with Triton, and print their pairs a second."""
    if not (torch.cuda.is_available() and backends.has_triton()):
        say("No GPU with Triton here: not measured.")
        return
    name, version = torch.cuda.get_device_name(), torch.version.cuda
    say(f"{name}, CUDA {version}. Million pairs a second (quartiles), and the largest error of D against float64.\n")
    table_head("workload", list(DESIGNS))
    for t, f in SHAPES:
        shape_row(t, f, rounds, 64 if quick else 1024)
    say(f"\nMust (aim) of the best at T 32, F 128 on an H200: {PAIRS.must:g} ({PAIRS.aim:g}).")


def shape_row(t: int, f: int, rounds: int, videos: int) -> None:
    """Print one workload's row. With F above 128 "fused" is two-stage too: the fused kernel does not apply."""
    g, u = torch.randn(6 * videos, t, f), torch.randn(videos, t, f)
    exact = soft_dtw_cdist(u[:1].double(), AlignmentBank(g[:64].double()), GAMMA, backend="torch")
    contenders: dict[str, Contender] = {}
    errors: list[float] = []
    for name, (backend, dtype) in DESIGNS.items():
        rows = min(videos, 64) if backend == "torch" else videos
        bank = AlignmentBank(g.cuda(), dtype=dtype)
        call = partial(soft_dtw_cdist, u[:rows].cuda(), bank, GAMMA, backend=backend)
        contenders[name] = Contender(call=call, items=rows * len(g), clock=gpu_clock)
        errors.append((call()[:1, :64].cpu().double() - exact).abs().max().item())
    race(contenders, rounds)
    cells = []
    for (name, contender), error in zip(contenders.items(), errors, strict=True):
        judge = PAIRS if (t, f) == (32, 128) and name.endswith("fp16") else None
        cells.append(f"{figure([1e-6 / s for s in contender.seconds], target=judge)}, {error:.0e}")
    table_row(f"T {t}, F {f}, gallery {len(g)}", cells)
