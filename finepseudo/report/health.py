"""What goes wrong in a training that ends well: told from a run's records, in the log as it happens, and later.

A pure function: the same records give the same words in the log of a run, in `finepseudo status` and in the report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finepseudo.methods.table import METHODS
from finepseudo.methods.table import title as method_title
from finepseudo.report.blocks import Alarm

Json = dict[str, Any]
Labels = tuple[int, str, int, Json]
"""Seed, method, round, pseudo_metrics.json."""

FITTED = math.log(2)
"""Training loss above which the true class of a label gets less than half of the probability, in the geometric mean."""
FEW_CLASSES = 0.5  # share of the classes with a label below which it is an alarm
LOW_COVERAGE, AGREED = 0.15, 0.5  # shares of the pool: accepted, labelled alike by both encoders
COLLAPSED = 0.5  # share of the accepted labels that one class has
OVERCONFIDENT = 0.1  # expected minus true precision
PRECISION_DROP = 0.05  # from one round to the next: confirmation bias
MIN_SCORE_GAP = 0.05  # mean S of same-class pairs minus that of different-class pairs


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """lines: of metrics.jsonl; labels: one a round of a method; smoothing: of the labels that f_E is trained on.

    classes: how many there are, where that is known beside the records.
    """

    lines: Sequence[Mapping[str, Any]] = ()
    labels: Sequence[Labels] = ()
    smoothing: float = 0.0
    classes: int = 0


def health(records: Records) -> list[Alarm]:
    """Say what went wrong, in the order in which it happens."""
    return [
        *_unfitted(records),
        *_score_function(records.lines),
        *(alarm for name in dict.fromkeys(m for _, m, _, _ in records.labels) for alarm in _labels(records, name)),
    ]


def _unfitted(records: Records) -> Iterator[Alarm]:
    """f_E has to fit the few labels it has; consistency methods add losses of their own and are not judged."""
    last: dict[str, float] = {}
    for line in records.lines:
        method = METHODS.get(str(line.get("method"))) if line.get("method") else None
        plain = method is None or method.objective is None
        ended = line.get("step") == line.get("steps")
        loss = line.get("train/loss")
        if line.get("stage") == "action_encoder" and plain and ended and isinstance(loss, float | int):
            last[_where(line)] = float(loss) - _entropy(records.smoothing)
    bad = [f"{where}: {loss:.2f}" for where, loss in last.items() if not loss <= FITTED]
    if bad:
        yield Alarm(
            "alarm",
            f"f_E has not fitted its labels (training loss at the end, {_list(bad)}; fitted is below {FITTED:.2f}). "
            "Train longer (action_stage.train.steps, action_stage.self_train), or at a higher rate.",
        )


def _entropy(smoothing: float) -> float:
    """Least loss that smoothed labels allow, nearly: that of two classes."""
    return -sum(p * math.log(p) for p in (1 - smoothing, smoothing) if 0 < p < 1)


def _score_function(lines: Iterable[Mapping[str, Any]]) -> Iterator[Alarm]:
    """f_S must fall with the distance and tell pairs apart, else p_A is uniform or upside down.

    `align/score_monotone` (1 yes, 0 no); from training the mean S of same-class and of different-class pairs, as
    `train/same` and `train/different`.
    """
    rising, blind = {}, {}
    for line in lines:
        if "align/score_monotone" in line:
            rising[_where(line)] = not line["align/score_monotone"]
        if "train/same" in line and "train/different" in line:
            blind[_where(line)] = line["train/same"] - line["train/different"] < MIN_SCORE_GAP
    if any(rising.values()):
        places = _list([where for where, bad in rising.items() if bad])
        yield Alarm("alarm", f"f_S does not fall over the observed distances ({places}); far pairs may look alignable.")
    if any(blind.values()):
        places = _list([where for where, bad in blind.items() if bad])
        yield Alarm("alarm", f"f_S hardly tells pairs of one class from pairs of two ({places}); p_A is near uniform.")


def _labels(records: Records, name: str) -> Iterator[Alarm]:
    rounds = [(seed, number, metrics) for seed, method, number, metrics in records.labels if method == name]
    empty = [f"seed {seed} round {number}" for seed, number, metrics in rounds if not metrics.get("accepted")]
    title = method_title(name)
    if empty:
        method = METHODS.get(name)
        cause = "; a score that is the same for every pair gives this too" if method and method.aligns else ""
        key = f"method.{name}.{method.threshold}" if method and method.threshold else "its threshold"
        yield Alarm(
            "alarm", f"{title}: no pseudo-label was accepted in {_list(empty)}. Lower {key} or train longer{cause}."
        )
    yield from _class_coverage(title, rounds, records.classes)
    yield from _collapse(title, rounds)
    yield from _refused_agreement(name, rounds)
    yield from _overconfident(title, rounds)
    yield from _falling_precision(title, rounds)


Rounds = Sequence[tuple[int, int, Json]]


def _class_coverage(title: str, rounds: Rounds, classes: int) -> Iterator[Alarm]:
    """Argmax labels amplify a long tail: tell how many classes the last round reached."""
    last = max((number for _, number, _ in rounds), default=0)
    newest = [m for _, number, m in rounds if number == last]
    covered = [sum(1 for c in m.get("per_class", []) if c.get("accepted")) for m in newest]
    total = max((len(m.get("per_class", [])) for m in newest), default=0)
    total = max(total, classes)
    if not covered or not 0 < min(covered) < total:
        return
    count = f"{min(covered)}" if min(covered) == max(covered) else f"{min(covered)} to {max(covered)}"
    text = f"{title}: in round {last} only {count} of {total} classes have an accepted pseudo-label"
    if min(covered) < FEW_CLASSES * total:
        yield Alarm("alarm", f"{text}; the next round learns those classes alone. An adaptive bar reaches more.")
    else:
        yield Alarm("note", f"{text}.")


def _collapse(title: str, rounds: Rounds) -> Iterator[Alarm]:
    """One class that takes most labels of a round takes over: with three classes or fewer that may be the data."""
    found = []
    for seed, number, metrics in rounds:
        counts = {str(c.get("class")): int(c.get("accepted", 0)) for c in metrics.get("per_class", [])}
        total, most = sum(counts.values()), max(counts, key=lambda c: counts[c], default="")
        if total and counts[most] > total * max(COLLAPSED, 3 / len(counts)):
            found.append(f"{100 * counts[most] / total:.0f} % are {most} (seed {seed} round {number})")
    if found:
        yield Alarm("alarm", f"{title}: the accepted labels collapse to one class: {_list(found)}.")


def _refused_agreement(name: str, rounds: Rounds) -> Iterator[Alarm]:
    found = [
        f"{100 * m['coverage']:.0f} % accepted, {100 * m['agreement']:.0f} % labelled alike "
        f"(seed {seed} round {number})"
        for seed, number, m in rounds
        if m.get("agreement") is not None
        and m.get("accepted")
        and m["coverage"] < LOW_COVERAGE
        and m["agreement"] > AGREED
    ]
    if found:
        yield Alarm(
            "alarm",
            f"{method_title(name)}: both encoders agree on much of the pool and few labels pass: {_list(found)}. Lower "
            f"the bar, or set method.{name}.bar=adaptive.",
        )


def _overconfident(title: str, rounds: Rounds) -> Iterator[Alarm]:
    found = [
        f"{100 * expected:.0f} % expected by {m.get('expected_from')}, {100 * m['precision']:.0f} % right "
        f"(seed {seed} round {number})"
        for seed, number, m in rounds
        if (expected := m.get("expected_precision")) is not None
        and m.get("precision") is not None
        and expected - m["precision"] > OVERCONFIDENT
    ]
    if found:
        yield Alarm("note", f"{title}: labels are less right than they should be: {_list(found)}.")


def _falling_precision(title: str, rounds: Rounds) -> Iterator[Alarm]:
    known = {(seed, n): m["precision"] for seed, n, m in rounds if m.get("precision") is not None}
    falls = [
        f"from {100 * known[seed, n - 1]:.1f} to {100 * value:.1f} % (seed {seed}, round {n})"
        for (seed, n), value in known.items()
        if value < known.get((seed, n - 1), 0.0) - PRECISION_DROP
    ]
    if falls:
        yield Alarm("note", f"{title}: precision fell {_list(falls)}; the rounds may be learning their own errors.")


def _where(line: Mapping[str, Any]) -> str:
    title = [method_title(str(line["method"]))] if line.get("method") else []
    return " ".join([*title, f"seed {line.get('seed')} round {line.get('round')}"])


def _list(items: Sequence[str], limit: int = 4) -> str:
    more = len(items) - limit
    return ", ".join(items[:limit]) + (f" and {more} more" if more > 0 else "")
