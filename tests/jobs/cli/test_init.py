"""From a folder to a list and a recipe that the other commands take."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

from jobs.cli.main import main
from jobs.config.recipes import load
from tests.shards.make_clips import write_numbered


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def fill(*names, frames=30):
        for name in names:
            path = tmp_path / "dives" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_numbered(path, frames)
        return tmp_path / "dives"

    return fill


def listed(path="dives.csv"):
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


CLASSES = [f"{name}/{name}{n}.mp4" for name in ("tuck", "pike") for n in range(5)]


def test_class_folders_and_a_pool(desk, capsys):
    desk(*CLASSES, "unlabelled/u0.mp4", "unlabelled/u1.mp4")
    assert main(["init", "dives", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "12 clips of 2 classes: 8 labelled, 2 test, 2 unlabelled" in said
    assert "decoded: 12 of 12 clips" in said
    rows = {row["path"]: (row["class"], row["role"]) for row in listed()}
    assert rows["dives/unlabelled/u0.mp4"] == ("", "unlabelled")
    assert sorted(c for c, role in rows.values() if role == "test") == ["pike", "tuck"]
    assert main(["check", "--recipe", "dives.yaml", "--decode", "all"]) == 0
    assert "8 labelled, 2 unlabelled, 2 test (lists" in capsys.readouterr().out
    assert main(["run", "--recipe", "dives.yaml", "--dry-run"]) == 0
    cfg = load("dives.yaml")
    assert cfg.frame_input.sampling.frames == 20
    kilobytes = 4 * 20 * cfg.frame_encoder.size("embedding") * (8 + 2) / 1000
    assert f"embeddings  {kilobytes:.0f} kB a round" in capsys.readouterr().out


def test_a_folder_of_classes_needs_no_list(desk, capsys):
    desk(*CLASSES, "unlabelled/u0.mp4")
    assert main(["check", "--recipe", "smoke", "--data", "folder:dives"]) == 0
    said = capsys.readouterr().out
    assert "classes (clips): pike 5, tuck 5, (no class) 1" in said
    assert "8 labelled, 1 unlabelled, 2 test (lists; 20% held out as the test" in said


def test_a_flat_folder_with_a_list(desk, capsys):
    folder = desk(*(f"{n}.mp4" for n in range(8)))
    rows = "".join(f"/elsewhere/{n}.mp4,{'tuck' if n % 2 else 'pike'}\n" for n in range(6))
    (folder / "mine.csv").write_text(f"file,tag\n{rows}/elsewhere/6.mp4,\n/elsewhere/7.mp4,\n")
    assert main(["init", "dives"]) == 0
    assert "8 clips of 2 classes: 4 labelled, 2 test, 2 unlabelled" in capsys.readouterr().out
    assert {row["path"] for row in listed()} == {f"dives/{n}.mp4" for n in range(8)}


def _task(n, kind, start):
    value = {"timelinelabels": [kind], "ranges": [{"start": start, "end": start + 24}]}
    return {"data": {"video": f"/data/upload/4/0a1b2c3d-{n}.mp4"}, "annotations": [{"result": [{"value": value}]}]}


def test_an_export_of_a_tool(desk, capsys):
    folder = desk(*(f"deep/{n}.mp4" for n in range(6)), frames=50)
    tasks = [_task(n, "tuck" if n % 2 else "pike", 1 + 2 * n) for n in range(5)]
    tasks.append({"data": {"video": "/data/upload/4/0a1b2c3d-5.mp4"}, "annotations": []})
    (folder / "export.json").write_text(json.dumps(tasks))
    assert main(["init", "dives", "--list", "dives/export.json", "--out", "mine.csv"]) == 0
    rows = {row["path"]: row for row in listed("mine.csv")}
    assert (rows["dives/deep/1.mp4"]["start"], rows["dives/deep/1.mp4"]["end"]) == ("0.08", "1.08")
    assert rows["dives/deep/5.mp4"]["role"] == "unlabelled"
    assert main(["check", "--recipe", "mine.yaml"]) == 0


def test_sides_are_never_mirrored_and_a_full_set_hides_half(desk):
    desk(*(f"{side}_turn/{side}{n}.mp4" for side in ("left", "right") for n in range(4)))
    for device in ("cpu", "gpu"):
        assert main(["init", "dives", "--device", device, "--force"]) == 0
        cfg = load("dives.yaml")
        looks = (cfg.frame_input, cfg.action_input, cfg.pretrain.input)
        assert [look.augment.flip for look in looks] == [0, 0, 0]
        assert cfg.split.ratio == 0.5
        assert cfg.action_stage.train.steps + cfg.rounds * cfg.action_stage.self_train.steps >= 700
    assert yaml.safe_load(Path("dives.yaml").read_text())["base"] == "base"


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (lambda f: None, ["nowhere"], "nowhere is no folder"),
        (lambda f: (f / "a.csv").write_text("x") and (f / "b.csv").write_text("y"), ["dives"], "holds 2 lists"),
        (lambda f: None, ["dives"], "no class is known: it holds 1 videos beside no folder; either put the videos"),
        (
            lambda f: (f / "unlabelled").mkdir() or (f / "0.mp4").rename(f / "unlabelled" / "0.mp4"),
            ["dives"],
            "it holds 1 in unlabelled/; either put the videos of each class into a folder of its own",
        ),
        (lambda f: (f / "a.csv").write_text("p.mp4,x\nq.mp4,x\n"), ["dives"], "2 of 2 videos are not in dives"),
        (lambda f: None, ["dives", "--test-share", "2"], "--test-share 2.0 is outside"),
        (
            lambda f: [_copies(f, "a", 3), _copies(f, "b", 3)],
            ["dives", "--out", "dives/0.mp4/x.csv"],
            "cannot write dives/0.mp4/x.yaml: a part of the path is a file",
        ),
        (lambda f: None, ["dives", "--out", "dives.yaml"], "--out dives.yaml: the list is written as CSV"),
        (
            lambda f: [(f / name).mkdir() for name in "ab"] and [_copies(f, "a", 3), _copies(f, "b\nc", 3)],
            ["dives"],
            "b\\nc: line breaks and the like cannot stand in a list",
        ),
        (
            lambda f: [_copies(f, "1", 3), _copies(f, "01", 3)],
            ["dives"],
            "its class '01' reads differently in a list; rename the class",
        ),
        (
            lambda f: [_copies(f, "a", 3, "v_a_g01_c0{}.mp4"), _copies(f, "b", 3, "v_b_g01_c0{}.mp4")],
            ["dives"],
            "v_a_g01_c01 and v_a_g01_c02 count as parts of one, v_a_g01",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(desk, capsys, tmp_path, prepare, arguments, message):
    prepare(desk("0.mp4"))
    assert main(["init", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "dives.csv").exists()


def _copies(folder, name, count, form="{}.mp4"):
    (folder / name).mkdir(exist_ok=True)
    for number in range(1, count + 1):
        shutil.copy(folder / "0.mp4", folder / name / form.format(number))


def test_a_name_that_two_files_have_but_for_capitals_is_asked_for(desk, capsys):
    folder = desk("Two.mp4", "TWO.mp4", "a.mp4")
    (folder / "mine.csv").write_text("path,class\ntwo.mp4,tuck\na.mp4,pike\n")
    assert main(["init", "dives"]) == 2
    assert "two.mp4 may be " in capsys.readouterr().err


def test_what_is_no_video_is_left_out_and_the_list_passes_its_check(desk, capsys):
    folder = desk(*CLASSES)
    (folder / "tuck" / "empty.mp4").touch()
    (folder / "tuck" / "gone.mp4").symlink_to("nowhere.mp4")
    (folder / "pike" / "text.mp4").write_text("no video")
    assert main(["init", "dives", "--device", "cpu"]) == 0
    assert "left out of the list: 3 clips that cannot be used" in capsys.readouterr().out
    assert {Path(row["path"]).relative_to("dives").as_posix() for row in listed()} == set(CLASSES)
    assert main(["check", "--recipe", "dives.yaml", "--decode", "all"]) == 0


def test_names_that_a_list_has_to_quote_come_back(desk):
    names = ("a, b", 'c"d', " blank ", "null", "#1e5")
    desk(*(f"{name}/{n}.mp4" for name in names for n in range(2)))
    assert main(["init", "dives", "--device", "cpu"]) == 0
    assert {row["class"].strip() for row in listed()} == {name.strip() for name in names}


def test_a_list_without_file_endings_finds_its_videos(desk):
    folder = desk(*(f"{n}.mp4" for n in range(8)))
    (folder / "mine.csv").write_text("".join(f"{n},{'tuck' if n % 2 else 'pike'}\n" for n in range(8)))
    assert main(["init", "dives", "--device", "cpu"]) == 0
    assert {row["path"] for row in listed()} == {f"dives/{n}.mp4" for n in range(8)}


def test_capitals_and_unicode_forms_of_a_list_are_those_of_the_files(desk):
    """A Mac writes an accent as a character of its own, a camera writes MP4."""
    folder = desk(*(f"{n}e\u0301.MP4" for n in range(8)), "two.mp4", "TWO.mp4")
    rows = "".join(f"{n}\u00e9.mp4,{'tuck' if n % 2 else 'pike'}\n" for n in range(8))
    (folder / "mine.csv").write_text(f"path,class\n{rows}two.mp4,tuck\n")
    assert main(["init", "dives", "--device", "cpu"]) == 0
    assert {row["path"] for row in listed()} == {*(f"dives/{n}e\u0301.MP4" for n in range(8)), "dives/two.mp4"}


def test_an_older_list_is_not_written_over(desk, capsys, tmp_path):
    desk(*CLASSES)
    (tmp_path / "dives.csv").write_text("mine")
    assert main(["init", "dives"]) == 2
    assert "dives.csv is there already" in capsys.readouterr().err
    assert (tmp_path / "dives.csv").read_text() == "mine"


def test_labels_without_a_pool_train_alone_and_the_command_says_so(desk, capsys):
    folder = desk(*(f"{n}.mp4" for n in range(8)))
    roles = {0: "test", 1: "test"}
    rows = "".join(f"{n}.mp4,{'tuck' if n % 2 else 'pike'},{roles.get(n, 'labelled')}\n" for n in range(8))
    (folder / "mine.csv").write_text(f"path,class,role\n{rows}")
    assert main(["init", "dives", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "No clip is unlabelled, so there is nothing to label: the recipe trains on the labels alone" in said
    assert load("dives.yaml").methods == ("supervised",)
    assert main(["run", "--recipe", "dives.yaml", "--dry-run"]) == 0


def test_hopeless_data_is_warned_of_by_init_and_by_check(desk, capsys):
    desk("test/tuck/a.mp4", "train/tuck/b.mp4", "train/pike/c.mp4", "train/pike/d.mp4", "unlabelled/e.mp4")
    assert main(["init", "dives", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "warning: 1 of 2 classes have one labelled clip (tuck)" in said
    assert "warning: all test clips are of one class (tuck)" in said
    assert main(["check", "--recipe", "dives.yaml"]) == 0
    said = capsys.readouterr().out
    assert "WARNING 1 of 2 classes have one labelled clip (tuck)" in said
    assert "ok, with 2 warnings" in said
