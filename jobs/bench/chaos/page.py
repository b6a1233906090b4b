"""What came of the faults, as a Markdown page."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from jobs.bench.chaos.trials import Trial

HEAD = ("kind", "point", "count", "recovered", "bit-equal", "refused first", "seconds lost (median)")


def markdown(trials: Sequence[Trial], command: str, about: str) -> str:
    """Write the page: kinds, kinds with points, and each fault that broke the promise."""
    struck = [trial for trial in trials if trial.struck]
    broken = [trial for trial in struck if trial.problems]
    lines = ["# What survives: faults, then the same command again", "", f"`{command}`", "", about, ""]
    lines += [
        f"{len(struck)} faults struck ({len(trials) - len(struck)} more were drawn whose point was not reached); "
        f"{len(struck) - len(broken)} of the runs ended as the undisturbed one.",
        "",
        "Recovered: the same command, or the one that a one-line refusal named, ended with 0. Bit-equal: every file "
        "that two undisturbed runs have alike is equal, every line of the log is there once, nothing is left behind.",
        "",
    ]
    lines += [*_table(struck, lambda trial: (trial.kind, "all")), ""]
    lines += ["## By point", "", *_table(struck, lambda trial: (trial.kind, trial.group)), ""]
    if broken:
        lines += ["## Broken promises", ""]
        lines += [f"- {t.kind}; {t.point}: {t.words(300)}" for t in broken]
    return "\n".join([*lines, ""])


def _table(trials: Sequence[Trial], key: Callable[[Trial], tuple[str, str]]) -> Iterator[str]:
    yield "| " + " | ".join(HEAD) + " |"
    yield "|" + " --- |" * len(HEAD)
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(key(trial), []).append(trial)
    for (kind, point), some in sorted(groups.items()):
        recovered = sum(not any("ends with" in p or "not whole" in p for p in trial.problems) for trial in some)
        lost = statistics.median(max(trial.seconds - trial.undisturbed, 0.0) for trial in some)
        counts = [len(some), recovered, sum(not trial.problems for trial in some), sum(bool(t.refused) for t in some)]
        yield f"| {kind} | {point} | " + " | ".join(map(str, counts)) + f" | {lost:.0f} |"
