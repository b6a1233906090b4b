"""The parts of the page about how the numbers came about: training, data, time, versions, config."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

import numpy as np

from finepseudo.report import figures
from finepseudo.report.alarms import leaves
from finepseudo.report.blocks import NOT_YET, Block, Figure, Fold, Grid, Note, Pre, Section, Table
from finepseudo.report.figures import legend
from finepseudo.report.reading import Done, RunFolder
from finepseudo.report.training_data import VALIDATED, panel_title, panels, validated


def duration(seconds: float) -> str:
    """Write wall time: `3.4 s`, `12 min 05 s`, `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def training(run: RunFolder) -> Section:
    """Loss and data-wait fraction per stage."""
    grouped = panels(run)
    lead = "Loss, and below it the share of time the step waited for data. One thin line a seed."
    if not grouped:
        return Section("training", "Training", [Note(NOT_YET + "metrics.jsonl holds no train/loss.")], lead)
    drawn = [
        Figure(figures.training(curves, panel_title(p)), panel_title(p).capitalize()) for p, curves in grouped.items()
    ]
    hues = {c.hue for curves in grouped.values() for c in curves}
    marks = [("hue-shared", "shared by all methods")] if "hue-shared" in hues else []
    marks += [m for m in legend(run.methods()) if m[0] in hues]
    head = ["Stage", "Run", "#Steps", "#First loss", "#Last loss", "#Waiting %"]
    body = []
    for panel, curves in grouped.items():
        for c in sorted(curves, key=lambda c: c.name):
            waits = c.wait[np.isfinite(c.wait)]
            wait = f"{100 * waits.mean():.1f}" if len(waits) else "–"
            body.append(
                [panel_title(panel), c.name, f"{c.steps[-1]:.0f}", f"{c.loss[0]:.4g}", f"{c.loss[-1]:.4g}", wait]
            )
    blocks: list[Block] = [Grid(drawn, marks), Fold("Numbers", [Table("training", head, body)])]
    if looks := validated(run):
        shown = [
            Figure(figures.validation(c, VALIDATED[name]), panel_title(p).capitalize())
            for (p, name), c in looks.items()
        ]
        blocks[1:1] = [Grid(shown, marks)]
    return Section("training", "Training", blocks, lead)


def data(run: RunFolder) -> Section:
    """Splits with their hashes; quarantine by reason."""
    blocks: list[Block] = []
    splits = [s.split for s in run.seeds if s.split]
    if splits:
        head = ["#Seed", "Method", "#Share, %", "#Labelled", "#Unlabelled", "#Test", "#Held out", "Split hash (sha256)"]
        roles = ("labelled", "unlabelled", "test", "held_out")
        rows = [
            [str(s.seed), s.method, _share(s.counts), *(str(s.counts.get(r, 0)) for r in roles), s.sha256 or "–"]
            for s in splits
        ]
        blocks.append(Table("splits", head, rows, "Label splits; share: labelled clips of all but the test."))
    else:
        blocks.append(Note(NOT_YET + "no label split has been drawn."))
    if run.quarantine is None:
        blocks.append(Note(NOT_YET + "no quarantine table; the clips have not been probed."))
    elif run.quarantine:
        rows = [[reason, str(n), example] for reason, n, example in run.quarantine]
        blocks.append(Table("quarantine", ["Reason", "#Clips", "For example"], rows, "Clips in quarantine."))
    else:
        blocks.append(Note("No clip is in quarantine."))
    version = f" ({run.dataset_version})" if run.dataset_version else ""
    lead = f"{run.dataset}{version}: {len(run.truth):,} clips, {len(run.classes)} classes." if run.truth else ""
    return Section("data", "Data", blocks, lead)


def _share(counts: Mapping[str, int]) -> str:
    """Write how much is labelled, in percent: lists and numbers of clips a class say no ratio."""
    trained = sum(n for role, n in counts.items() if role != "test")
    return f"{100 * counts.get('labelled', 0) / trained:.1f}" if trained else "–"


def wall_time(run: RunFolder) -> Section:
    """Time per stage from the DONE records."""
    if not run.done:
        return Section("time", "Wall time", [Note(NOT_YET + "no stage is done.")])
    stages: dict[str, list[float]] = {}
    for d in run.done:
        stages.setdefault(d.stage, []).append(d.wall_s)
    rows = [[s, str(len(v)), *(duration(x) for x in (sum(v), sum(v) / len(v), max(v)))] for s, v in stages.items()]
    total = sum(d.wall_s for d in run.done)
    rows.append(["All stages", str(len(run.done)), duration(total), "", ""])
    head = ["Stage", "#Times", "#Total", "#Mean", "#Longest"]
    single = [[d.folder, d.stage, duration(d.wall_s), d.finished_at] for d in run.done]
    blocks: list[Block] = [
        Table("wall-time", head, rows, strong=len(rows) - 1),
        Fold("Every stage", [Table("stages", ["Folder", "Stage", "#Wall time", "Finished"], single)]),
    ]
    lead = f"Stages may run side by side: the total is work. {total_wall(run.done)} passed while any of them ran."
    return Section("time", "Wall time", blocks, lead)


def provenance(run: RunFolder) -> Section:
    """Versions, device, code version, seeds, config."""
    blocks: list[Block] = []
    rows = [[key, _typed(value) if key == "command" else _write(value)] for key, value in leaves(run.environment or {})]
    versions = sorted({d.code_version for d in run.done if d.code_version})
    about = [
        ["seeds", ", ".join(str(s.seed) for s in run.seeds) or "–"],
        ["code version of the stages", _write(versions)],
    ]
    blocks.append(Table("environment", ["Item", "Value"], [*about, *rows]))
    if run.environment is None:
        blocks.append(Note(NOT_YET + "environment.json."))
    blocks.append(Fold("config.yaml", [Pre(run.config_text)]) if run.config_text else Note(NOT_YET + "config.yaml."))
    return Section("provenance", "Provenance", blocks)


def _typed(command: object) -> str:
    """Write a command as it was typed."""
    return shlex.join(map(str, command)) if isinstance(command, list) else _write(command)


def _write(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(v) for v in value) or "–"
    return "–" if value is None else str(value)


def total_wall(done: list[Done]) -> str:
    """Write the time during which any stage ran: of those side by side it counts once."""
    spans = sorted((end - d.wall_s, end) for d in done if (end := _finished(d)) is not None)
    passed, reached = sum(d.wall_s for d in done if _finished(d) is None), float("-inf")
    for start, end in spans:
        passed += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return duration(passed)


def _finished(done: Done) -> float | None:
    """When a stage ended, in seconds; None where the record says it in no known form."""
    try:
        return datetime.fromisoformat(done.finished_at).timestamp()
    except ValueError:
        return None
