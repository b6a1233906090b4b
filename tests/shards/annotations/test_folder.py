import pytest

from shards.annotations import annotation_files, load
from shards.annotations.config import DatasetConfig
from shards.errors import UserError


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return DatasetConfig(name="folder", root=str(root))


def rows(ann):
    return [
        (r["path"].rpartition("/root/")[2], ann.classes[r["label"]] if r["label"] >= 0 else "", r["role"])
        for r in ann.clips.to_pylist()
    ]


def test_a_folder_for_each_class_and_one_for_the_pool(tmp_path):
    cfg = fill(tmp_path / "root", "run/a.mp4", "back flip/b.MOV", "run/day 1/c.mp4", "unlabeled/x/d.mp4", ".git/e.mp4")
    fill(tmp_path / "root", "run/notes.txt", "frames/f1/img_001.jpg", "frames/f1/img_002.jpg", "frames/f2/img_001.jpg")
    ann = load(cfg)
    assert sorted(rows(ann)) == [
        ("back flip/b.MOV", "back flip", "train"),
        ("frames/f1", "frames", "train"),
        ("frames/f2", "frames", "train"),
        ("run/a.mp4", "run", "train"),
        ("run/day 1/c.mp4", "run", "train"),
        ("unlabeled/x/d.mp4", "", "unlabelled"),
    ]
    assert annotation_files(cfg) == [tmp_path / "root"]


def test_a_folder_for_each_role_above_the_classes(tmp_path):
    cfg = fill(tmp_path / "root", "train/run/a.mp4", "val/run/b.mp4", "test/jump/c.mp4", "pool/d.mp4")
    assert sorted(rows(load(cfg))) == [
        ("pool/d.mp4", "", "unlabelled"),
        ("test/jump/c.mp4", "jump", "test"),
        ("train/run/a.mp4", "run", "train"),
        ("val/run/b.mp4", "run", "train"),
    ]


def test_clips_of_one_video_have_one_source(tmp_path):
    ann = load(fill(tmp_path / "root", "A/v_A_g01_c01.avi", "A/v_A_g01_c02.avi", "B/v_B_g01_c01.avi"))
    assert ann.clips["source"].to_pylist() == ["v_A_g01", "v_A_g01", "v_B_g01"]


def test_what_is_no_such_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        load(DatasetConfig(name="folder", root=str(tmp_path / "gone")))
    with pytest.raises(UserError, match="holds 1 videos beside no folder and 1 in unlabelled/; either put the videos"):
        load(fill(tmp_path / "root", "a.mp4", "unlabelled/b.mp4"))
    ann = load(fill(tmp_path / "root", "run/c.mp4"))
    assert any("1 videos beside the folders are not used (a.mp4)" in remark for remark in ann.remarks)
