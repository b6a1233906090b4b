"""The method study's numbers over seeds, as a Markdown page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

Numbers = Mapping[str, float]

SECTIONS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Telling same-class from different-class pairs of test videos, average precision (Fig. 1c)",
        (
            ("pooled cosine, after GITDL", "pooled cosine after GITDL"),
            ("frame-wise cosine, after GITDL", "frame-wise cosine after GITDL"),
            ("DTW, after GITDL", "DTW after GITDL"),
            ("pooled cosine, after metric learning", "pooled cosine after metric learning"),
            ("frame-wise cosine, after metric learning", "frame-wise cosine after metric learning"),
            ("DTW, after metric learning", "DTW after metric learning"),
            ("learned score S, after metric learning", "score after metric learning"),
        ),
    ),
    (
        "Pseudo-labels of the first round",
        (
            ("confidence: accepted", "confidence accepted, round 1"),
            ("confidence: precision", "confidence precision, round 1"),
            ("confidence: classes covered", "confidence classes, round 1"),
            ("collaborative: accepted", "collaborative accepted, round 1"),
            ("collaborative: precision", "collaborative precision, round 1"),
            ("collaborative: classes covered", "collaborative classes, round 1"),
            (
                "confidence, as many as collaborative: precision",
                "collaborative precision of f_E at equal count, round 1",
            ),
        ),
    ),
    (
        "Top-1 on the test videos (f_E, one view; f_A by its class scores)",
        (
            ("f_E after the labelled stage", "top1 f_E, round 0"),
            ("supervised, equal steps", "top1 supervised"),
            ("pseudo-label (confidence)", "top1 confidence"),
            ("FinePseudo (collaborative)", "top1 collaborative"),
            ("f_A alone after the labelled stage", "top1 f_A alone, round 0"),
            ("f_A alone after the last round", "top1 f_A alone, last round"),
        ),
    ),
)

DIFFERENCES: tuple[tuple[str, str, str], ...] = (
    ("frame-wise > pooled (after GITDL)", "frame-wise cosine after GITDL", "pooled cosine after GITDL"),
    ("DTW > frame-wise (after GITDL)", "DTW after GITDL", "frame-wise cosine after GITDL"),
    ("learned S > DTW after GITDL", "score after metric learning", "DTW after GITDL"),
    (
        "collaborative precision > confidence at equal count",
        "collaborative precision, round 1",
        "collaborative precision of f_E at equal count, round 1",
    ),
    ("FinePseudo > supervised", "top1 collaborative", "top1 supervised"),
    ("FinePseudo > pseudo-label", "top1 collaborative", "top1 confidence"),
    ("pseudo-label > supervised", "top1 confidence", "top1 supervised"),
    ("f_E > f_A alone (last round)", "top1 collaborative", "top1 f_A alone, last round"),
)


def markdown(results: Mapping[int, Numbers], command: str, settings: Mapping[str, object]) -> str:
    """Write mean, standard deviation and every seed's value, then how often each expected difference shows."""
    seeds = sorted(results)
    lines = ["# Does the method show what it claims? Synthetic (rendered) dives, tiny encoders", "", f"`{command}`", ""]
    for title, rows in SECTIONS:
        lines += [f"## {title}", "", _row(["", "mean", "std", *(f"seed {seed}" for seed in seeds)])]
        lines.append(_row(["---"] * (3 + len(seeds))))
        for name, key in rows:
            values = np.array([results[seed][key] for seed in seeds])
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            lines.append(_row([name, *(_number(value) for value in (values.mean(), spread, *values))]))
        lines.append("")
    lines += ["## On how many seeds it shows", "", _row(["difference", "seeds", "mean difference"]), _row(["---"] * 3)]
    for name, above, below in DIFFERENCES:
        gaps = np.array([results[seed][above] - results[seed][below] for seed in seeds])
        lines.append(_row([name, f"{int((gaps > 0).sum())} of {len(gaps)}", f"{gaps.mean():+.3f}"]))
    lines += ["", "## Settings", "", "```json", json.dumps(settings, indent=1), "```", ""]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value > 1.5 else f"{value:.3f}"
