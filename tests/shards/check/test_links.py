"""A file that a list names by two paths."""

import os

import pytest

from shards.check.links import linked


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (("train", 0), ("test", 0), ["in training and test"]),
        (("labelled", 0), ("unlabelled", 1), ["with two classes"]),
        (("train", 0), ("test", 1), ["in training and test", "with two classes"]),
        (("train", 0), ("train", 0), []),
        (("labelled", 0), ("unlabelled", -1), []),
    ],
)
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_to_a_file_of_another_use_is_warned_of(tmp_path, link, first, second, says):
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "b.mp4").write_text("x")
    link(tmp_path / "a.mp4", tmp_path / "c.mp4")
    rows = [("a", *first), ("b", "test", 1), ("c", *second)]
    found = list(linked((f"{tmp_path}/{name}.mp4", role, label) for name, role, label in rows))
    assert [line.split(", ")[1].partition(":")[0] for line in found] == says
    assert all(f"{tmp_path}/a.mp4 and {tmp_path}/c.mp4; remove one" in line for line in found)


def test_parts_of_one_file_frames_and_what_is_not_there_are_none(tmp_path):
    (tmp_path / "a.mp4").write_text("x")
    (tmp_path / "frames").mkdir()
    (tmp_path / "same").symlink_to(tmp_path / "frames")
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    paths = [f"{tmp_path}/a.mp4", f"{tmp_path}/gone.mp4", "s3://b/a.mp4", "tar://a.mp4::b.tar", "a\0b"]
    assert list(linked([*((path, "train", 0) for path in paths), (f"{tmp_path}/a.mp4", "test", 1)])) == []
    frames = [(f"{tmp_path}/frames", "train", 0), (f"{tmp_path}/same", "test", 0)]
    assert len(list(linked(frames))) == 1
