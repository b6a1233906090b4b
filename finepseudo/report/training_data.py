"""Curves out of metrics.jsonl."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from finepseudo.methods.table import title as method_title
from finepseudo.report.figures import Curve, hue
from finepseudo.report.reading import Floats, Json, RunFolder

STAGE_ORDER = ("pretrain", "frame_encoder", "action_encoder")
Panel = tuple[str, int]


def panels(run: RunFolder) -> dict[Panel, list[Curve]]:
    """Group the logged losses: (stage, round) -> one curve per method and seed; pre-training is round -1."""
    records: dict[tuple[Panel, str, Any], dict[int, Json]] = {}
    for r in run.log:
        if _finite(r.get("train/loss")) and _finite(r.get("step")):
            number = r.get("round")
            stage = str(r.get("stage", "training"))
            panel = (stage, -1 if number is None or stage == "pretrain" else int(number))
            line = (panel, str(r.get("method") or ""), r.get("seed"))
            records.setdefault(line, {})[int(r["step"])] = r  # a step logged again after a resume replaces the first
    out: dict[Panel, list[Curve]] = {}
    for (panel, method, seed), by_step in records.items():
        out.setdefault(panel, []).append(_curve(method, seed, by_step))
    return dict(sorted(out.items(), key=lambda item: _place(item[0])))


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
