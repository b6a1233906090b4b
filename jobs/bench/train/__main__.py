"""`finepseudo bench train`: what training costs, as ratios within one run, and whether it is the same everywhere.

Contenders run in turn and are told by the processor time that they take, so other work on the machine moves little.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from finepseudo.bench.alignment import processor
from finepseudo.bench.race import say, table_head
from finepseudo.encoders.table import BACKBONES
from jobs.bench.train import kept, peers, ranks, resume
from jobs.bench.train.steps import cases
from shards.errors import UserError

QUICK_PEERS = peers.Extent(image=40, video=40, patches=32, depth=1, rounds=1)
PARTS = ("features", "peers", "memory", "ranks", "resume")


def main(options: Sequence[str] | None = None) -> int:
    """Run the benchmark as a command; prints a page of Markdown."""
    told = _told(options)
    extent = kept.QUICK if told.quick else kept.Extent(rounds=told.rounds, clips=told.clips)
    beside = QUICK_PEERS if told.quick else peers.Extent(rounds=told.rounds)
    names = told.encoder or (["tiny"] if told.quick else [])
    dtype = torch.float64 if told.double else torch.float32
    measures: Mapping[str, Callable[[Path], None]] = {
        "features": lambda folder: kept.race_features(extent, folder),
        "peers": lambda folder: peers.race_peers(beside),
        "memory": lambda folder: kept.compare_memory(extent),
        "ranks": lambda folder: ranks.compare_ranks(cases(names, dtype=dtype), folder),
        "resume": lambda folder: resume.compare_resumed(cases(names, chance=True), folder),
    }
    torch.set_num_threads(1)
    say("# What training costs\n")
    say(f"Processor: {processor()}, one thread; torch {torch.__version__}. f_A {extent.variant}, T = {extent.frames},")
    say(f"{extent.side} x {extent.side} pixels, float32; medians of {extent.rounds} rounds.\n")
    table_head("figure", ["must", "aim", "measured", "spread", "verdict"])
    for part in told.part or PARTS:
        with tempfile.TemporaryDirectory() as name:
            measures[part](Path(name))
    say(f"\nLoad of the machine (1, 5, 15 minutes): {', '.join(f'{x:.1f}' for x in os.getloadavg())}.")
    return 0


def _told(options: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="finepseudo bench train", description="What does training cost?")
    parser.add_argument("part", nargs="*", help=f"which: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--clips", type=int, default=4, help="clips of an epoch, an even number (default 4)")
    parser.add_argument("--encoder", action="append", help="of ranks and resume, may be repeated (default: every one)")
    parser.add_argument("--double", action="store_true", help="ranks in float64: what is left is no rounding")
    parser.add_argument("--quick", action="store_true", help="a tiny run that shows that everything works")
    told = parser.parse_args(options)
    known = {name for rows in BACKBONES.values() for name in rows}
    for what, given, names in (("part", told.part, PARTS), ("encoder", told.encoder or (), known)):
        if unknown := [name for name in given if name not in names]:
            raise UserError(f"bench train: {unknown[0]}: no such {what}; known: {', '.join(sorted(names))}")
    if told.rounds < 1 or told.clips < 2 * kept.PER_CLASS or told.clips % kept.PER_CLASS:
        parser.error("--rounds: at least 1; --clips: an even number from 4 on")
    return told


if __name__ == "__main__":
    sys.exit(main())
