"""`finepseudo bench chaos`: faults drawn at random, each followed by the same command again, until the time is over.

Processes are killed, stopped and asked to stop and writes fail before and after each durable write, collective and call
of Ray; files of finished and of stopped runs are damaged; storage is slow, the clock goes back. All of it runs over a
stand-in for Ray (`one_process`). With --kills the processes of a real Ray, the driver and the whole job are killed, and
stopped for a while; with the same --work the faults of both stand in one table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from finepseudo.bench.race import say
from finepseudo.run_folder.files import json_lines, write_text
from jobs.bench.chaos.kills import Kills
from jobs.bench.chaos.page import markdown
from jobs.bench.chaos.trials import Trial, Trials
from shards.files import append_line


def main(argv: Sequence[str]) -> int:
    """Disturb, print and judge; 1 when a run did not survive."""
    parser = argparse.ArgumentParser(prog="finepseudo bench chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="time for faults (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="which faults are drawn (default: 0)")
    parser.add_argument("--kills", action="store_true", help="kill and stop processes of a real Ray")
    parser.add_argument("--out", type=Path, help="Markdown page to write (default: the terminal)")
    parser.add_argument("--work", type=Path, help="folder for the runs; a later call goes on there")
    arguments = parser.parse_args(argv)
    with nullcontext(arguments.work) if arguments.work else tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        trials = (Kills if arguments.kills else Trials)(Path(folder), arguments.seed)
        found = _draw(trials, arguments, "finepseudo bench chaos " + " ".join(argv))
    if not arguments.out:
        say(_page(found, "finepseudo bench chaos " + " ".join(argv)))
    return int(any(trial.problems for trial in found if trial.struck))


def _draw(trials: Trials, asked: argparse.Namespace, command: str) -> list[Trial]:
    """Go through all kinds in a drawn order, again and again, until the time is over; behind those tried before."""
    kept = trials.folder / "trials.jsonl"
    lines = json_lines(kept.read_bytes())[0] if kept.exists() else []
    found = [Trial(**line) for line in lines]
    until = time.monotonic() + 60 * asked.minutes
    deck: list[Callable[[], Trial]] = []
    while time.monotonic() < until:
        if not deck:
            deck = trials.kinds()
            trials.rng.shuffle(deck)
        trial = deck.pop()()
        found.append(trial)
        append_line(kept, json.dumps(asdict(trial)))
        state = trial.words(400) or ("as undisturbed" if trial.struck else "not reached")
        say(f"{len(found):4} {trial.kind}; {trial.point}: {state} ({trial.seconds:.0f} s)")
        if trial.refused:
            say(f"     {trial.refused}")
        if asked.out:
            write_text(asked.out, _page(found, command))
    return found


def _page(found: Sequence[Trial], command: str) -> str:
    return markdown(found, command, f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[1]:.0f}.")
