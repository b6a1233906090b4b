import json
from dataclasses import replace

import pyarrow as pa
import pytest

from shards.annotations.config import DatasetConfig
from shards.check.dataset import check_config, check_dataset
from shards.errors import UserError
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split
from tests.shards.annotations.real import DATA, needs_data, write
from tests.shards.helpers import make


def _clips(tmp_path):
    rows = [("a0", 0, "train", "s1"), ("a1", 0, "train", "s2"), ("b0", 1, "train", "s3"), ("t0", 0, "test", "s1")]
    ann = make([*rows, ("t1", 2, "test", "s5")], n_classes=4)
    paths = [f"{tmp_path}/{key}.mp4" for key in ann.clips.column("key").to_pylist()]
    for path in paths[1:]:
        write(tmp_path / path.rsplit("/", 1)[1], "x")
    return make_with_paths(ann, paths), paths


def make_with_paths(ann, paths):
    return replace(ann, clips=ann.clips.set_column(1, "path", pa.array(paths)))


def test_missing_files_are_listed_at_a_path(tmp_path):
    ann, paths = _clips(tmp_path)
    report = check_dataset(ann, missing_list=tmp_path / "out" / "missing.txt")
    assert not report.ok
    assert list(report.missing) == paths[:1]
    assert (tmp_path / "out" / "missing.txt").read_text() == f"{paths[0]}\n"
    assert "PROBLEM 1 path is missing" in report.render()
    assert report.render().endswith("not ok: 1 problem")
    write(tmp_path / "a0.mp4", "x")
    report = check_dataset(ann, missing_list=tmp_path / "again.txt")
    assert report.ok
    assert not (tmp_path / "again.txt").exists()
    assert report.render().endswith("\nok, with 1 warning")


def test_classes_coverage_and_shared_sources_are_reported(tmp_path):
    ann, _ = _clips(tmp_path)
    report = check_dataset(ann, files=False)
    assert report.ok
    assert report.missing is None
    assert report.absent == ["class3"]
    assert report.uncovered == {"class2": 1}
    assert (report.clips, report.present) == ({"test": 2, "train": 3}, {"test": 2, "train": 2})
    assert "test and train share 1 source videos (1 and 2 clips)" not in report.render()
    assert "test and train share 1 source videos (1 and 1 clips)" in report.render()
    assert not check_dataset(ann, files=False, forbid_leakage=True).ok


def test_a_split_is_judged_by_its_labelled_clips(tmp_path):
    ann, _ = _clips(tmp_path)
    split = draw_split(ann, SplitConfig(per_class=1, allow_unseen=True), seed=0)
    report = check_dataset(ann, split=split, files=False)
    assert report.clips == {"labelled": 2, "test": 2, "unlabelled": 1}
    assert list(report.problems) == [
        "1 test classes have no labelled clip (class2); "
        "draw the split with min_per_class=1, or use the open-world protocol"
    ]
    assert check_dataset(ann, split=split, files=False, open_world=True).ok
    with pytest.raises(UserError, match="the split has 5 clips that toy lacks"):
        check_dataset(make([("z", 0, "train", "")]), split=split, files=False)


def test_lists_that_cannot_be_read_are_a_problem_with_line_numbers(tmp_path):
    write(tmp_path / "classInd.txt", "1 A\n")
    write(tmp_path / "trainlist01.txt", "A/v_A_g01_c01.avi 1\nA/v_A_g01 1\nB/v_B_g01_c01.avi 1\n")
    report = check_config(DatasetConfig(name="ucf101", root=str(tmp_path)))
    assert not report.ok
    assert "line 2 'A/v_A_g01 1'" in report.render()
    assert "line 3 'B/v_B_g01_c01.avi 1'" in report.render()


@needs_data
def test_real_diving48_against_the_known_table(tmp_path):
    cfg = DatasetConfig(name="diving48", root=str(DATA / "diving48"), videos=str(tmp_path))
    report = check_config(cfg, files=False)
    assert report.ok
    assert report.clips == {"test": 1970, "train": 15027}
    assert report.present == {"test": 47, "train": 47}
    assert len(report.absent) == 1
    assert report.known.train == 15027
    everything = check_config(cfg, missing_list=tmp_path / "missing.txt")
    assert not everything.ok
    assert len((tmp_path / "missing.txt").read_text().splitlines()) == 15027 + 1970


@needs_data
def test_real_counts_that_are_not_the_known_ones_are_a_problem(tmp_path):
    for name in ("classInd.txt", "testlist01.txt"):
        write(tmp_path / name, (DATA / "ucf101" / name).read_bytes().decode())
    rows = (DATA / "ucf101" / "trainlist01.txt").read_bytes().decode().splitlines(keepends=True)
    write(tmp_path / "trainlist01.txt", "".join(rows[:-1]))
    report = check_config(DatasetConfig(name="ucf101", root=str(tmp_path)), files=False)
    assert list(report.problems) == ["9,536 training clips, 9,537 are known"]


@needs_data
@pytest.mark.slow
def test_real_gym288_v10_lacks_a_class(tmp_path):
    cfg = DatasetConfig(name="finegym", root=str(DATA / "finegym"), subset="gym288", version="v1.0")
    report = check_config(cfg, files=False)
    assert report.ok
    assert len(report.uncovered) == 1
    assert json.dumps(dict(report.clips)) == '{"test": 9646, "train": 22671}'
