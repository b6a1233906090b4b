"""One video through a finished run, from Python: with f_A, without it, and where something is missing."""

import shutil

import pytest
import torch

from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.training.checkpoint import load_weights
from jobs.pipeline.predict import load_predictor, predict_video
from jobs.pipeline.run_folder import read_config
from shards.errors import UserError
from tests.shards.make_clips import write_numbered
from tests.small_run import write_small_run


@pytest.fixture
def run(tmp_path):
    write_numbered(tmp_path / "dive.mp4", 24)
    return write_small_run(tmp_path / "runs" / "small")


def test_a_run_that_was_moved_says_classes_and_matches(run, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(run, moved)
    made = predict_video(moved, tmp_path / "dive.mp4", top=3, matches=2)
    assert len(made.classes) == 3
    assert len(made.matches) == 2
    assert made.classes[0].probability >= made.classes[1].probability > 0
    assert predict_video(moved, tmp_path / "dive.mp4", top=3, matches=2).classes == made.classes


def test_a_method_that_has_not_begun_does_not_stand_for_one_that_has(run):
    """Round 0 is shared: it is every method's, and nobody's newest while another has gone on."""
    paths = RunPaths(run)
    shared = paths.action_encoder(0, None, 0)
    paths.action_encoder(0, "finepseudo", 1).rename(run / "aside")
    shutil.copytree(run / "aside", shared, dirs_exist_ok=True)
    expected = load_weights(paths.action_encoder(0, "pseudo_label", 1) / WEIGHTS, "encoder.")
    found = load_predictor(read_config(run), paths).action_encoder.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_run_without_embeddings_says_classes_alone(run, tmp_path):
    shutil.rmtree(RunPaths(run).embeddings(0, "finepseudo", 1))
    made = predict_video(run, tmp_path / "dive.mp4")
    assert len(made.classes) == 4
    assert made.matches == ()


@pytest.mark.parametrize(
    ("folder", "video", "words"),
    [
        ("runs/small", "nowhere.mp4", "nowhere.mp4: no such file"),
        ("runs/other", "dive.mp4", "no run folder"),
        ("runs/small", "text.mp4", "not_a_video"),
    ],
)
def test_what_is_missing_is_said_in_one_line(run, tmp_path, folder, video, words):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=words) as refused:
        predict_video(tmp_path / folder, tmp_path / video)
    assert "\n" not in str(refused.value)
