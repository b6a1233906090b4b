"""A small finished run that the product can open: drawn tables, a real split and real, untrained encoders.

Made in a second without Ray; its numbers are evidence of nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from finepseudo.alignment.scorer import AlignabilityScorer
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.training.checkpoint import save_weights
from jobs.config.recipes import load, to_yaml
from jobs.workers.embed import to_table
from jobs.workers.part_files import write_part
from shards.annotations.base import read_clips
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split, write_split
from tests.finepseudo.report.run_folder_fixture import write_run_folder

METHODS = ("supervised", "pseudo_label", "finepseudo")
FRAMES = 4


def write_small_run(folder: Path) -> Path:
    """Write seed 0 of three methods, one round of self-training; f_A and f_S where FinePseudo has them."""
    write_run_folder(folder, seeds=(0,), methods=METHODS, rounds=2, n_classes=4, per_class=(2, 3, 2), steps=2)
    cfg = replace(load("smoke", ["rounds=1"]), methods=METHODS, out=str(folder.parent), name=folder.name)
    run = RunPaths(folder)
    run.config.write_text(to_yaml(cfg))
    found = read_clips(run.clips)
    split = draw_split(found, SplitConfig(ratio=0.4), 0)
    write_split(run.split(0), split)
    torch.manual_seed(0)
    f_a, f_s = build_frame_encoder(cfg.frame_encoder), AlignabilityScorer(cfg.frame_stage.scorer)
    for method in METHODS:
        f_e = build_action_encoder(cfg.action_encoder, len(found.classes))
        place = run.action_encoder(0, method, 1) / WEIGHTS
        place.parent.mkdir(parents=True, exist_ok=True)
        save_weights(place, {f"encoder.{name}": value for name, value in f_e.state_dict().items()})
    tensors = {f"encoder.{name}": value for name, value in f_a.state_dict().items()}
    tensors |= {f"scorer.{name}": value for name, value in f_s.state_dict().items()}
    place = run.frame_encoder(0, "finepseudo", 1) / WEIGHTS
    place.parent.mkdir(parents=True, exist_ok=True)
    save_weights(place, tensors)
    keys = sorted([*split.keys("labelled"), *split.keys("unlabelled")])
    n, size = len(keys), cfg.frame_encoder.size("embedding")
    u = torch.nn.functional.normalize(torch.randn(n, FRAMES, size), dim=-1)
    p_e = torch.full((n, len(found.classes)), 1 / len(found.classes))
    part = to_table(keys, u, p_e, torch.zeros(n), torch.from_numpy(np.ones(n, np.bool_)))
    place = run.embeddings(0, "finepseudo", 1) / "part-000000.parquet"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_part(place, part)
    return folder
