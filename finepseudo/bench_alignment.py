"""`finepseudo bench alignment`: soft-DTW against public implementations, as ratios within one run.

Contenders run in turn within each round and a figure is the median over rounds of the ratio in the same round, since
absolute times of a shared machine mean little. The peers, tslearn and pysdtw, are optional installs; they get the
cost by one batched product of unit rows. One thread everywhere, so processor time is the measure.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from finepseudo.soft_dtw import AlignmentBank, build, class_alignability, native, soft_dtw_cdist, soft_dtw_pairwise

GAMMA = 1e-3
Peer = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A promised ratio: what must hold and what is aimed at."""

    must: float
    aim: float

    def verdict(self, value: float) -> str:
        """Say which of the two a value reaches."""
        return "aim" if value >= self.aim else "must" if value >= self.must else "MISSED"


FORWARD = {
    "cpu": Target(must=20, aim=40),
    "cpu bf16": Target(must=35, aim=75),
    "cpu avx2": Target(must=10, aim=22),
    "torch": Target(must=4, aim=8),
}
"""Our contenders with F 128."""
WIDE = {"cpu": Target(must=15, aim=28), "cpu avx2": Target(must=10, aim=22)}
"""With F 512 (T 32)."""
TRAIN = Target(must=10, aim=25)
PEAK = Target(must=0.60, aim=0.85)
SHAPES = [(16, 128, 720), (32, 128, 720), (16, 128, 6000), (32, 128, 6000), (32, 512, 720)]
"""T, F and gallery of the forward workloads."""


@dataclass(kw_only=True, slots=True)
class Contender:
    """One implementation on one workload: a call, the pairs it aligns, seconds a pair in each round."""

    call: Callable[[], Tensor]
    pairs: int
    seconds: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Time one call, in processor time: waiting for a busy machine does not count."""
        start = time.process_time()
        self.call()
        self.seconds.append((time.process_time() - start) / self.pairs)

    def ratio(self, peer: Contender) -> float:
        """Return how many times faster than the peer, median over rounds."""
        return statistics.median(p / s for p, s in zip(peer.seconds, self.seconds, strict=True))


def cosine_cost(x: Tensor, y: Tensor) -> Tensor:
    """Return the cost [P, T, T'] of pairs of unit rows."""
    return 1.0 - torch.bmm(x, y.transpose(1, 2))


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


def say(line: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def table_row(name: str, cells: list[str]) -> None:
    """Print a row of a Markdown table."""
    say(f"| {name} | " + " | ".join(cells) + " |")


def table_head(name: str, columns: list[str]) -> None:
    """Print the head of a Markdown table."""
    table_row(name, columns)
    say("|---" * (len(columns) + 1) + "|")


def race(contenders: dict[str, Contender], rounds: int) -> None:
    """Warm everything up, then run all contenders in turn, `rounds` times."""
    for contender in contenders.values():
        contender.call()
    for _ in range(rounds):
        for contender in contenders.values():
            contender.run()


def probe_call(isa: str) -> Contender:
    """Make the contender that does nothing but multiply-adds; its "pairs" are floating-point operations."""
    library, sink = build.library(isa), torch.tensor([0.999, 1e-3])
    rounds = 4_000_000
    done = int(library.soft_dtw_probe(1, sink.data_ptr())) * rounds

    def call() -> Tensor:
        library.soft_dtw_probe(rounds, sink.data_ptr())
        return sink

    return Contender(call=call, pairs=done)


def forward_contenders(t: int, f: int, gallery: int, some: dict[str, Peer]) -> dict[str, Contender]:
    """Build the contenders of one forward workload, T frames of F features against a gallery; print their errors."""
    g, u = torch.randn(gallery, t, f), torch.randn(max(16, 64 * 720 // gallery), t, f)
    bank, half = AlignmentBank(g), AlignmentBank(g, dtype=torch.bfloat16)
    unit = torch.nn.functional.normalize(u[:1], dim=-1).expand(gallery, t, f)
    found = {n: Contender(call=partial(peer, unit, bank.unit), pairs=gallery) for n, peer in some.items()}
    exact = soft_dtw_cdist(u[:1].double(), AlignmentBank(g[:256].double()), GAMMA, backend="torch")[0]

    def ours(name: str, backend: str, rows: int, against: AlignmentBank) -> None:
        call = partial(soft_dtw_cdist, u[:rows], against, GAMMA, backend=backend)
        found[name] = Contender(call=call, pairs=rows * gallery)

    ours("cpu", "cpu", len(u), bank)
    ours("cpu bf16", "cpu", len(u), half)
    if "avx2" in native.isas():
        ours("cpu avx2", "cpu-avx2", len(u), bank)
    ours("torch", "torch", 16, bank)
    errors = [(c.call().reshape(-1)[:256].double() - exact).abs().max().item() for c in found.values()]
    table_row(f"T {t}, F {f}, gallery {gallery}", [f"{n} {e:.1e}" for n, e in zip(found, errors, strict=True)])
    return found


def forward_row(t: int, f: int, name: str, contenders: dict[str, Contender], some: dict[str, Peer]) -> None:
    """Print the ratios of one workload to each peer, our time, our share of the peak and the most it would allow."""
    wide, cells = f > 128, []
    for ours, target in FORWARD.items():
        for peer in some:
            value = contenders[ours].ratio(contenders[peer]) if ours in contenders else float("nan")
            judge = WIDE.get(ours) if wide else target
            cells.append(f"{value:.1f} {judge.verdict(value)}" if judge else f"{value:.1f}")
    flops = 2 * t * t * f
    share = flops * contenders["cpu"].ratio(contenders["peak"])
    limits = [contenders["peak"].ratio(contenders[p]) / flops for p in some]
    cells.append(f"{1e6 * statistics.median(contenders['cpu'].seconds):.2f}")
    cells.append(f"{share:.0%} {PEAK.verdict(share)}" if (t, f) == (32, 128) else f"{share:.0%}")
    cells.append(", ".join(f"{v:.1f}" for v in limits))
    table_row(name, cells)


def forward(rounds: int, some: dict[str, Peer]) -> None:
    """Run the forward workloads and print errors and ratios."""
    say("\n## Largest absolute error of D against float64\n")
    table_head("workload", ["error"] * (len(some) + len(FORWARD)))
    races = {shape: forward_contenders(*shape, some) for shape in SHAPES}
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


def training(rounds: int, some: dict[str, Peer]) -> None:
    """Run forward and backward of a batch of 96 and print ratios and gradient errors."""
    calls: dict[str, str | Peer] = {"cpu": "cpu", "torch": "torch", **some}
    say("\n## Training step: forward and backward of all 4560 pairs of 96 videos, F 128\n")
    table_head("T", [f"cpu / {p}" for p in some] + [f"{n}: ms" for n in calls])
    for t in (16, 32):
        x = torch.randn(96, t, 128)
        contenders = {n: Contender(call=partial(step, x, c), pairs=1) for n, c in calls.items()}
        race(contenders, rounds)
        ratios = [contenders["cpu"].ratio(contenders[p]) for p in some]
        times = [f"{1e3 * statistics.median(c.seconds):.1f}" for c in contenders.values()]
        table_row(str(t), [f"{r:.1f} {TRAIN.verdict(r)}" for r in ratios] + times)
    say(f"\nMust (aim): {TRAIN.must:g}x ({TRAIN.aim:g}x).")
    say("\n## Gradient: relative L2 error against float64 (must 1e-5, aim 3e-6)\n")
    table_head("T", list(calls))
    for t in (32, 64):
        x = torch.randn(24, t, 128)
        exact = step(x.double(), "torch")
        errors = [((step(x, c).double() - exact).norm() / exact.norm()).item() for c in calls.values()]
        table_row(str(t), [f"{e:.1e}" for e in errors])


def memory() -> None:
    """Print what class means of 20,000 x 6,000 pairs add to the peak of this process."""
    bank = AlignmentBank(torch.randn(6000, 2, 16), labels=torch.arange(6000) % 400)
    u = torch.randn(20_000, 2, 16)
    class_alignability(u[:400], bank, lambda d: torch.exp(-d), GAMMA)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = class_alignability(u, bank, lambda d: torch.exp(-d), GAMMA)
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    say("\n## Memory of class_alignability, 20,000 x 6,000 pairs, 400 classes\n")
    whole = 20_000 * 6000 * 4 / 2**20
    say(f"{added:.0f} MiB above a call with 400 videos: the result is {result.nbytes / 2**20:.0f} MiB of it;")
    say(f"all distances at once would be {whole:.0f} MiB.")


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
    rounds = parser.parse_args(argv).rounds
    torch.manual_seed(0)
    torch.set_num_threads(1)
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # before the peers are imported
    some = peers()
    say(f"# Alignment engine, gamma {GAMMA}\n")
    if not native.available():
        say(f"The compiled backend is missing ({native.why_missing()}): nothing to compare.")
        return 1
    say(f"Processor: {processor()}. Instruction sets: {', '.join(native.isas())}. torch {torch.__version__}.")
    say(f"Medians of {rounds} interleaved rounds, one thread, processor time.")
    memory()
    forward(rounds, some)
    training(rounds, some)
    gpu = "see tests/gpu/RESULTS.md" if torch.cuda.is_available() else "none on this machine, not measured"
    say(f"\n## GPU\n\n{gpu}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
