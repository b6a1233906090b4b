"""The GPU's rows of `finepseudo bench alignment`: pairs a second, error against float64, memory, the training pass.

`kernel` is the rate of the aligning launch alone, `call` that of the whole call: unit rows, packing, class means.
"""

from __future__ import annotations

import importlib
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity

from finepseudo.bench.race import Target, say, table_head, table_row
from finepseudo.soft_dtw import AlignmentBank, backends, class_alignability, ops, soft_dtw_cdist, soft_dtw_pairwise
from shards.errors import UserError

GAMMA = 1e-3
Rows = dict[str, Any]
SHAPES = [(16, 128), (32, 128), (64, 128), (32, 512)]
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
HALF, FULL = Target(must=500, aim=1200), Target(must=250, aim=700)
"""Million pairs a second of class means on one H100 or H200, T 32, F 128: 16-bit and float32 galleries."""
TRAIN_MS, TRAIN_LAUNCHES = 1.0, 12
"""Most that forward and backward of 96 videos, T 32, F 128, may take there (aim .4), and their launches (aim 4)."""
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cuLaunchKernelEx", "cudaLaunchKernelExC")
EXPECTED = {
    "T 16, F 128": {"fp16": 3800, "bf16": 3800, "fp32": 2100},
    "T 32, F 128": {"fp16": 1100, "bf16": 1100, "fp32": 650},
    "T 64, F 128": {"fp16": 290, "bf16": 290, "fp32": 165},
    "T 32, F 512": {"fp16": 300, "bf16": 300, "fp32": 80},
}
"""Million pairs a second of the kernel on an H100, worked out from its machine code before it was measured."""


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Return the median time of a call, waited for, after one that warms up."""
    call()
    found = []
    for _ in range(rounds):
        synchronise(device)
        start = time.perf_counter()
        call()
        synchronise(device)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def queued(call: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Return the time of a call when the host queues them one after the other, as a training does."""
    synchronise(device)
    start = time.perf_counter()
    for _ in range(rounds):
        call()
    synchronise(device)
    return (time.perf_counter() - start) / rounds


def device_seconds(call: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Return the median time of a call's work on a CUDA device alone: of a graph of it, which needs no host."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return seconds(graph.replay, device, rounds)


def peak(call: Callable[[], object], device: torch.device) -> int | None:
    """Return the MiB that a call adds to the device's memory; None on a CPU."""
    if device.type != "cuda":
        return None
    synchronise(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    synchronise(device)
    return (torch.cuda.max_memory_allocated(device) - before) >> 20


def forward_row(shape: tuple[int, int], dtype: torch.dtype, device: torch.device, videos: int, rounds: int) -> Rows:
    """Measure videos of T frames of F features against 6,000 (or six times as many, if that is less)."""
    t, f = shape
    u = torch.randn(videos, t, f, device=device)
    bank = AlignmentBank(torch.randn(min(6000, 6 * videos), t, f, device=device), dtype=dtype)
    pairs = videos * len(bank) / 1e6
    call = partial(soft_dtw_cdist, u, bank, GAMMA)
    value, u_len = call()[:1, :64].cpu().double(), torch.full((1,), t, device=device)
    name = backends.resolve("auto", device, torch.float32, f)
    given = bank.rounded(u[:1], u_len, name).cpu().double(), bank.unit[:64].cpu().double()
    exact = ops.soft_dtw(*given, u_len.cpu(), bank.lengths[:64].cpu(), GAMMA, "torch")  # of the rows as rounded there
    row = {"call": pairs / seconds(call, device, rounds), "error": (value - exact).abs().max().item()}
    if device.type == "cuda":
        from finepseudo.soft_dtw import triton_fused

        lengths = torch.full((videos,), t, device=device)
        unit, operand = bank.rounded(u, lengths, "triton"), bank.operand("triton")[0]
        launch = partial(triton_fused.rectangle, unit, operand, lengths, bank.lengths, GAMMA)
        row["kernel"] = pairs / seconds(launch, device, rounds)
    return row | {"MiB": peak(call, device)}


def class_means_row(dtype: torch.dtype, device: torch.device, videos: int, gallery: int, rounds: int) -> Rows:
    """Measure class means of T 32, F 128: rate, memory, and how often the call waits for the device."""
    labels = (torch.arange(gallery) % max(1, gallery // 15)).to(device)
    bank = AlignmentBank(torch.randn(gallery, 32, 128, device=device), labels=labels, dtype=dtype)
    call = partial(class_alignability, torch.randn(videos, 32, 128, device=device), bank, lambda d: torch.exp(-d))
    spent = seconds(call, device, rounds)
    return {"call": videos * gallery / 1e6 / spent, "s": spent, "MiB": peak(call, device), "syncs": syncs(call, device)}


def syncs(call: Callable[[], object], device: torch.device) -> int | None:
    """Count how often a call waits for the device; None on a CPU."""
    if device.type != "cuda":
        return None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in seen)


def pass_of(x: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of a weighted sum of D for x [B, T, F]."""
    a = x.detach().requires_grad_()
    return torch.autograd.grad(soft_dtw_pairwise(a, gamma=GAMMA), a, weight)[0]


def training_row(t: int, device: torch.device, batch: int, rounds: int) -> Rows:
    """Measure forward and backward of all pairs of a batch: time, launches, memory, error of the gradient."""
    x, weight = torch.randn(batch, t, 128, device=device), torch.randn(batch, batch, device=device)
    call = partial(pass_of, x, weight)
    row: Rows = {"ms": 1e3 * seconds(call, device, rounds), "queued ms": 1e3 * queued(call, device, rounds)}
    with torch.no_grad():
        row["forward ms"] = 1e3 * seconds(partial(soft_dtw_pairwise, x, gamma=GAMMA), device, rounds)
    some = min(batch, 16)
    exact = pass_of(x[:some].cpu().double(), weight[:some, :some].cpu().double())
    error = pass_of(x[:some], weight[:some, :some].contiguous()).cpu().double() - exact
    row |= {"gradient error": (error.norm() / exact.norm()).item(), "MiB": peak(call, device)}
    if device.type == "cuda":
        with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            call()
            synchronise(device)
        row["launches"] = sum(event.count for event in seen.key_averages() if event.key in LAUNCHES)
        row["us by kernel"] = {
            event.key[:40]: event.device_time_total for event in seen.key_averages() if event.device_type.name == "CUDA"
        }
        row["syncs"] = syncs(call, device)
    return row


def cosine_cost(x: Tensor, y: Tensor) -> Tensor:
    """Return the cost [P, T, T'] of pairs of unit rows."""
    return 1.0 - torch.bmm(x, y.transpose(1, 2))


@contextmanager
def numpy_as_numba_knows_it() -> Iterator[None]:
    """Let a numba of before numpy 2.5 start: it refuses a version it has not seen, and asks for a name that is gone."""
    given = numpy.__version__
    if tuple(map(int, given.split(".")[:2])) > (2, 4):
        vars(numpy).update(__version__="2.4.0")
        if not hasattr(numpy, "row_stack"):
            numpy.row_stack = numpy.vstack
    try:
        yield
    finally:
        vars(numpy).update(__version__=given)


def peer_row(t: int, device: torch.device, batch: int, rounds: int) -> Rows:
    """Measure pysdtw's CUDA kernels, where they are installed, at the work of `training_row`: all unordered pairs."""
    try:
        with numpy_as_numba_knows_it():
            peer = importlib.import_module("pysdtw").SoftDTW(
                gamma=GAMMA, dist_func=cosine_cost, use_cuda=device.type == "cuda"
            )
            peer(*torch.zeros(2, 1, 2, 4, device=device))  # numba compiles it
    except Exception as error:  # whatever ails other people's code is a reason, and costs no other row
        return {"left out": " ".join(f"{type(error).__name__}: {error}".split())[:200]}
    x, (first, second) = torch.randn(batch, t, 128, device=device), torch.triu_indices(batch, batch, 1, device=device)

    def values(a: Tensor) -> Tensor:
        unit = torch.nn.functional.normalize(a, dim=-1)
        value: Tensor = peer(unit[first], unit[second])
        return value

    def both_ways() -> Tensor:
        a = x.detach().requires_grad_()
        return torch.autograd.grad(values(a).sum(), a)[0]

    with torch.no_grad():
        ours = soft_dtw_pairwise(x, gamma=GAMMA)[first, second]
        row: Rows = {"difference": (values(x) - ours).abs().max().item()}
        row["forward ms"] = 1e3 * seconds(lambda: values(x), device, rounds)
    return row | {"ms": 1e3 * seconds(both_ways, device, rounds)}


def training_rows(device: str = "cuda", rounds: int = 5, quick: bool = False) -> Iterator[tuple[str, Any]]:
    """Measure the training pass, then pysdtw at the same work, then the pass of a GPU without its host.

    `quick` is tiny, and runs on a CPU too.
    """
    torch.manual_seed(0)
    where, batch = torch.device(device), 4 if quick else 96
    for t in (32, 16):
        yield f"training, T {t}", training_row(t, where, batch, 4 * rounds)
    for t in (32, 16):
        yield f"training, T {t}, pysdtw", peer_row(t, where, batch, rounds)
    for t in (32, 16) if where.type == "cuda" else ():
        x, weight = torch.randn(batch, t, 128, device=where), torch.randn(batch, batch, device=where)
        yield f"training, T {t}, device ms", 1e3 * device_seconds(partial(pass_of, x, weight), where, 4 * rounds)


def gallery_rows(device: str = "cuda", rounds: int = 5, quick: bool = False) -> Iterator[tuple[str, Any]]:
    """Measure class means, then distances by shape, each by dtype; `quick` is tiny, and runs on a CPU too."""
    torch.manual_seed(0)
    where, videos = torch.device(device), 8 if quick else 1024
    size = (16, 30) if quick else (24_000, 6000)
    for name, dtype in DTYPES.items():
        yield f"class means, {name}", class_means_row(dtype, where, *size, min(rounds, 3))
    for t, f in SHAPES[: 1 if quick else None]:
        expected = EXPECTED[f"T {t}, F {f}"]
        for name, dtype in DTYPES.items():
            row = forward_row((t, f), dtype, where, videos, rounds)
            yield f"T {t}, F {f}, {name}", row | {"expected": expected[name]}


def gpu_rows(rounds: int, quick: bool) -> Iterator[tuple[str, Any]]:
    """Measure everything on the GPU, giving row after row, ready for JSON; `quick` takes the CPU where there is none.

    UserError where there is nothing to measure.
    """
    if not torch.cuda.is_available() and not quick:
        raise UserError("bench alignment --gpu: no CUDA device here; --quick rehearses it on a CPU")
    where = "cuda" if torch.cuda.is_available() else "cpu"
    if where == "cuda":
        yield "device", torch.cuda.get_device_name(where)
    yield from {"torch": torch.__version__, "gamma": GAMMA}.items()
    yield from training_rows(where, rounds, quick)
    yield from gallery_rows(where, rounds, quick)


def gpu(rounds: int, quick: bool) -> None:
    """Measure the GPU, if there is one with Triton, and print its rows."""
    if not (torch.cuda.is_available() and backends.has_triton()):
        say("No GPU with Triton here: not measured.")
        return
    found = dict(gpu_rows(rounds, quick))
    say(f"{found['device']}, torch {found['torch']}, gamma {GAMMA}.\n")
    table_head("million pairs a second", ["kernel", "whole call", "largest error of D", "MiB"])
    for name in (name for name in found if name.startswith("T ")):
        row = found[name]
        table_row(name, [f"{row['kernel']:.0f}", f"{row['call']:.0f}", f"{row['error']:.0e}", str(row["MiB"])])
    for name in (name for name in found if name.startswith("class means")):
        row = found[name]
        verdict = (FULL if name.endswith("fp32") else HALF).verdict(row["call"])
        table_row(name, ["-", f"{row['call']:.0f} {verdict}", "-", str(row["MiB"])])
    say(f"\nMust (aim): {HALF.must:g} ({HALF.aim:g}) for 16 bit, {FULL.must:g} ({FULL.aim:g}) for float32.\n")
    table_head("training pass", ["ms", "ms of the device alone", "launches", "gradient error"])
    for name in ("training, T 32", "training, T 16"):
        row = found[name]
        spent = [f"{row['ms']:.2f}", f"{found[f'{name}, device ms']:.2f}"]
        table_row(name, [*spent, str(row["launches"]), f"{row['gradient error']:.1e}"])
    say(f"\nMust: {TRAIN_MS:g} ms and {TRAIN_LAUNCHES} launches at T 32.")
