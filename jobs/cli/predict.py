"""`finepseudo predict VIDEO`: one video through the encoders of a finished run.

The video is normalised into a shard of its own in a temporary folder, so that it is read exactly as the run's clips.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import torch

from finepseudo.evaluation.predict import Exemplars, Predictor, predict_clip
from finepseudo.run_folder.layout import RunPaths
from jobs.config.recipes import from_yaml
from jobs.config.run import RunConfig
from jobs.config.sections import ALIGNING, StrategyName
from jobs.workers.embed import evaluation_reader
from jobs.workers.labelling import read_truth
from jobs.workers.models import trained_action_encoder, trained_frame_encoder, trained_scorer
from jobs.workers.part_files import parts, read_embeddings
from jobs.workers.score import Scorer
from jobs.workers.train_loop import WEIGHTS
from shards.annotations.base import Clip, make_annotations
from shards.errors import UserError
from shards.splits.label_split import read_split
from shards.write.plans import plan_shards
from shards.write.writer import finish, write_shard

KEY = "video"


def predict(cfg: RunConfig, video: Path) -> int:
    """Print the most likely classes of a video and the labelled clips of the run that it aligns with best."""
    if not video.is_file():
        raise UserError(f"predict: {video}: no such file")
    run = RunPaths(cfg.folder)
    if not (run.root / "config.yaml").is_file():
        raise UserError(f"predict: {run.root}: no run folder; train first, or name the run with --name and out=")
    made = from_yaml(run.root / "config.yaml")
    predictor = load_predictor(made, run)
    with tempfile.TemporaryDirectory(prefix="finepseudo-") as folder:
        shards = _single_shard(made, video, Path(folder))
        device = torch.device("cpu")
        views = evaluation_reader(made, shards, [made.test_input().view()], device).read([KEY])
        frames = evaluation_reader(made, shards, [made.frame_input.view()], device).read([KEY])
    if not (bool(views.valid.all()) and bool(frames.valid.all())):
        raise UserError(f"predict: {video}: its frames cannot be decoded")
    prediction = predict_clip(predictor, views.frames[0], frames.frames[0, 0])
    sys.stdout.write("\n".join(prediction.lines()) + "\n")
    return 0


def load_predictor(cfg: RunConfig, run: RunPaths) -> Predictor:
    """Load the encoders of the last round of the run's first seed and the labelled embeddings of the same f_A."""
    seed, strategy, number = _newest(cfg, run)
    folder = run.round(seed, strategy if number else None, number)
    _, classes = read_truth(run.clips)
    labelled = read_split(run.split(seed)).items("labelled")
    truth = dict(zip(labelled.keys, labelled.labels.tolist(), strict=True))
    keys, embeddings = read_embeddings(parts(folder / "embeddings"), frozenset(labelled.keys))
    frame_weights = folder / "frame_encoder" / WEIGHTS
    return Predictor(
        action_encoder=trained_action_encoder(cfg, folder / "action_encoder" / WEIGHTS, len(classes)),
        frame_encoder=trained_frame_encoder(cfg, frame_weights),
        scorer=Scorer(trained_scorer(cfg, frame_weights), embeddings.shape[1]),
        exemplars=Exemplars(keys=keys, labels=[truth[key] for key in keys], embeddings=embeddings),
        classes=classes,
        gamma=cfg.frame_stage.loss.gamma,
    )


def _newest(cfg: RunConfig, run: RunPaths) -> tuple[int, StrategyName, int]:
    """Find the newest round whose embeddings by f_A are on disk, of an aligning strategy of the first seed."""
    for strategy in [name for name in cfg.strategies if name in ALIGNING]:
        for number in range(cfg.rounds, -1, -1):
            found = parts(run.round(cfg.seeds[0], strategy if number else None, number) / "embeddings")
            if found and pq.read_table(found[0], columns=["T"])["T"][0].as_py():
                return cfg.seeds[0], strategy, number
    raise UserError(
        f"predict: {run.root}: no round of {' or '.join(ALIGNING)} with embeddings; run `finepseudo run` to its end"
    )


def _single_shard(cfg: RunConfig, video: Path, folder: Path) -> Path:
    clip = Clip(name=KEY, path=str(video.resolve()), label=0, role="test", source=KEY)
    clips = make_annotations([clip], [KEY], "csv", "").clips
    here = replace(cfg.shards, store="")
    finish(folder, [write_shard(plan, folder, here) for plan in plan_shards(clips, here)], here)
    return folder
