from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from shards.annotations import load, load_phases
from shards.annotations.config import DatasetConfig
from shards.annotations.penn_action import PHASES, read_phases
from shards.errors import UserError
from shards.write.config import ShardConfig
from shards.write.plans import plan_shards
from shards.write.writer import write_shard

from .real import counts, row


def _save(folder, part, action, video, phases):
    path = folder / part / action / f"{video}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, phases)


@pytest.fixture
def cfg(tmp_path):
    _save(tmp_path, "train", "bowl", "0417", np.array([0, 0, 1, 2]))
    _save(tmp_path, "val", "squat", "1720", np.array([-1, 0, 1, 2, 3, -1], dtype=np.int32))
    return DatasetConfig(name="penn_action", root=str(tmp_path), videos="/penn/frames")


def test_frame_folders_actions_and_roles(cfg):
    ann = load(cfg)
    assert counts(ann) == {"train": 1, "test": 1}
    clip = row(ann, "1720")
    assert (clip["path"], ann.classes[clip["label"]], clip["role"]) == ("/penn/frames/1720", "squat", "test")
    assert len(ann.classes) == len(PHASES) == 13


def test_its_frame_folders_become_clips_with_a_frame_for_every_phase(cfg, tmp_path):
    for video, count in (("0417", 4), ("1720", 6)):
        folder = tmp_path / "frames" / video
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            Image.new("RGB", (64, 48), (40 * number, 0, 0)).save(folder / f"{number:06d}.jpg")
    ann = load(replace(cfg, videos=""))
    (plan,) = plan_shards(ann.clips, ShardConfig(), 30.0)
    result = write_shard(plan, tmp_path / "shards", ShardConfig())
    assert not result.quarantine
    assert {row["key"]: row["n_frames"] for row in result.rows} == {
        clip["key"]: len(clip["phases"]) for clip in read_phases(cfg).to_pylist()
    }


def test_phases_are_kept_frame_by_frame(cfg):
    assert read_phases(cfg).to_pylist() == [
        {"key": "0417", "phases": [0, 0, 1, 2]},
        {"key": "1720", "phases": [-1, 0, 1, 2, 3, -1]},
    ]


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        (np.array([0, 3]), "bowl has 3"),
        (np.array([0.5]), "whole numbers"),
        (np.zeros((2, 2), int), "whole numbers"),
        (np.zeros(0, int), "whole numbers"),
        (np.array([{}], dtype=object), "cannot be read"),
    ],
)
def test_bad_phase_files_are_refused(cfg, tmp_path, phases, words):
    _save(tmp_path, "train", "bowl", "0500", phases)
    with pytest.raises(UserError, match=rf"1 of 3 rows are bad: bowl/0500\.npy .*{words}"):
        load(cfg)


def test_other_actions_and_empty_folders_are_refused(cfg, tmp_path):
    _save(tmp_path, "train", "jump_rope", "0900", np.array([0]))
    with pytest.raises(UserError, match="none of the 13 actions"):
        load(cfg)
    with pytest.raises(UserError, match="phase label folder"):
        load(DatasetConfig(name="penn_action", root=str(tmp_path / "none")))


def test_phases_are_asked_of_a_data_set_by_its_name(cfg):
    assert load_phases(cfg) == read_phases(cfg)
    with pytest.raises(UserError, match=r"data.name = diving48: tells no phases of frames; penn_action does"):
        load_phases(DatasetConfig(name="diving48"))
