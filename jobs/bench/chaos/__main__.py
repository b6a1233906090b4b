"""`finepseudo bench chaos`: faults drawn at random, each followed by the same command again, until the time is over.

Processes are killed, stopped and asked to stop and writes fail before and after each durable write, collective and call
of Ray; files of finished and of stopped runs are damaged; storage is slow, the clock goes back. Most of it runs over a
stand-in for Ray (`one_process`); `--ray` kills the parts of a real one.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from finepseudo.bench.race import say
from finepseudo.run_folder.files import write_text
from jobs.bench.chaos import kills
from jobs.bench.chaos.page import markdown
from jobs.bench.chaos.trials import Trial, Trials


def main(argv: Sequence[str]) -> int:
    """Disturb, print and judge; 1 when a run did not survive."""
    parser = argparse.ArgumentParser(prog="finepseudo bench chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="time for faults (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="which faults are drawn (default: 0)")
    parser.add_argument("--out", type=Path, help="Markdown page to write (default: the terminal)")
    parser.add_argument("--work", type=Path, help="folder for the runs; undisturbed ones that lie there are taken")
    parser.add_argument("--ray", action="store_true", help="kill parts of a real Ray, a minute or two each")
    arguments = parser.parse_args(argv)
    with nullcontext(arguments.work) if arguments.work else tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        trials = _draw(Trials(Path(folder), arguments.seed), arguments.minutes, arguments.ray)
    about = f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[1]:.0f} at the end."
    page = markdown(trials, "finepseudo bench chaos " + " ".join(argv), about)
    if arguments.out:
        write_text(arguments.out, page)
    else:
        say(page)
    return int(any(trial.problems for trial in trials if trial.struck))


def _draw(trials: Trials, minutes: float, ray: bool) -> list[Trial]:
    """Go through all kinds in a drawn order, again and again, until the time is over."""
    found: list[Trial] = []
    until, deck = time.monotonic() + 60 * minutes, []
    while time.monotonic() < until:
        if not deck:
            deck = kills.kinds(trials) if ray else trials.kinds()
            trials.rng.shuffle(deck)
        trial = deck.pop()()
        found.append(trial)
        state = trial.words(400) or ("as undisturbed" if trial.struck else "not reached")
        say(f"{len(found):4} {trial.kind}; {trial.point}: {state} ({trial.seconds:.0f} s)")
        if trial.refused:
            say(f"     {trial.refused}")
    return found
