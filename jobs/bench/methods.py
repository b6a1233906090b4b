"""`finepseudo bench methods`: what consistency methods cost beside what they could do without, as ratios in one run.

Contenders run in turn within each round; a figure is the median over rounds of the ratio in the same round, in
processor time, in one thread. The clips are drawn by the command itself; batches of steps lie in memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from finepseudo.bench.alignment import processor
from finepseudo.bench.race import Contender, Target, race, say, table_head, table_row
from finepseudo.methods.side_by_side import ConsistencyConfig, pool_views
from jobs.bench import consistency_steps as steps
from jobs.bench.data import Figure
from shards.bench import views
from shards.bench.clips import make_clips
from shards.read.config import AugmentConfig, SamplingConfig, ViewConfig

SIDE = 112
VIEWS = "two views of a clip from one decode / one view"
STRONG = "the same, the second one strongly augmented"
OTHER = "the same, of other frames"
PASSES = "SeFAR step with K = 10 head-only passes / with K = 1"
FORWARDS = "one concatenated student forward / three (LayerNorm)"
LOOP = "consistency step in our loop / in a bare torch loop"
FIGURES = {
    VIEWS: Figure(target=Target(must=1.25, aim=1.1), smaller=True),
    STRONG: Figure(target=Target(must=1.25, aim=1.1), smaller=True),
    PASSES: Figure(target=Target(must=1.05, aim=1.02), smaller=True),
    FORWARDS: Figure(target=Target(must=1.0, aim=0.8), smaller=True),
    LOOP: Figure(target=Target(must=1.05, aim=1.02), smaller=True),
}
Calls = Mapping[str, Callable[[], object]]


def main(options: Sequence[str] | None = None) -> int:
    """Run the comparison and print it as Markdown; return the exit status."""
    parser = argparse.ArgumentParser(prog="finepseudo bench methods", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often all contenders run (default 9)")
    parser.add_argument("--quick", action="store_true", help="a tiny run that shows that everything works")
    arguments = parser.parse_args(options)
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    rounds, quick = 1 if arguments.quick else arguments.rounds, arguments.quick
    torch.set_num_threads(1)
    _print_head(rounds)
    with tempfile.TemporaryDirectory() as folder:
        times = measure(Path(folder), rounds, quick=quick)
    say("\n## Milliseconds of processor time a call, medians\n")
    table_head("what", ["ms"])
    for name, seconds in times.items():
        table_row(name, [f"{1e3 * seconds:.1f}"])
    say(f"\nLoad of the machine (1, 5, 15 minutes): {', '.join(f'{x:.1f}' for x in os.getloadavg())}.")
    return 0


def measure(folder: Path, rounds: int, *, quick: bool) -> dict[str, float]:
    """Take all figures, printing each as it is there; return the seconds of every contender."""
    extent = steps.SMALL if quick else steps.Extent()
    clips = make_clips(folder, 2 if quick else 8, (20, 24) if quick else (80, 100))
    table_head("figure", ["must", "aim", "measured", "spread of the rounds", "verdict"])
    seen = _raced(views.contenders(clips.manifest, clips.keys, SIDE, strong_look()), rounds)
    row(VIEWS, seen[views.ONE].ratios(seen[views.ALIKE]))
    row(STRONG, seen[views.ONE].ratios(seen[views.SAME]))
    table_row(OTHER, ["", "", *FIGURES[VIEWS].cells(seen[views.ONE].ratios(seen[views.OTHER]))[2:4], ""])
    passes = _raced(steps.passes(extent), rounds)
    row(PASSES, passes["K = 1"].ratios(passes["K = 10"]))
    small = steps.Extent(clips=1 if quick else 2, frames=8, side=32 if quick else 64)
    forwards = _raced(steps.forwards(small, depth=1 if quick else 4), rounds)
    row(FORWARDS, forwards["three forwards"].ratios(forwards["one forward"]))
    loops = _raced(steps.loops(extent, folder, 2 if quick else steps.LOG_EVERY), rounds)
    row(LOOP, loops["bare torch"].ratios(loops["our loop"]))
    every = seen | passes | forwards | loops
    return {name: statistics.median(contender.seconds) for name, contender in every.items()}


def row(name: str, found: Sequence[float]) -> None:
    """Print one figure."""
    table_row(name, FIGURES[name].cells(found))


def strong_look() -> AugmentConfig:
    """Say how the strong view of a consistency method is augmented by default."""
    view = ViewConfig(name="clip", sampling=SamplingConfig(), augment=AugmentConfig(size=SIDE))
    return pool_views(ConsistencyConfig(), view)[1].augment


def _raced(calls: Calls, rounds: int) -> dict[str, Contender]:
    contenders = {name: Contender(call=call, items=1) for name, call in calls.items()}
    race(contenders, rounds)
    return contenders


def _print_head(rounds: int) -> None:
    say("# Consistency methods, beside what they could do without\n")
    say(f"Processor: {processor()}, {os.cpu_count()} cores. torch {torch.__version__}.")
    say(f"Medians of {rounds} interleaved rounds, one thread, processor time; a smaller ratio is better.\n")
