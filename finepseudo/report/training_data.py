"""Curves out of metrics.jsonl."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from finepseudo.methods.table import title as method_title
from finepseudo.report.figures import Curve, hue
from finepseudo.report.reading import Floats, Json, RunFolder

STAGE_ORDER = ("pretrain", "action_pretrain", "frame_encoder", "action_encoder")
PRETRAININGS = STAGE_ORDER[:2]
Panel = tuple[str, int]


def panels(run: RunFolder) -> dict[Panel, list[Curve]]:
    """Group the logged losses: (stage, round) -> one curve per method and seed; pre-training is round -1."""
    records: dict[tuple[Panel, str, Any], dict[int, Json]] = {}
    for r in run.log:
        if _finite(r.get("train/loss")) and _finite(r.get("step")):
            number = r.get("round")
            stage = str(r.get("stage", "training"))
            panel = (stage, -1 if number is None or stage in PRETRAININGS else int(number))
            line = (panel, str(r.get("method") or ""), r.get("seed"))
            records.setdefault(line, {})[int(r["step"])] = r  # a step logged again after a resume replaces the first
    out: dict[Panel, list[Curve]] = {}
    for (panel, method, seed), by_step in records.items():
        out.setdefault(panel, []).append(_curve(method, seed, by_step))
    return dict(sorted(out.items(), key=lambda item: _place(item[0])))


VALIDATED = {"valid/accuracy": "top-1 on held-out clips, %", "valid/pair_ap": "AP of held-out pairs, %"}
"""Curves on held-out labelled clips -> their label."""


def validated(run: RunFolder) -> dict[tuple[Panel, str], list[Curve]]:
    """Group the curves on held-out clips: (stage, round), name -> one per method and seed, its values as `loss`."""
    found: dict[tuple[Panel, str], dict[tuple[str, Any], dict[int, float]]] = {}
    for r in run.log:
        for name in VALIDATED:
            if _finite(r.get(name)) and _finite(r.get("step")):
                panel = (str(r.get("stage", "training")), int(r.get("round") or 0))
                line = (str(r.get("method") or ""), r.get("seed"))
                found.setdefault((panel, name), {}).setdefault(line, {})[int(r["step"])] = float(r[name])
    ordered = sorted(found.items(), key=lambda item: (_place(item[0][0]), item[0][1]))
    return {
        place: [
            _curve(*line, {step: {"train/loss": value} for step, value in values.items()}) for line, values in lines
        ]
        for place, lines in ((place, lines.items()) for place, lines in ordered)
    }


def panel_title(panel: Panel) -> str:
    """Name a panel."""
    stage = panel[0].replace("_", " ")
    return stage if panel[1] < 0 else f"{stage}, round {panel[1]}"


def _place(panel: Panel) -> tuple[int, int, str]:
    stage, number = panel
    return (number, STAGE_ORDER.index(stage) if stage in STAGE_ORDER else len(STAGE_ORDER), stage)


def _curve(method: str, seed: object, by_step: dict[int, Json]) -> Curve:
    steps = sorted(by_step)

    def column(name: str) -> Floats:
        return np.array([v if _finite(v := by_step[s].get(name)) else math.nan for s in steps], np.float64)

    name = f"{method_title(method) if method else 'all methods'}, seed {seed}"
    color = hue(method) if method else "hue-shared"
    return Curve(color, name, np.array(steps, float), column("train/loss"), column("data/wait_fraction"))


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
