"""What a vote is worth: a method's vote on held-out labelled clips, with encoders that never saw their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from finepseudo.alignment.distances import class_scores
from finepseudo.alignment.gallery import build_gallery
from finepseudo.methods.labelling import label_rows
from finepseudo.methods.table import METHODS, settings
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from jobs.config.run import RunConfig
from jobs.tune.space import SpaceConfig
from jobs.tune.trainings import KEPT, hold_out
from jobs.workers.models import trained_scorer
from jobs.workers.score import Scorer
from shards.splits.label_split import read_split


def vote_value(cfg: RunConfig, space: SpaceConfig, made: Path, seed: int) -> float:
    """Give the clips accepted with the right label less those with a wrong one, of the held-out clips that can be read.

    NaN where none can be. made: folder of f_A and f_E, trained on the other labelled clips, with what they say of the
    held-out ones.
    """
    method = METHODS[space.method]
    labelled = read_split(RunPaths(cfg.folder).split(seed)).items("labelled")
    truth = dict(zip(labelled.keys, labelled.labels.tolist(), strict=True))
    rest, _ = hold_out(labelled, space.holdout, seed)
    with np.load(made / "action" / KEPT) as kept:
        keys, p = kept["keys"].tolist(), kept["p"]
    if not keys:
        return math.nan
    scores = None
    if method.aligns:
        places, scores = _scores(cfg, made / "frame", keys, list(rest.keys), truth, n_classes=p.shape[1], seed=seed)
        keys, p = [keys[i] for i in places], p[places]
    blank, whole = np.zeros(len(keys)), np.ones(len(keys), bool)
    table = label_rows(method, settings(cfg.method, method.name), keys, scores, p, blank, whole)
    right = np.array([truth[key] for key in table["key"].to_pylist()]) == table["label"].to_numpy()
    accepted = table["accepted"].to_numpy(zero_copy_only=False)
    return float((accepted & right).sum() - (accepted & ~right).sum()) / max(1, len(keys))


def _scores(
    cfg: RunConfig,
    folder: Path,
    held: Sequence[str],
    rest: Sequence[str],
    truth: dict[str, int],
    *,
    n_classes: int,
    seed: int,
) -> tuple[list[int], npt.NDArray[np.float32]]:
    """Align the held-out clips with a gallery of the others.

    Returns the places in `held` of those that were embedded, and their scores [N, C].
    """
    with np.load(folder / KEPT) as kept:
        rows, embeddings = {key: i for i, key in enumerate(kept["keys"].tolist())}, torch.from_numpy(kept["embeddings"])
    known = sorted(key for key in rest if key in rows)
    bank = build_gallery(
        embeddings[[rows[key] for key in known]],
        [truth[key] for key in known],
        n_classes,
        cfg.embed.gallery_per_class,
        seed=seed,
        round=0,
    )
    places = [i for i, key in enumerate(held) if key in rows]
    asked = embeddings[[rows[held[i]] for i in places]]
    scorer = Scorer(trained_scorer(cfg, folder / WEIGHTS), asked.shape[1])
    with torch.inference_mode():
        return places, class_scores(asked, bank, scorer, cfg.frame_stage.loss).float().numpy()
