"""`finepseudo bench alignment`: soft-DTW against public implementations, as ratios within one run.

The peers, tslearn and pysdtw, are optional installs; they get the cost by one batched product of unit rows. On the CPU
everything runs in one thread. Figures are medians over interleaved rounds, with quartiles.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from finepseudo.bench.alignment_gpu import cosine_cost, gpu, gpu_rows
from finepseudo.bench.race import Contender, Target, figure, race, say, table_head, table_row
from finepseudo.soft_dtw import AlignmentBank, build, class_alignability, native, soft_dtw_cdist, soft_dtw_pairwise

GAMMA = 1e-3
Peer = Callable[[Tensor, Tensor], Tensor]
FORWARD = {
    "cpu": Target(must=20, aim=40),
    "cpu bf16": Target(must=35, aim=75),
    "cpu avx2": Target(must=10, aim=22),
    "torch": Target(must=4, aim=8),
}
"""Our contenders with F 128."""
WIDE = {"cpu": Target(must=15, aim=28), "cpu avx2": Target(must=10, aim=22)}
"""With F 512 (T 32)."""
NAMED = ("avx512", "avx2")
"""Instruction sets that are measured whatever the processor's best is: the share of the peak, and a row of its own."""
TRAIN = Target(must=10, aim=25)
PEAK = Target(must=0.60, aim=0.85)
SHAPES = [(16, 128, 720), (32, 128, 720), (16, 128, 6000), (32, 128, 6000), (32, 512, 720)]
"""T, F and gallery of the forward workloads."""
QUICK_SHAPES = [(4, 16, 40), (32, 128, 8), (4, 512, 8)]


def peers() -> dict[str, Peer]:
    """Return the installed peers as functions of paired unit rows [P, T, F], [P, T', F] -> D [P]."""
    found: dict[str, Peer] = {}
    try:
        found["tslearn"] = importlib.import_module("tslearn.metrics").SoftDTWLossPyTorch(
            gamma=GAMMA, normalize=False, dist_func=cosine_cost
        )
    except ImportError:
        say("tslearn is not installed: no ratios against it")
    try:
        found["pysdtw"] = importlib.import_module("pysdtw").SoftDTW(gamma=GAMMA, dist_func=cosine_cost, use_cuda=False)
    except ImportError:
        say("pysdtw is not installed: no ratios against it")
    return found


def probe_call(isa: str) -> Contender:
    """Make the contender that does nothing but multiply-adds; its items are floating-point operations."""
    library, sink = build.library(isa), torch.tensor([0.999, 1e-3])
    rounds = 4_000_000
    done = int(library.soft_dtw_probe(1, sink.data_ptr())) * rounds

    def call() -> Tensor:
        library.soft_dtw_probe(rounds, sink.data_ptr())
        return sink

    return Contender(call=call, items=done)


def forward_contenders(t: int, f: int, gallery: int, some: dict[str, Peer]) -> dict[str, Contender]:
    """Build the contenders of one forward workload, T frames of F features against a gallery; print their errors."""
    g, u = torch.randn(gallery, t, f), torch.randn(max(16, 64 * 720 // max(gallery, 720)), t, f)
    bank, half = AlignmentBank(g), AlignmentBank(g, dtype=torch.bfloat16)
    unit = torch.nn.functional.normalize(u[:1], dim=-1).expand(gallery, t, f)
    found = {n: Contender(call=partial(peer, unit, bank.unit), items=gallery) for n, peer in some.items()}
    exact = soft_dtw_cdist(u[:1].double(), AlignmentBank(g[:256].double()), GAMMA, backend="torch")[0]

    def ours(name: str, backend: str, rows: int, against: AlignmentBank) -> None:
        call = partial(soft_dtw_cdist, u[:rows], against, GAMMA, backend=backend)
        found[name] = Contender(call=call, items=rows * gallery)

    ours("cpu", "cpu", len(u), bank)
    ours("cpu bf16", "cpu", len(u), half)
    for isa in (name for name in NAMED if name in native.isas()):
        ours(f"cpu {isa}", f"cpu-{isa}", len(u), bank)
    ours("torch", "torch", 16, bank)
    errors = [(c.call().reshape(-1)[: len(exact)].double() - exact).abs().max().item() for c in found.values()]
    table_row(f"T {t}, F {f}, gallery {gallery}", [f"{n} {e:.1e}" for n, e in zip(found, errors, strict=True)])
    return found


def forward_row(t: int, f: int, name: str, contenders: dict[str, Contender], some: dict[str, Peer]) -> None:
    """Print the ratios of one workload to each peer, our time, our share of the peak and the most it would allow."""
    cells = []
    for ours, target in FORWARD.items():
        for peer in some:
            judge = WIDE.get(ours) if f > 128 else target
            here = ours in contenders
            cells.append(figure(contenders[ours].ratios(contenders[peer]), target=judge) if here else "-")
    flops, peak = 2 * t * t * f, contenders["peak"]
    cells.append(figure([1e6 * s for s in contenders["cpu"].seconds], ".2f"))
    shares = [flops * r for r in contenders.get("cpu avx512", contenders["cpu"]).ratios(peak)]
    cells.append(figure(shares, ".0%", PEAK if (t, f) == (32, 128) else None))
    cells.append(", ".join(figure([r / flops for r in peak.ratios(contenders[p])]) for p in some))
    table_row(name, cells)


def forward(rounds: int, shapes: Sequence[tuple[int, int, int]], some: dict[str, Peer]) -> None:
    """Run the forward workloads and print errors and ratios."""
    say("\n## Largest absolute error of D against float64\n")
    table_head("workload", ["error"] * (len(some) + len(FORWARD) + ("avx512" in native.isas())))
    races = {shape: forward_contenders(*shape, some) for shape in shapes}
    for contenders in races.values():
        contenders["peak"] = probe_call(native.best_isa())
        race(contenders, rounds)
    say("\n## Forward: times faster than each peer\n")
    last = ["cpu: us a pair", "share of multiply-add peak", "ratio of the product alone at peak"]
    table_head("workload", [f"{n} / {p}" for n in FORWARD for p in some] + last)
    for (t, f, gallery), contenders in races.items():
        forward_row(t, f, f"T {t}, F {f}, gallery {gallery}", contenders, some)
    targets = [f"{n} {t.must:g}x ({t.aim:g}x)" for n, t in FORWARD.items()]
    targets += [f"F 512 {n} {t.must:g}x ({t.aim:g}x)" for n, t in WIDE.items()]
    say(f"\nMust (aim): {', '.join(targets)}; share of peak {PEAK.must:.0%} ({PEAK.aim:.0%}).")
    say("Where the processor has a matrix unit (AMX), `cpu` and `cpu bf16` take it: a float32 is three bfloat16, six")
    say("products of which keep its precision. The share of the peak is that of AVX-512, without the matrix unit.")


def step(x: Tensor, backend: str | Peer) -> Tensor:
    """Return the gradient of the sum of D over all unordered pairs of x [B, T, F]."""
    a = x.clone().requires_grad_()
    if isinstance(backend, str):
        loss = soft_dtw_pairwise(a, gamma=GAMMA, backend=backend).triu(1).sum()
    else:
        first, second = torch.triu_indices(len(x), len(x), 1)
        unit = torch.nn.functional.normalize(a, dim=-1)
        loss = backend(unit[first], unit[second]).sum()
    return torch.autograd.grad(loss, a)[0]


def training(rounds: int, batch: int, some: dict[str, Peer]) -> None:
    """Run forward and backward of a batch and print ratios and gradient errors."""
    calls: dict[str, str | Peer] = {"cpu": "cpu", "torch": "torch", **some}
    pairs = batch * (batch - 1) // 2
    say(f"\n## Training step: forward and backward of all {pairs} pairs of {batch} videos, F 128\n")
    table_head("T", [f"cpu / {p}" for p in some] + [f"{n}: ms" for n in calls])
    for t in (16, 32):
        x = torch.randn(batch, t, 128)
        contenders = {n: Contender(call=partial(step, x, c), items=1) for n, c in calls.items()}
        race(contenders, rounds)
        cells = [figure(contenders["cpu"].ratios(contenders[p]), target=TRAIN) for p in some]
        table_row(str(t), cells + [figure([1e3 * s for s in c.seconds]) for c in contenders.values()])
    say(f"\nMust (aim): {TRAIN.must:g}x ({TRAIN.aim:g}x).")
    say("\n## Gradient: relative L2 error against float64 (must 1e-5, aim 3e-6)\n")
    table_head("T", list(calls))
    for t in (32, 64):
        x = torch.randn(min(24, batch), t, 128)
        exact = step(x.double(), "torch")
        errors = [((step(x, c).double() - exact).norm() / exact.norm()).item() for c in calls.values()]
        table_row(str(t), [f"{e:.1e}" for e in errors])


def memory(videos: int) -> None:
    """Print what class means of videos x 6,000 pairs add to the peak of this process."""
    bank = AlignmentBank(torch.randn(6000, 2, 16), labels=torch.arange(6000) % 400)
    u = torch.randn(videos, 2, 16)
    class_alignability(u[:400], bank, lambda d: torch.exp(-d), GAMMA)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = class_alignability(u, bank, lambda d: torch.exp(-d), GAMMA)
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    say(f"\n## Memory of class_alignability, {videos:,} x 6,000 pairs, 400 classes\n")
    say(f"{added:.0f} MiB above a call with 400 videos: the result is {result.nbytes / 2**20:.0f} MiB of it;")
    say(f"all distances at once would be {videos * 6000 * 4 / 2**20:.0f} MiB.")


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    words = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    return f"{words.get('model name', 'unknown')}, family {words.get('cpu family')}, model {words.get('model')}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison and print it as Markdown; return the exit status."""
    parser = argparse.ArgumentParser(prog="finepseudo bench alignment", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often all contenders run (default 7)")
    parser.add_argument("--quick", action="store_true", help="tiny workloads: shows that it runs, measures nothing")
    parser.add_argument("--gpu", action="store_true", help="only the GPU's rows, each as JSON when it is known")
    options = parser.parse_args(argv)
    if options.gpu:
        for name, numbers in gpu_rows(options.rounds, options.quick):
            say(json.dumps({name: numbers}))
        return 0
    torch.manual_seed(0)
    torch.set_num_threads(1)
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # before the peers are imported
    say(f"# Alignment engine, gamma {GAMMA}\n")
    say("## GPU\n")
    gpu(options.rounds, options.quick)
    some = peers()
    if not native.available():
        say(f"\nThe compiled backend is missing ({native.why_missing()}): nothing to compare.")
        return 1
    load = ", ".join(f"{v:.1f}" for v in os.getloadavg())
    say(f"\nProcessor: {processor()}. Instruction sets: {', '.join(native.isas())}. torch {torch.__version__}.")
    say(f"Median (quartiles) of {options.rounds} interleaved rounds, one thread, processor time. Load before: {load}.")
    memory(800 if options.quick else 20_000)
    forward(options.rounds, QUICK_SHAPES if options.quick else SHAPES, some)
    training(options.rounds, 6 if options.quick else 96, some)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
