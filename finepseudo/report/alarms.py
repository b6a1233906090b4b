"""What a reader must know before believing the numbers (pitfalls of the method and of the run)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from finepseudo.methods.table import METHODS
from finepseudo.methods.table import title as method_title
from finepseudo.report.blocks import Alarm
from finepseudo.report.health import Records, health
from finepseudo.report.reading import RunFolder

MAX_QUARANTINE = 0.01  # share of clips above which it is an alarm
MAX_WAIT = 0.2  # mean data-wait fraction above which a stage starves


def alarms(run: RunFolder) -> list[Alarm]:
    """Collect the alarms and notes of a run, alarms first."""
    found = [
        *(Alarm("alarm", text) for text in run.problems),
        *_random_start(run),
        *_health(run),
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
    methods = run.config.get("methods")
    names = methods if isinstance(methods, list) else list(METHODS)
    unused = () if any(name not in METHODS or METHODS[name].aligns for name in names) else ("frame_encoder.weights",)
    named = [
        key.removesuffix(".weights")
        for key, value in leaves(run.config)
        if key.endswith(".weights") and "encoder" in key and key not in unused
        if value in (None, "", "random", "none")
    ]
    if named:
        yield Alarm(
            "alarm",
            f"Random start: {' and '.join(named)} began without published weights; "
            "figures of papers start from pre-trained ones and are not comparable.",
        )


def _health(run: RunFolder) -> list[Alarm]:
    rounds = [
        (seed, name, r.round, r.metrics)
        for name in run.methods()
        for seed, s in run.runs(name)
        for r in s.rounds
        if r.metrics is not None
    ]
    smoothing = dict(leaves(run.config)).get("action_stage.loss.label_smoothing")
    return health(Records(lines=run.log, labels=rounds, smoothing=float(smoothing or 0), classes=len(run.classes)))


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
