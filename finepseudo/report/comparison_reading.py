"""From run folders to the results that are compared: one for each method and label draw that was begun."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from finepseudo.methods.table import METHODS, in_order
from finepseudo.methods.table import title as method_title
from finepseudo.report.comparison import Result
from finepseudo.report.reading import MethodRun, RunFolder
from finepseudo.run_folder.done import DONE

Settings = Mapping[str, Any]
F_E_WITH = (
    *("rounds", "deterministic", "split", "shards", "reading"),
    *("action_encoder", "action_input", "action_stage", "evaluate"),
)
"""Sections of a recipe that every method is trained and tested with."""
ALIGNED_WITH = ("pretrain", "frame_encoder", "frame_input", "frame_stage")
"""Sections that only methods with f_A read."""
SILENT = {"threads", "prefetch", "cache", "max_bad_fraction", "log_every", "checkpoint_every", "store"}
"""Keys that change no result."""
PRETRAININGS = ("pretrain", "action_pretrain")
"""Kinds of stages on videos alone: of f_A, of f_E."""
TRAININGS = ("pretrain", "frame_encoder", "action_pretrain", "action_encoder")
"""Kinds of stages that train a network; the last one is f_E on labels. Methods without f_A share the last two."""
NAMED = 3
"""Differing keys up to which a variant is named by them; by its folder, where they are more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """A method of one run folder: what it was made with, dotted, and its results."""

    folder: str
    method: str
    settings: Settings
    results: tuple[Result, ...]


def read_results(runs: Sequence[RunFolder]) -> list[Result]:
    """List the results of all runs, methods in the order of the tables.

    Runs of one method with equal settings make one row together; settings that differ name its variants. A run that
    is given twice, or whose method folders are links to those of another, counts once.
    """
    seen: set[Path] = set()
    alike = Counter(run.root.name for run in runs)
    entries = [
        replace(entry, folder=str(run.root)) if alike[run.root.name] > 1 else entry
        for run in runs
        for entry in _entries(run, seen)
    ]
    methods = in_order(entry.method for entry in entries)
    return [result for method in methods for result in _named([e for e in entries if e.method == method])]


def _entries(run: RunFolder, seen: set[Path]) -> Iterator[_Entry]:
    for method in run.methods():
        found = []
        for seed, one in run.runs(method):
            place = run.paths.method(seed, method).resolve()
            if place not in seen:
                seen.add(place)
                found.append(_result(run, seed, one))
        if found:
            yield _Entry(folder=run.root.name, method=method, settings=_settings(run, method), results=tuple(found))


def _named(entries: Sequence[_Entry]) -> Iterator[Result]:
    """Give the results of one method with the names of their variants."""
    rows: dict[str, list[_Entry]] = {}
    for entry in entries:
        rows.setdefault(_text(entry.settings), []).append(entry)
    keys = sorted({key for entry in entries for key in entry.settings})
    differing = [key for key in keys if len({_text(entry.settings.get(key)) for entry in entries}) > 1]
    for some in rows.values():
        seeds = Counter(result.seed for entry in some for result in entry.results)
        again = max(seeds.values()) > 1  # the same once more: another row, not another seed
        for entry in some:
            words = [*_words(entry, differing), *([entry.folder] if again else [])]
            yield from (replace(result, variant=", ".join(words)) for result in entry.results)


def _words(entry: _Entry, differing: Sequence[str]) -> list[str]:
    own = f"method.{entry.method}."
    words = [f"{key.removeprefix(own)}={_shown(entry.settings, key)}" for key in differing]
    return words if len(words) <= NAMED else [f"{entry.folder}, {len(words)} keys differ"]


def _shown(settings: Settings, key: str) -> str:
    value = settings.get(key)
    return "?" if key not in settings else value if isinstance(value, str) else json.dumps(value)


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _settings(run: RunFolder, method: str) -> dict[str, Any]:
    """Collect what a method's numbers depend on: dotted key -> value. Of what reads the data, what it read."""
    known = METHODS.get(method)
    sections = [*_trained_with(run), *(ALIGNED_WITH if known is None or known.aligns else ())]
    sections += ["embed"] if known is None or known.vote is not None else []
    data = {"data": f"{run.dataset} {run.dataset_version}".strip()}
    return data | _part(run, [*sections, f"method.{method}"])


def _part(run: RunFolder, sections: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in sections:
        value: Any = run.config
        for step in section.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        found |= dict(leaves(value, section)) if value is not None else {}
    return found


def leaves(value: object, prefix: str) -> Iterator[tuple[str, object]]:
    """Give dotted keys and values of a part of a configuration, without those that change no result."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in SILENT:
                yield from leaves(item, f"{prefix}.{key}")
    else:
        yield prefix, value


def _result(run: RunFolder, seed: int, one: MethodRun) -> Result:
    metrics = one.metrics or {}
    labels: Mapping[str, Any] = next((r.metrics for r in reversed(one.rounds) if r.metrics), {})
    split = next((s.split for s in run.seeds if s.seed == seed), None)
    steps, clips = _budget(run, seed, one.name) if metrics else ({}, None)
    hours, device = _hours(run, seed, one.name) if metrics else (None, "")
    return Result(
        method=one.name,
        title=method_title(one.name),
        variant="",
        seed=seed,
        draw=f"{run.dataset} {run.dataset_version} {split.sha256 if split else run.root}",
        protocol=_text(_part(run, _trained_with(run))),
        top1=metrics.get("top1"),
        mean_class=metrics.get("mean_class"),
        precision=labels.get("precision"),
        coverage=labels.get("coverage"),
        steps=steps.get(True),
        other_steps=steps.get(False, 0.0 if True in steps else None),
        clips=clips,
        hours=hours,
        device=device,
        plain=_is_plain(run, one.name),
    )


def _is_plain(run: RunFolder, method: str) -> bool:
    """Tell whether a method's own keys have their defaults; also where the run does not tell them."""
    if method not in METHODS:
        return True
    section = f"method.{method}"
    default = dict(leaves(asdict(METHODS[method].config()), section))
    return all(_text(value) == _text(default.get(key)) for key, value in _part(run, [section]).items())


def _shared(method: str) -> tuple[str, ...]:
    """Name the trainings of round 0 that a method goes on from."""
    known = METHODS.get(method)
    return TRAININGS if known is None or known.aligns else TRAININGS[-2:]


def _budget(run: RunFolder, seed: int, method: str) -> tuple[dict[bool, float], float | None]:
    """Add up, from the log, the optimiser steps (of f_E: True, of others: False) and the clips that f_E was shown."""
    last: dict[tuple[str, int, str], dict[str, Any]] = {}
    for line in run.log:
        own, stage = line.get("method"), str(line.get("stage"))
        counts = own == method or (not own and stage in _shared(method))
        of_draw = line.get("seed") == seed or (stage in PRETRAININGS and _once(run, seed))
        if of_draw and "train/lr" in line and counts:
            last[str(own), line.get("round") or 0, stage] = line
    steps: dict[bool, float] = {}
    for (_, _, stage), line in last.items():
        is_f_e = stage == TRAININGS[-1]
        steps[is_f_e] = steps.get(is_f_e, 0) + float(line.get("step", 0))
    shown = [line.get("data/clips") for (_, _, stage), line in last.items() if stage == TRAININGS[-1]]
    known = [float(value) for value in shown if value is not None]
    return steps, sum(known) if shown and len(known) == len(shown) else None


def _hours(run: RunFolder, seed: int, method: str) -> tuple[float | None, str]:
    """Add up the wall time of a method's trainings times the devices that each took; None where a record is missing."""
    paths, taken = run.paths, run.config.get("resources")
    owner, shared = None if _once(run, seed) else seed, _shared(method)
    folders = [paths.part_of_round(seed, None, 0, name) for name in shared if name not in PRETRAININGS]
    folders += [paths.pretrain(owner)] if "pretrain" in shared else []
    folders += [paths.action_pretrain(owner)] if _contrasted(run) else []
    for _, folder in paths.rounds(seed, method):
        folders += [path.parent for path in folder.glob(f"*/{DONE}")]
    if not isinstance(taken, Mapping) or not run.environment:
        return None, ""
    device = str(run.environment.get("device", "")).upper()
    workers = run.environment.get("workers") or taken.get("workers", 1)
    each = float(workers) * (float(taken.get("cpus_per_worker", 1)) if device == "CPU" else 1.0)
    seconds = [_wall(folder / DONE) for folder in folders]
    known = [value for value in seconds if value is not None]
    return (sum(known) * each / 3600 if len(known) == len(seconds) else None), device


def _contrasted(run: RunFolder) -> bool:
    """Tell whether f_E was pre-trained on the videos of the run."""
    encoder = run.config.get("action_encoder")
    return isinstance(encoder, Mapping) and encoder.get("weights") == "tclr"


def _trained_with(run: RunFolder) -> tuple[str, ...]:
    """Name the sections that every method of a run is trained and tested with."""
    return (*F_E_WITH, *(("action_pretrain", "pretrain.with_labelled") if _contrasted(run) else ()))


def _once(run: RunFolder, seed: int) -> bool:
    """Tell whether a label draw has the pre-training of all, which the log has under the first."""
    return not run.paths.pretrain(seed).is_dir()


def _wall(path: Path) -> float | None:
    """Read how long a training took; 0 of a stage that trains nothing, None without a record."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return float(record["wall_s"]) if record["stage"] in TRAININGS else 0.0
    except (OSError, ValueError, KeyError, TypeError):
        return None
