"""Test with f_E alone: many views of a video, softmax averaged (paper, sec 4.2); and two aligned pairs to look at.

Views of a short or square video that show the same are seen once.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from finepseudo.evaluation.metrics import classification_metrics
from finepseudo.run_folder.files import write_json, write_table
from finepseudo.run_folder.layout import METRICS, PREDICTIONS
from finepseudo.soft_dtw import soft_alignment, soft_dtw_pairwise
from jobs.config.run import RunConfig
from jobs.progress import Count
from jobs.workers.clip_parts import ActionJob, ActionParts, evaluation_reader, make_parts
from jobs.workers.map_parts import Pool
from jobs.workers.models import trained_frame_encoder, trained_scorer
from jobs.workers.part_files import PREDICTED, chunks, matrix, parts, read_parts
from jobs.workers.score import Scorer
from shards.files import atomic

PART = pa.schema(
    [("key", pa.string()), ("prediction", pa.int32()), ("p", pa.list_(pa.float32())), ("views", pa.int32())]
)
PREDICTION_SCHEMA = PART.insert(1, pa.field("label", pa.int32()))
"""Columns of predictions.parquet: those of its parts, and the true label."""
VIEWS_AT_ONCE = 16


class Tester(ActionParts[ActionJob]):
    """One actor."""

    def __init__(self, job: ActionJob, pool: Pool) -> None:
        """Load f_E."""
        super().__init__(job, pool, job.cfg.test_input().view())

    def table(self, keys: list[str]) -> pa.Table:
        """Predict the videos."""
        rows: list[npt.NDArray[np.float32]] = []
        shown = {key: self.reader.distinct(key) for key in keys}
        for batch in self.reader.batches(keys, self.job.cfg.evaluate.batch):
            seen = zip(batch.keys, batch.frames, strict=True)
            found = np.stack([self._predict(views[shown[key]]) for key, views in seen])
            found[~batch.valid.cpu().numpy()] = np.nan  # counted as invalid, never as a prediction
            rows.append(found)
        p = np.concatenate(rows)
        top = np.where(np.isfinite(p).all(1), np.nan_to_num(p).argmax(1), -1)
        return pa.table(
            [
                pa.array(column, type=field.type)
                for column, field in zip([keys, top, list(p), [len(shown[key]) for key in keys]], PART, strict=True)
            ],
            schema=PART,
        )

    def _predict(self, views: Tensor) -> npt.NDArray[np.float32]:
        """Average the softmax of the views [V, T, C, H, W] of one video: [C]."""
        p = torch.cat([self.encoder(part.to(self.device)).softmax(-1) for part in torch.split(views, VIEWS_AT_ONCE)])
        result: npt.NDArray[np.float32] = p.double().mean(0).float().cpu().numpy()
        return result


def evaluate(
    job: ActionJob,
    labels: dict[str, int],
    classes: Sequence[str],
    pool: Pool,
    *,
    about: dict[str, Any],
    count: Count,
) -> dict[str, Any]:
    """Test one trained f_E on the clips of `labels` (key -> true label).

    Writes predictions.parquet and metrics.json (`about` first) and returns the metrics.
    """
    rows = chunks(list(labels), job.cfg.evaluate.chunk)
    folder = job.folder / PREDICTED
    make_parts(Tester, replace(job, folder=folder), rows, pool, count)
    table = read_parts(parts(folder), PART.names)
    truth = pa.array([labels[key] for key in table["key"].to_pylist()], pa.int32())
    table = table.add_column(1, "label", truth)
    write_table(job.folder / PREDICTIONS, table.cast(PREDICTION_SCHEMA))
    metrics = classification_metrics(table["key"].to_pylist(), table["label"].to_pylist(), matrix(table["p"]), classes)
    views = table["views"].to_numpy()
    asked = job.cfg.test_input().view().count
    metrics = {**about, **metrics, "views": {"asked": asked, "mean": float(views.mean()), "least": int(views.min())}}
    write_json(job.folder / METRICS, metrics)
    shutil.rmtree(folder)
    return metrics


def choose_pairs(labels: dict[str, int]) -> dict[str, tuple[str, str]]:
    """Choose the first two test clips of the first class that has two, and a clip of the next class."""
    by_class: dict[int, list[str]] = {}
    for key in sorted(labels):
        by_class.setdefault(labels[key], []).append(key)
    several = [label for label in sorted(by_class) if len(by_class[label]) > 1]
    if not several or len(by_class) < 2:
        return {}
    first, second = by_class[several[0]][:2]
    other = next(by_class[label][0] for label in sorted(by_class) if label != several[0])
    return {"same": (first, second), "different": (first, other)}


@torch.inference_mode()
def write_examples(cfg: RunConfig, shards: Path, labels: dict[str, int], frame_weights: Path, path: Path) -> None:
    """Align one pair of one class and one of two classes with f_A and write cost, alignment and frames (npz)."""
    encoder, scorer = trained_frame_encoder(cfg, frame_weights), trained_scorer(cfg, frame_weights)
    pairs = choose_pairs(labels)
    reader = evaluation_reader(cfg, shards, [cfg.frame_input.view()], torch.device("cpu"))
    arrays: dict[str, npt.NDArray[Any]] = {}
    for tag, keys in pairs.items():
        batch = reader.read(keys)
        u, v = encoder(batch.frames[:, 0]).float()
        gamma = cfg.frame_stage.loss.gamma
        distance = soft_dtw_pairwise(u[None], v[None], gamma=gamma)
        cost, alignment = soft_alignment(u, v, gamma)
        arrays[f"{tag}_cost"], arrays[f"{tag}_alignment"] = cost.numpy(), alignment.numpy()
        for side, frames in zip("uv", batch.frames[:, 0], strict=True):
            arrays[f"{tag}_frames_{side}"] = to_images(frames, cfg)
        arrays[f"{tag}_keys"] = np.array(keys)
        arrays[f"{tag}_distance"] = distance.squeeze().numpy()
        arrays[f"{tag}_score"] = Scorer(scorer, len(u))(distance).squeeze().numpy()
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def to_images(frames: Tensor, cfg: RunConfig) -> npt.NDArray[np.uint8]:
    """Undo the normalisation of frames [T, C, H, W]: uint8 [T, H, W, 3] in RGB."""
    look = cfg.frame_input.augment
    mean, std = (torch.tensor(values)[:, None, None] for values in (look.mean, look.std))
    images = ((frames.cpu() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return images[..., ::-1] if look.channels == "bgr" else images
