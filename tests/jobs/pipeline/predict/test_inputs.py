"""What is named on the command line becomes clips: files, folders, lists, URLs, folders of frames."""

import pytest

from jobs.pipeline.predict.inputs import clips_of
from shards.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.mp4", "a.MOV", ".hidden.mp4", "notes.txt", "deep/c.webm", "frames/0001.jpg", "frames/0002.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    return tmp_path / "in"


def named(*given):
    return [(clip.path, clip.start, clip.end) for clip in clips_of(given)]


def test_a_folder_is_its_videos_and_its_folders_of_frames(folder):
    below = [path for path, _, _ in named(folder)]
    assert below == [str(folder / name) for name in ("a.MOV", "b.mp4", "deep/c.webm", "frames")]
    assert named(folder / "frames") == [(str(folder / "frames"), None, None)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b.mp4\ndeep/c.webm\nb.mp4\n", [("b.mp4", None, None), ("deep/c.webm", None, None)]),
        ("path,label,start,end\nb.mp4,tuck,1.5,2\nb.mp4,,2,3\n", [("b.mp4", 1.5, 2.0), ("b.mp4", 2.0, 3.0)]),
    ],
)
def test_a_list_gives_paths_relative_to_it_and_windows(folder, text, expected):
    (folder / "list.csv").write_text(text)
    assert named(folder / "list.csv") == [(str(folder / path), start, end) for path, start, end in expected]


def test_urls_stay_and_each_clip_comes_once_in_the_order_given(folder):
    url = "https://host/a.mp4?x=1"
    made = clips_of([url, folder / "b.mp4", url, "nowhere.mp4"])
    assert [clip.path.rpartition("/")[2] for clip in made] == ["a.mp4?x=1", "b.mp4", "nowhere.mp4"]
    assert [clip.key for clip in made] == sorted(clip.key for clip in made)


def test_a_folder_without_a_video_is_refused(tmp_path):
    with pytest.raises(UserError, match="no video and no folder of images"):
        clips_of([tmp_path])
