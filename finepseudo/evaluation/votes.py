"""Three answers to one clip: f_E alone (the papers' test), f_A alone by its gallery, and the mean of both.

Which of them is best differs from data set to data set, so it is chosen on held-out labelled clips, never on the test.
Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from finepseudo.evaluation.metrics import classification_metrics
from finepseudo.run_folder.files import read_json

Vote = Literal["action", "frame", "mean"]
Wanted = Literal["action", "frame", "mean", "all"]
VOTES: tuple[Vote, ...] = ("action", "frame", "mean")
"""In the order of tables; of equally good ones the first is chosen."""
VOTE_TITLES: Mapping[Vote, str] = {"action": "f_E", "frame": "f_A", "mean": "the mean of both"}
Floats = npt.NDArray[np.float64]


def answers(p_e: npt.ArrayLike, p_a: npt.ArrayLike) -> dict[Vote, Floats]:
    """Give the class probabilities of every vote from those of f_E and of f_A, [N, C] (or [C]) each."""
    action, frame = np.asarray(p_e, np.float64), np.asarray(p_a, np.float64)
    return {"action": action, "frame": frame, "mean": (action + frame) / 2}


def vote_metrics(
    keys: Sequence[str], labels: npt.ArrayLike, given: Mapping[Vote, Floats], classes: Sequence[str]
) -> dict[Vote, dict[str, Any]]:
    """Top-1, top-5, mean over classes and number of clips of every vote on the same clips.

    A clip that one vote has no finite number for counts for none of them.
    """
    readable = np.logical_and.reduce([np.isfinite(p).all(axis=1) for p in given.values()])
    kept = [key for key, keep in zip(keys, readable, strict=True) if keep]
    truth = np.asarray(labels)[readable]
    found = {vote: classification_metrics(kept, truth, p[readable], classes) for vote, p in given.items()}
    return {vote: {name: m[name] for name in ("top1", "top5", "mean_class", "n")} for vote, m in found.items()}


def choose_vote(wanted: Wanted, held_out: Mapping[Vote, Mapping[str, Any]] | None) -> tuple[Vote, str]:
    """Choose the answer of a run and say why: the one that `evaluate.votes` names, else the best on held-out clips.

    held_out: the metrics of each vote on held-out labelled clips, None where none were held out. A vote has to be
    better than the ones before it in `VOTES`, so that nothing speaks against the papers' f_E without a reason.
    """
    if wanted != "all":
        return wanted, f"evaluate.votes is {wanted}"
    measured = {vote: held_out[vote]["top1"] for vote in VOTES if held_out and vote in held_out}
    if not measured or any(value is None for value in measured.values()):
        return "action", "no labelled clip is held out to choose by (split.held_out)"
    best = max(VOTES, key=lambda vote: measured[vote])
    count = (held_out or {})[best]["n"]
    shown = ", ".join(f"{VOTE_TITLES[vote]} {100 * value:.1f}" for vote, value in measured.items())
    return best, f"best of {count} held-out labelled clips: {shown} %"


def chosen_vote(metrics: Path) -> tuple[Vote, str]:
    """Read the answer that a run chose from the `metrics.json` of its votes; f_E where it has none."""
    if not metrics.is_file():
        return "action", "the run has no other vote"
    found = read_json(metrics)
    return found["chosen"], found["because"]
