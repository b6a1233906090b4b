"""What the exported script makes of frames, beside what the run's reader makes of the same stored clip."""

from __future__ import annotations

import io
import json

import av
import numpy as np
import pytest
import torch

from jobs.config.recipes import load
from jobs.pipeline.export import loader
from jobs.pipeline.export.preprocessing import preprocessing
from jobs.workers.clip_parts import evaluation_reader
from shards.storage.manifest import Manifest
from shards.write.normalise import normalise
from tests.shards.make_clips import write_numbered
from tests.shards.numbered import encode, shard

SIZES = {"wide": (160, 96), "tall": (64, 112), "square": (50, 50), "small": (24, 20)}
LENGTHS = {"wide": 23, "tall": 40, "square": 1, "small": 9}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[Manifest, dict[str, np.ndarray]]:
    """Clips of several shapes in shards, and every frame that is stored of them."""
    folder = tmp_path_factory.mktemp("shapes")
    paths = {
        key: write_numbered(folder / f"{key}.mp4", LENGTHS[key], width=width, height=height)
        for key, (width, height) in SIZES.items()
    }
    paths["coloured"] = encode(folder / "coloured.avi", 3, 12, "ffv1")
    frames = {}
    for key, path in paths.items():
        with av.open(io.BytesIO(normalise("video", path).data)) as container:
            frames[key] = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    return shard(folder / "shards", paths, "h264"), frames


@pytest.mark.parametrize(
    ("overrides", "encoder"),
    [
        (["evaluate={views: 2, crops: 3}"], "action_encoder"),
        (["evaluate={views: 3, crops: 1}", "action_input.augment={size: 24, channels: bgr}"], "action_encoder"),
        (
            ["action_input.sampling={policy: dense, frames: 6, stride: 3}", "evaluate={views: 1, crops: 3}"],
            "action_encoder",
        ),
        (["frame_input.augment={size: 32, mean: [0.1, 0.2, 0.3], std: [0.5, 0.4, 0.3]}"], "frame_encoder"),
    ],
)
def test_it_prepares_a_clip_as_the_run_reads_it(clips, tmp_path, monkeypatch, overrides, encoder):
    cfg = load("smoke", ["reading.prefetch=0", *overrides])
    manifest, frames = clips
    (tmp_path / "preprocessing.json").write_text(json.dumps(preprocessing(cfg, frame_encoder=True)))
    monkeypatch.setattr(loader, "HERE", tmp_path)
    inputs = cfg.test_input() if encoder == "action_encoder" else cfg.frame_input
    reader = evaluation_reader(cfg, manifest.folder, [inputs.view()], torch.device("cpu"))
    grey = torch.tensor(inputs.augment.std)[:, None, None] * 255
    for key in frames:
        found, read = loader.prepare(frames[key], encoder), reader.read([key]).frames[0]
        crops = inputs.augment.crops
        wanted = read.unflatten(0, (-1, crops)).transpose(0, 1).flatten(0, 1)  # the run: crops of a view side by side
        assert found.shape == wanted.shape, key
        apart = ((found - wanted) * grey).abs()
        assert float(apart.max()) <= 1.01, f"{key}: levels of grey"
