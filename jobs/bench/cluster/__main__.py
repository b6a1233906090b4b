"""`finepseudo bench cluster`: what Ray costs, what a second worker brings, how soon a run stops, what memory it takes.

Synthetic data through the stages' own doors. Ratios are of neighbours in the same run; where a figure is of the wall
clock, the processor time of all processes says beside it what two free cores would make of it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from finepseudo.bench.alignment import processor
from finepseudo.bench.race import Target, say, table_head, table_row
from jobs.bench.cluster import labelling, notice, scoring, training
from jobs.bench.cluster.spent import Pace, middle
from jobs.bench.data import Figure
from jobs.cluster.session import ray_session
from shards.errors import UserError

ACTORS = Figure(target=Target(must=1.7, aim=1.9))
WORKERS = Figure(target=Target(must=1.6, aim=1.85))
MAPPING = Figure(target=Target(must=1.15, aim=1.05), smaller=True)
STEP = Figure(target=Target(must=1.05, aim=1.02), smaller=True)
NOTICE = Figure(target=Target(must=notice.LIMIT_S, aim=20), unit="{:.1f}", smaller=True)
MEMORY = Figure(target=Target(must=1000, aim=500), unit="{:.0f}", smaller=True)
WALL, PROCESSOR = "wall clock", "processor time"


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """How much is measured."""

    rounds: int
    pool: scoring.Extent
    step: training.Extent
    labelled: tuple[int, int]
    notices: int
    longest_s: float


FULL = Extent(
    rounds=3,
    pool=scoring.Extent(clips=1536, classes=400, per_class=15),
    step=training.Extent(),
    labelled=(216_000, 400),
    notices=8,
    longest_s=60.0,
)
QUICK = Extent(
    rounds=1,
    pool=scoring.Extent(clips=96, classes=4, per_class=2, frames=4, features=8, chunk=13),
    step=training.Extent(variant="tiny", frames=8, side=32, every=1, looks=2),
    labelled=(2000, 20),
    notices=1,
    longest_s=6.0,
)
PARTS = ("scoring", "training", "labelling", "notice")


def main(options: Sequence[str] | None = None) -> int:
    """Measure what is asked for and print it as Markdown; 0 whatever comes out."""
    parser = argparse.ArgumentParser(prog="finepseudo bench cluster", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"which: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=FULL.rounds, help="how often contenders run (default 3)")
    parser.add_argument("--folder", type=Path, help="an empty folder to work in; kept (default: one that is removed)")
    parser.add_argument("--quick", action="store_true", help="a tiny run that shows that everything works")
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="instead: score a pool of Kinetics-400's size for N minutes and say how long all of it takes",
    )
    parser.add_argument("--actors", type=int, default=2, help="Ray Data actors with --minutes (default 2)")
    told = parser.parse_args(options)
    if unknown := [name for name in told.part if name not in PARTS]:
        raise UserError(f"bench cluster: {unknown[0]}: no such part; known: {', '.join(PARTS)}")
    if min(told.rounds, told.actors) < 1 or (told.minutes is not None and told.minutes <= 0):
        parser.error("--rounds and --actors: at least 1; --minutes: above 0")
    if told.folder and told.folder.exists() and any(told.folder.iterdir()):
        raise UserError(f"--folder {told.folder} is not empty; give another one")
    extent = QUICK if told.quick else replace(FULL, rounds=told.rounds)
    torch.set_num_threads(1)
    with nullcontext(told.folder) if told.folder else tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        _print_head(extent)
        if told.minutes is None:
            _measure(folder, told.part or PARTS, extent)
        else:
            _at_scale(folder, QUICK.pool if told.quick else scoring.KINETICS, told.actors, told.minutes)
    say(f"\nLoad of the machine (1, 5, 15 minutes): {', '.join(f'{x:.1f}' for x in os.getloadavg())}.")
    return 0


def _print_head(extent: Extent) -> None:
    say("# Ray, a second worker, notices and the driver's memory\n")
    say(f"Processor: {processor()}, {os.cpu_count()} cores. torch {torch.__version__}. Medians of {extent.rounds}")
    say(f"interleaved rounds. Load before: {', '.join(f'{x:.1f}' for x in os.getloadavg())}.\n")


def _measure(folder: Path, parts: Sequence[str], extent: Extent) -> None:
    """Print the table; Ray is started once for what runs under it."""
    measures: Mapping[str, Callable[[Path, Extent], None]] = {
        "labelling": _labelling,
        "notice": _notices,
        "scoring": _scoring,
        "training": _training,
    }
    table_head("figure", ["must", "aim", "measured", "spread of the rounds", "verdict"])
    for name, measure in measures.items():
        if name in parts:
            (folder / name).mkdir()
            with ray_session() if name in {"scoring", "training"} else nullcontext():
                measure(folder / name, extent)


def _scoring(folder: Path, extent: Extent) -> None:
    job = scoring.write_pool(folder, extent.pool)
    rounds = [(scoring.bare(job), scoring.mapped(job, 1), scoring.mapped(job, 2)) for _ in range(extent.rounds)]
    bare, one, two = zip(*rounds, strict=True)
    _scaling("Ray Data alignability, 1 -> 2 actors", one, two, ACTORS)
    _overhead("Ray Data alignability, one actor / a bare loop, after the start", bare, one, MAPPING)
    pairs = extent.pool.pairs_of_part / 1e6
    for name, paces in {"bare": bare, "one actor": one, "two actors": two}.items():
        _spent(f"{name}: us a pair", middle(paces), pairs)


def _training(folder: Path, extent: Extent) -> None:
    one: list[Pace] = []
    two: list[Pace] = []
    bare: list[Pace] = []
    for number in range(extent.rounds):
        bare.append(middle(training.bare(extent.step)))
        one.append(middle(training.under_ray(extent.step, folder / f"one{number}", 1)))
        two.append(middle(training.under_ray(extent.step, folder / f"two{number}", 2)))
    halved = [Pace(pace.wall / 2, pace.processor) for pace in two]  # their step is of twice as many clips
    _overhead("step under Ray Train / in a bare torch loop, prepared batches", bare, one, STEP)
    _scaling("Ray Train, 1 -> 2 workers", one, halved, WORKERS)
    for name, paces in {"bare": bare, "one worker": one, "each of two workers": two}.items():
        _spent(f"{name}: ms a step", middle(paces), 1e-3)


def _spent(name: str, pace: Pace, unit: float) -> None:
    """Print what one thing takes; unit: how many of them, or which part of one, a pace is of."""
    cells = [f"{pace.processor / unit:.2f} of processors", f"{pace.wall / unit:.2f} by the clock"]
    table_row(name, ["", "", *cells, ""])


def _scaling(name: str, one: Sequence[Pace], two: Sequence[Pace], figure: Figure) -> None:
    """Print how much sooner two have done a unit of work than one, and what their processor time makes of it."""
    table_row(f"{name} ({WALL})", figure.cells([a.wall / b.wall for a, b in zip(one, two, strict=True)]))
    free = [2 * a.processor / b.processor for a, b in zip(one, two, strict=True)]
    table_row(f"{name} (two free cores, by {PROCESSOR})", figure.cells(free))


def _overhead(name: str, bare: Sequence[Pace], ours: Sequence[Pace], figure: Figure) -> None:
    rounds = list(zip(bare, ours, strict=True))
    table_row(f"{name} ({PROCESSOR})", figure.cells([b.processor / a.processor for a, b in rounds]))
    table_row(f"{name} ({WALL})", figure.cells([b.wall / a.wall for a, b in rounds]))


def _labelling(folder: Path, extent: Extent) -> None:
    clips, classes = extent.labelled
    labelling.write_numbers(folder, clips, classes)
    for keep in (10, None):
        found = labelling.measured(folder, clips, classes, keep)
        kept = "all classes" if keep is None else f"the likeliest {keep}"
        table_row(f"driver labelling {clips:,} x {classes}, {kept} kept, MB", MEMORY.cells([found.peak]))
        table_row(
            "of it imports, MB; the table, MB; processor seconds",
            ["", "", f"{found.imports:.0f}; {found.table:.0f}; {found.processor_s:.0f}", "", ""],
        )


def _notices(folder: Path, extent: Extent) -> None:
    found = notice.notices(folder, extent.notices, extent.longest_s)
    table_row(f"notice to exit, {len(found)} notices, s", NOTICE.cells([one.seconds for one in found]))
    slowest = max(found, key=lambda one: one.seconds)
    table_row("the slowest", ["", "", f"{slowest.seconds:.1f}", "", NOTICE.verdict(slowest.seconds)])
    for one in found:
        table_row(f"while: {one.doing[:90].replace('|', '/')}", ["", "", f"{one.seconds:.1f}", f"exit {one.code}", ""])


def _at_scale(folder: Path, pool: scoring.Extent, actors: int, minutes: float) -> None:
    """Score a pool of full size for some minutes and extrapolate."""
    job = scoring.write_pool(folder, pool)
    with ray_session():
        found = scoring.for_minutes(job, actors, minutes, lambda line: print(line, file=sys.stderr))  # noqa: T201
    pairs, of_part = pool.clips * pool.gallery, pool.pairs_of_part
    say(f"{pool.clips:,} clips against {pool.gallery:,}, T {pool.frames}, F {pool.features}: {pairs:,} alignments, by")
    say(f"{actors} Ray Data actors, {pool.chunk} clips a part.\n")
    say(f"- start to the first part: {found.start_s:.0f} s; from the stop request to the end {found.stop_s:.1f} s")
    say(f"- {found.parts} of {found.total} parts, {of_part / found.pace.wall:,.0f} alignments/s by the clock, ")
    say(f"  {1e6 * found.pace.processor / of_part:.2f} us of processors each (gcs, raylet and driver counted)")
    here, core = found.start_s + found.total * found.pace.wall, found.total * found.pace.processor
    say(f"- all of it at this pace: {here / 60:.0f} minutes here; {core / 60:.0f} minutes of one core that is free")


if __name__ == "__main__":
    sys.exit(main())
