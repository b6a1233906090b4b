import pytest

from shards.annotations import load
from shards.annotations.config import DatasetConfig
from shards.check.missing import in_common
from shards.sources.presence import missing_paths
from tests.shards.make_clips import need_data


@pytest.mark.parametrize(
    ("there", "listed", "said"),
    [
        ("v/{}.mp4", "v/{} 10", None),
        ("v/{}", "v/{} 10", "behind each stands a number"),
        ("v/{}.webm", "v/{}", "lack their file ending"),
        ("v/{}.mp4", "v/{}.avi", "have another file ending"),
        ("v/{}.mp4", "v/{}.MP4", "other capitals"),
        ("v/e\u0301{}.mp4", "v/\u00e9{}.mp4", "another Unicode form"),
        ("v/\u00e9{}.mp4", "v/E\u0301{}.MP4", "other capitals"),
        ("v/{}.MP4", "v/{}", "lack their file ending"),
        ("v/{}.mp4", "v/rgb/{}.mp4", "a folder too many, rgb"),
        ("v/rgb/{}.mp4", "v/{}.mp4", "lack a folder"),
        ("v/{}.mp4", "w/deep/{}.mp4", "there is no folder"),
        ("v/{}.mp4", "v\\{}.mp4", "hold backslashes"),
        ("v/{}.mp4", "C:\\v\\{}.mp4", "a drive of Windows"),
        ("v/{}.mp4", "v/other{}.mp4", None),
    ],
)
def test_what_missing_paths_have_in_common(tmp_path, there, listed, said):
    for number in range(30):
        path = tmp_path / there.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    found = in_common([f"{tmp_path}/{listed.format(number)}" for number in range(30)])
    assert (said in found) if said else not found


def test_one_path_that_differs_hides_what_the_others_share(tmp_path):
    (tmp_path / "a.mp4").write_text("x")
    assert "ending" in in_common([f"{tmp_path}/a"])
    assert in_common([f"{tmp_path}/a", f"{tmp_path}/b"]) == ""


@pytest.mark.parametrize(("name", "said"), [("noext.csv", "lack their file ending"), ("windows.csv", "Windows")])
def test_lists_that_people_report(name, said):
    path = need_data("cases/list_headers") / name
    ann = load(DatasetConfig(name="csv", lists={"all": str(path)}))
    assert said in in_common(missing_paths(ann.clips["path"].to_pylist()))


def test_empty_files_are_there_and_are_said_to_be_empty(tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert in_common([str(tmp_path / "empty.mp4")]) == "all are there but empty, 0 bytes: copy the files again"
