"""What a reader must know before believing the numbers (pitfalls of the method and of the run)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finepseudo.methods.table import METHODS
from finepseudo.methods.table import title as method_title
from finepseudo.report.blocks import Alarm
from finepseudo.report.reading import Json, RunFolder

MAX_QUARANTINE = 0.01  # share of clips above which it is an alarm
MAX_WAIT = 0.2  # mean data-wait fraction above which a stage starves
PRECISION_DROP = 0.05  # from one round to the next: confirmation bias
MIN_SCORE_GAP = 0.05  # mean S of same-class pairs minus that of different-class pairs
Rounds = Sequence[tuple[int, int, Json]]  # seed, round, pseudo_metrics.json


def alarms(run: RunFolder) -> list[Alarm]:
    """Collect the warnings of a run, alarms first."""
    found = [
        *(Alarm("alarm", text) for text in run.problems),
        *_random_start(run),
        *_labels(run),
        *_score_function(run),
        *_quarantine(run),
        *_classes(run),
        *_evaluation(run),
        *_reading(run),
        *_code(run),
    ]
    return sorted(found, key=lambda a: a.level != "alarm")


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk a nested mapping: (`a.b.c`, value)."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _random_start(run: RunFolder) -> Iterator[Alarm]:
    named = [
        key.removesuffix(".weights")
        for key, value in leaves(run.config)
        if key.endswith(".weights") and "encoder" in key and value in (None, "", "random", "none")
    ]
    if named:
        yield Alarm(
            "alarm",
            f"Random start: {' and '.join(named)} began without published weights; "
            "figures of papers start from pre-trained ones and are not comparable.",
        )


def _labels(run: RunFolder) -> Iterator[Alarm]:
    for name in run.methods():
        title = method_title(name)
        rounds = [(seed, r.round, r.metrics) for seed, s in run.runs(name) for r in s.rounds if r.metrics]
        empty = [f"seed {seed} round {n}" for seed, n, m in rounds if not m.get("accepted")]
        if empty:
            method = METHODS.get(name)
            cause = "; a score that is the same for every pair gives this too" if method and method.aligns else ""
            key = f"method.{name}.{method.threshold}" if method and method.threshold else "its threshold"
            yield Alarm(
                "alarm",
                f"{title}: no pseudo-label was accepted in {_list(empty)}. Lower {key} or train longer{cause}.",
            )
        yield from _class_coverage(run, title, rounds)
        yield from _falling_precision(title, rounds)


def _class_coverage(run: RunFolder, title: str, rounds: Rounds) -> Iterator[Alarm]:
    """Argmax labels amplify a long tail: tell how many classes the last round reached."""
    last = max((n for _, n, _ in rounds), default=0)
    covered = [sum(1 for c in m.get("per_class", []) if c.get("accepted")) for _, n, m in rounds if n == last]
    total = len(run.classes)
    if covered and total and 0 < min(covered) < total:
        count = f"{min(covered)}" if min(covered) == max(covered) else f"{min(covered)} to {max(covered)}"
        yield Alarm("note", f"{title}: in round {last} only {count} of {total} classes have an accepted pseudo-label.")


def _falling_precision(title: str, rounds: Rounds) -> Iterator[Alarm]:
    known = {(seed, n): m["precision"] for seed, n, m in rounds if m.get("precision") is not None}
    falls = [
        f"from {100 * known[seed, n - 1]:.1f} to {100 * value:.1f} % (seed {seed}, round {n})"
        for (seed, n), value in known.items()
        if value < known.get((seed, n - 1), 0.0) - PRECISION_DROP
    ]
    if falls:
        yield Alarm("note", f"{title}: precision fell {_list(falls)}; the rounds may be learning their own errors.")


def _list(items: Sequence[str], limit: int = 4) -> str:
    more = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {more} more" if more > 0 else "")


def _score_function(run: RunFolder) -> Iterator[Alarm]:
    """f_S must fall with the distance and tell pairs apart, else p_A is uniform or upside down.

    metrics.jsonl carries `align/score_monotone` (1 yes, 0 no) and, from training, the mean S of same-class and of
    different-class pairs as `train/same` and `train/different`.
    """
    rising, blind = {}, {}
    for r in run.log:
        title = [method_title(r["method"])] if r.get("method") else []
        where = " ".join([*title, f"seed {r.get('seed')} round {r.get('round')}"])
        if "align/score_monotone" in r:
            rising[where] = not r["align/score_monotone"]
        if "train/same" in r and "train/different" in r:
            blind[where] = r["train/same"] - r["train/different"] < MIN_SCORE_GAP
    if any(rising.values()):
        places = _list([where for where, bad in rising.items() if bad])
        yield Alarm("alarm", f"f_S does not fall over the observed distances ({places}); far pairs may look alignable.")
    if any(blind.values()):
        places = _list([where for where, bad in blind.items() if bad])
        yield Alarm("alarm", f"f_S hardly tells pairs of one class from pairs of two ({places}); p_A is near uniform.")


def _quarantine(run: RunFolder) -> Iterator[Alarm]:
    bad = sum(n for _, n, _ in run.quarantine or [])
    total = len(run.truth)
    if bad and total and bad / total > MAX_QUARANTINE:
        yield Alarm(
            "alarm", f"{bad} of {total} clips ({100 * bad / total:.1f} %) are in quarantine; see Data for reasons."
        )


def _classes(run: RunFolder) -> Iterator[Alarm]:
    for seed in run.seeds:
        if seed.split is None:
            continue
        labelled, test = (seed.split.classes.get(role, frozenset()) for role in ("labelled", "test"))
        if test - labelled:
            names = ", ".join(run.class_name(c) for c in sorted(test - labelled)[:5])
            yield Alarm(
                "alarm", f"Seed {seed.seed}: {len(test - labelled)} test classes have no labelled clip ({names})."
            )
    test = frozenset().union(*(s.split.classes.get("test", frozenset()) for s in run.seeds if s.split))
    missing = sorted(set(range(len(run.classes))) - test)
    if missing and test:
        names = ", ".join(run.class_name(c) for c in missing[:5]) + (" and more" if len(missing) > 5 else "")
        yield Alarm("note", f"{len(missing)} of {len(run.classes)} classes have no test clip ({names}).")


def _evaluation(run: RunFolder) -> Iterator[Alarm]:
    for name in run.methods():
        without = [seed for seed, s in run.runs(name) if s.metrics is None]
        if without:
            seeds = ", ".join(map(str, without))
            yield Alarm("note", f"{method_title(name)}: not evaluated yet for seed {seeds}; means leave it out.")
        for seed, s in run.runs(name):
            if s.metrics and s.metrics.get("n_invalid"):
                yield Alarm(
                    "alarm",
                    f"{method_title(name)}, seed {seed}: {s.metrics['n_invalid']} test clips could not be decoded.",
                )
    if len(run.seeds) == 1:
        yield Alarm("note", "One seed: no standard deviation; three label splits are customary.")


def _reading(run: RunFolder) -> Iterator[Alarm]:
    waits: dict[str, list[float]] = {}
    for record in run.log:
        value = record.get("data/wait_fraction")
        if isinstance(value, float | int) and math.isfinite(value):
            waits.setdefault(str(record.get("stage", "")), []).append(float(value))
    for stage, values in sorted(waits.items()):
        mean = sum(values) / len(values)
        if mean > MAX_WAIT:
            yield Alarm("note", f"{stage}: {100 * mean:.0f} % of the time went into waiting for data.")


def _code(run: RunFolder) -> Iterator[Alarm]:
    versions = sorted({d.code_version for d in run.done if d.code_version})
    if len(versions) > 1:
        yield Alarm("note", f"Stages were made by {len(versions)} code versions: {', '.join(versions)}.")
