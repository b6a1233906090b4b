"""The method study's numbers over seeds, as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from finepseudo.methods.table import METHODS, REFERENCE

Results = Mapping[int, Mapping[str, float]]

VERIFICATION = "Telling same-class from different-class pairs of test videos, average precision (Fig. 1c)"
LABELS = "Pseudo-labels of the first round"
ACCURACY = "Top-1 on the test videos (f_E as it is tested; f_A by its class scores)"


def markdown(results: Results, command: str, config: str) -> str:
    """Write mean, standard deviation and every seed's value, then how often each expected difference shows."""
    seeds = sorted(results)
    lines = ["# Does the method show what it claims? Synthetic (rendered) dives, tiny encoders", "", f"`{command}`", ""]
    for title, names in sections(list(results[seeds[0]])):
        lines += [f"## {title}", "", _row(["", "mean", "std", *(f"seed {seed}" for seed in seeds)])]
        lines.append(_row(["---"] * (3 + len(seeds))))
        for name in names:
            values = np.array([results[seed][name] for seed in seeds])
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            lines.append(_row([name, *(_number(value) for value in (values.mean(), spread, *values))]))
        lines.append("")
    lines += ["## On how many seeds it shows", "", _row(["difference", "seeds", "mean difference"]), _row(["---"] * 3)]
    for name, above, below in differences(list(results[seeds[0]])):
        gaps = np.array([results[seed][above] - results[seed][below] for seed in seeds])
        lines.append(_row([name, f"{int((gaps > 0).sum())} of {len(gaps)}", f"{gaps.mean():+.3f}"]))
    return "\n".join([*lines, "", "## Settings", "", "```yaml", config.strip(), "```", ""])


def sections(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Sort the numbers into tables, empty ones left out."""
    accuracy = [name for name in names if name.startswith("top1 ")]
    labels = [name for name in names if ": " in name]
    verification = [name for name in names if " after " in name]
    for title, some in ((VERIFICATION, verification), (LABELS, labels), (ACCURACY, accuracy)):
        if some:
            yield title, some


def differences(names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """List what is expected to be larger than what: (title, above, below), of the numbers that are there."""
    wanted = [
        ("frame-wise > pooled (after GITDL)", "frame-wise cosine after GITDL", "pooled cosine after GITDL"),
        ("DTW > frame-wise (after GITDL)", "DTW after GITDL", "frame-wise cosine after GITDL"),
        ("learned S > DTW after GITDL", "learned S after metric learning", "DTW after GITDL"),
    ]
    for name in METHODS:
        wanted.append((f"{name} > {REFERENCE}", f"top1 {name}", f"top1 {REFERENCE}"))
        if METHODS[name].aligns:
            wanted.append(
                (
                    f"{name}: precision > f_E's at equal count",
                    f"{name}: precision",
                    f"{name}: precision of f_E at equal count",
                )
            )
    there = set(names)
    return (entry for entry in wanted if {entry[1], entry[2]} <= there and entry[1] != entry[2])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:.0f}" if value > 1.5 else f"{value:.3f}"
