"""Strips of frames for a page: what is in them, and that nothing fails for lack of shards."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from finepseudo.run_folder.layout import RunPaths
from jobs.config.recipes import load
from jobs.workers.thumbnails import SIDE, STRIP, strip, strips
from shards.annotations.base import Clip, make_annotations
from shards.write.plans import plan_shards
from shards.write.writer import finish, write_shard
from tests.shards.make_clips import read_number, write_numbered


def pixels(uri):
    head, _, data = uri.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_frames_lie_side_by_side():
    frames = torch.stack([torch.full((3, 8, 8), value) for value in (0.0, 0.5, 1.0)])
    image = pixels(strip(frames))
    assert image.shape == (8, 24, 3)
    assert image[:, [4, 12, 20]].mean((0, 2)) == pytest.approx([0, 127, 255], abs=4)


@pytest.fixture
def cfg(tmp_path):
    """A run folder with shards of two numbered clips."""
    cfg = load("smoke", [f"out={tmp_path}"])
    clips = [Clip(name=n, path=str(tmp_path / f"{n}.mp4"), label=0, role="test", source=n) for n in "ab"]
    for clip in clips:
        write_numbered(tmp_path / f"{clip.name}.mp4", 60)
    shards = RunPaths(cfg.folder).shards
    shards.mkdir(parents=True)
    made = make_annotations(clips, ["x"], "csv", "1").clips
    finish(shards, [write_shard(plan, shards, cfg.shards) for plan in plan_shards(made, cfg.shards)], cfg.shards)
    return cfg


def test_a_strip_goes_through_the_whole_clip(cfg):
    found = strips(cfg, ["b", "a", "no such clip"])
    assert set(found) == {"a", "b"}
    image = pixels(found["a"])
    assert image.shape == (SIDE, STRIP * SIDE, 3)
    numbers = [image[:, place * SIDE : (place + 1) * SIDE].mean() for place in range(STRIP)]
    assert len(set(numbers)) == STRIP, "no two frames are the same"
    assert read_number(image[:, :SIDE]) != read_number(image[:, -SIDE:])


def test_without_shards_there_are_no_thumbnails_and_a_warning(cfg, tmp_path, caplog):
    assert strips(replace(cfg, name="other"), ["a"]) == {}
    assert "no thumbnails of clips" in caplog.text
