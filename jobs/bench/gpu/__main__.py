"""`finepseudo bench gpu [PART ...]` = `python -m jobs.bench.gpu`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from finepseudo.bench.race import say
from jobs.bench.gpu import parts
from shards.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts that are named, or all; 0 when each of them ended well or had a reason to be left out."""
    names = list(parts.own_parts(tiny=False))
    parser = argparse.ArgumentParser(prog="finepseudo bench gpu", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"which: {', '.join(names)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path("gpu-bench"), help="folder of results.json and logs")
    parser.add_argument("--budget", type=float, default=600, metavar="S", help="seconds for all parts together")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal, without a GPU too: the numbers mean nothing")
    parser.add_argument("--one", metavar="PART", help="run one part here and print each of its rows as JSON")
    told = parser.parse_args(argv)
    if unknown := [name for name in (*told.part, *filter(None, [told.one])) if name not in names]:
        raise UserError(f"bench gpu: {unknown[0]}: no such part; known: {', '.join(names)}")
    if not told.tiny and not torch.cuda.is_available():
        raise UserError("bench gpu: no CUDA device here; --tiny rehearses it on a CPU")
    if told.one:
        for name, numbers in parts.measure(told.one, told.tiny):
            say(json.dumps({name: numbers}, default=str))
        return 0
    wanted = {name: part for name, part in parts.own_parts(told.tiny).items() if name in (told.part or names)}
    results = parts.run(wanted, told.out, told.budget)
    say(f"results: {told.out / 'results.json'}")
    return int(any(result.get("code", 0) for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
