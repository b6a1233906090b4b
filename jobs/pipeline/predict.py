"""One video through the encoders of a finished run: `finepseudo predict VIDEO`, and the same from Python.

The video is normalised into a shard of its own in a temporary folder, so that it is read exactly as the run's clips.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from finepseudo.evaluation.predict import Alignment, Exemplars, Prediction, Predictor, predict
from finepseudo.methods.base import AnyMethod
from finepseudo.methods.table import METHODS, in_order
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from jobs.config.run import RunConfig
from jobs.pipeline.run_folder import read_config
from jobs.workers.embed import evaluation_reader
from jobs.workers.labelling import read_truth
from jobs.workers.models import trained_action_encoder, trained_frame_encoder, trained_scorer
from jobs.workers.part_files import parts, read_embeddings
from jobs.workers.score import Scorer
from shards.annotations.base import Clip, make_annotations
from shards.errors import UserError
from shards.splits.label_split import read_split
from shards.write.plans import plan_shards
from shards.write.writer import finish, write_shard

KEY = "video"


def predict_video(
    folder: str | Path, video: str | Path, *, cfg: RunConfig | None = None, top: int = 5, matches: int = 3
) -> Prediction:
    """Predict one video file with the run in `folder`, as it was tested.

    cfg: read from the folder unless it is given. `top` classes come back and, where the run has f_A, the `matches`
    labelled clips that the video aligns with best. UserError when the run is not finished or the video not readable.
    """
    video, run = Path(video), RunPaths(Path(folder))
    if not video.is_file():
        raise UserError(f"predict: {video}: no such file")
    if not run.config.is_file():
        raise UserError(f"predict: {run.root}: no run folder; train first, or name the run with --name and out=")
    cfg = read_config(run.root) if cfg is None else cfg
    predictor = load_predictor(cfg, run)
    seen = [cfg.test_input().view("test"), *([cfg.frame_input.view("frame")] if predictor.alignment else [])]
    with tempfile.TemporaryDirectory(prefix="finepseudo-") as place:
        shards = _single_shard(cfg, video, Path(place))
        device = torch.device("cpu")
        batch = evaluation_reader(cfg, shards, seen, device).read([KEY])
        shown = evaluation_reader(cfg, shards, seen[:1], device).distinct(KEY)
    if not bool(batch.valid.all()):
        raise UserError(f"predict: {video}: its frames cannot be decoded")
    frames = batch.views["frame"].frames[0, 0] if predictor.alignment else None
    return predict(predictor, batch.views["test"].frames[0, shown], frames, top=top, matches=matches)


def load_predictor(cfg: RunConfig, run: RunPaths) -> Predictor:
    """Load the encoders of the last round of the run's first seed and the labelled embeddings of the same f_A."""
    seed = cfg.seeds[0]
    method, number = _newest(cfg, run, seed)
    _, classes = read_truth(run.clips)
    weights = run.action_encoder(seed, method.name, number) / WEIGHTS
    return Predictor(
        action_encoder=trained_action_encoder(cfg, weights, len(classes), method.name if number else None),
        alignment=_alignment(cfg, run, seed, method, number),
        classes=classes,
    )


def _newest(cfg: RunConfig, run: RunPaths, seed: int) -> tuple[AnyMethod, int]:
    """Find the last round with a trained f_E, of the method that the report shows in detail where it has one."""
    for number in range(max(cfg.rounds, 1), -1, -1):
        for name in reversed(in_order(cfg.methods)):
            if (run.action_encoder(seed, name, number) / WEIGHTS).is_file():
                return METHODS[name], number
    raise UserError(f"predict: {run.root}: no trained action encoder; run `finepseudo run` to its end")


def _alignment(cfg: RunConfig, run: RunPaths, seed: int, method: AnyMethod, number: int) -> Alignment | None:
    """Load f_A, f_S and the labelled embeddings of the method's newest round that has them."""
    for last in range(number if method.aligns else 0, -1, -1):
        found = parts(run.embeddings(seed, method.name, last))
        if found and pq.read_table(found[0], columns=["T"])["T"][0].as_py():
            break
    else:
        return None
    labelled = read_split(run.split(seed)).items("labelled")
    truth = dict(zip(labelled.keys, labelled.labels.tolist(), strict=True))
    keys, embeddings = read_embeddings(found, pa.array(labelled.keys, pa.string()))
    weights = run.frame_encoder(seed, method.name, last) / WEIGHTS
    return Alignment(
        frame_encoder=trained_frame_encoder(cfg, weights),
        scorer=Scorer(trained_scorer(cfg, weights), embeddings.shape[1]),
        exemplars=Exemplars(keys=keys, labels=[truth[key] for key in keys], embeddings=embeddings),
        gamma=cfg.frame_stage.loss.gamma,
    )


def _single_shard(cfg: RunConfig, video: Path, folder: Path) -> Path:
    clip = Clip(name=KEY, path=str(video.resolve()), label=0, role="test", source=KEY)
    clips = make_annotations([clip], [KEY], "csv", "").clips
    here = replace(cfg.shards, store="")
    finish(folder, [write_shard(plan, folder, here) for plan in plan_shards(clips, here)], here)
    return folder
