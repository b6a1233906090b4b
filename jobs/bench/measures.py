"""What the method study reads from a finished run folder: verification of pairs, pseudo-labels, accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from finepseudo.evaluation.metrics import average_precision, balanced_pairs
from finepseudo.methods.table import METHODS
from finepseudo.run_folder.files import read_json
from finepseudo.run_folder.layout import METRICS, PSEUDO_LABELS, WEIGHTS, RunPaths
from finepseudo.soft_dtw import class_alignability, soft_dtw_pairwise
from jobs.config.run import RunConfig
from jobs.workers.clip_parts import evaluation_reader
from jobs.workers.labelling import read_truth
from jobs.workers.models import trained_frame_encoder, trained_scorer
from jobs.workers.part_files import GALLERY
from jobs.workers.score import Scorer, read_gallery
from shards.splits.label_split import read_split

Numbers = dict[str, float]


def measure(cfg: RunConfig) -> Numbers:
    """Collect the numbers of the study from the run of one seed, by name."""
    paths, seed = RunPaths(cfg.folder), cfg.seeds[0]
    truth, classes = read_truth(paths.clips)
    test = read_split(paths.split(seed)).keys("test")
    labels = np.array([truth[key] for key in test])
    found: Numbers = {}
    if any(METHODS[name].aligns for name in cfg.methods):
        found |= _verification(cfg, paths, test, labels)
        found["top1 f_A alone, round 0"] = _gallery_accuracy(cfg, paths, None, 0, (test, labels, len(classes)))
    for name in cfg.methods:
        method = METHODS[name]
        found[f"top1 {name}"] = float(read_json(paths.evaluation(seed, name) / METRICS)["top1"])
        if method.vote is not None:
            found |= _labels(paths.round(seed, name, 0) / PSEUDO_LABELS, name, truth)
        if method.aligns and cfg.rounds and cfg.embed.last_round:
            accuracy = _gallery_accuracy(cfg, paths, name, cfg.rounds, (test, labels, len(classes)))
            found[f"top1 f_A alone, {name}"] = accuracy
    return found


@torch.inference_mode()
def _embedded(cfg: RunConfig, shards: Path, weights: Path, keys: Sequence[str]) -> Tensor:
    """Embed clips by a trained f_A: [N, T, F]."""
    encoder = trained_frame_encoder(cfg, weights)
    reader = evaluation_reader(cfg, shards, [cfg.frame_input.view()], torch.device("cpu"))
    return torch.cat([encoder(batch.frames[:, 0]).float() for batch in reader.batches(keys, cfg.embed.batch)])


@torch.inference_mode()
def _verification(cfg: RunConfig, paths: RunPaths, test: Sequence[str], labels: np.ndarray) -> Numbers:
    """Average precision of telling same-class from different-class test pairs (Fig. 1c) by four measures."""
    seed, gamma = cfg.seeds[0], cfg.frame_stage.loss.gamma
    i, j, same = balanced_pairs(labels, seed)
    found: Numbers = {}
    folders = {"GITDL": paths.pretrain(cfg.pretrain.owner(seed)), "metric learning": paths.frame_encoder(seed, None, 0)}
    for after, folder in folders.items():
        embeddings = _embedded(cfg, paths.shards, folder / WEIGHTS, test)
        pooled = torch.nn.functional.normalize(embeddings.mean(1), dim=-1)
        distances = soft_dtw_pairwise(embeddings, gamma=gamma)
        measures = {
            "pooled cosine": pooled @ pooled.T,
            "frame-wise cosine": torch.einsum("itf,jtf->ij", embeddings, embeddings) / embeddings.shape[1],
            "DTW": -distances,
        }
        if after != "GITDL":
            scorer = Scorer(trained_scorer(cfg, folder / WEIGHTS), embeddings.shape[1])
            measures["learned S"] = scorer(distances)
        for name, value in measures.items():
            found[f"{name} after {after}"] = average_precision(value.numpy()[i, j], same)
    return found


@torch.inference_mode()
def _gallery_accuracy(
    cfg: RunConfig, paths: RunPaths, method: str | None, number: int, test: tuple[Sequence[str], np.ndarray, int]
) -> float:
    """Top-1 on the test clips by the class with the highest mean alignability (eq. 7): f_A without f_E."""
    seed, (keys, labels, n_classes) = cfg.seeds[0], test
    weights = paths.frame_encoder(seed, method, number) / WEIGHTS
    embeddings = _embedded(cfg, paths.shards, weights, keys)
    bank = read_gallery(
        paths.scores(seed, method, number) / GALLERY, n_classes, cfg.embed.gallery_dtype, torch.device("cpu")
    )
    scorer = Scorer(trained_scorer(cfg, weights), embeddings.shape[1])
    scores = class_alignability(embeddings, bank, scorer, cfg.frame_stage.loss.gamma)
    return float((scores.argmax(-1).numpy() == labels).mean())


def _labels(path: Path, name: str, truth: dict[str, int]) -> Numbers:
    """Count the pseudo-labels of the first round, and what as many of f_E's surest would have been worth."""
    table = pq.read_table(path, columns=["key", "label", "label_E", "p_E_max", "accepted"])
    right = np.array([truth[key] for key in table["key"].to_pylist()])
    label, by_action, surest = (table[column].to_numpy() for column in ("label", "label_E", "p_E_max"))
    accepted = table["accepted"].to_numpy(zero_copy_only=False).astype(bool)
    first = np.argsort(-surest, kind="stable")[: int(accepted.sum())]
    return {
        f"{name}: accepted": float(accepted.sum()),
        f"{name}: precision": _share(label[accepted] == right[accepted]),
        f"{name}: precision of f_E at equal count": _share(by_action[first] == right[first]),
        f"{name}: classes covered": float(len(np.unique(label[accepted]))),
    }


def _share(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else float("nan")
