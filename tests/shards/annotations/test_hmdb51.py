import pytest

from shards.annotations import load
from shards.annotations.config import DatasetConfig
from shards.annotations.hmdb51 import parse_row, source_of
from shards.errors import UserError

from .real import DATA, counts, needs_data, row, write

LISTS = DATA / "hmdb51" / "testTrainMulti_7030_splits"


@pytest.mark.parametrize(
    "name", ["a!b#c&(d)+e-f.g;h@[i]~_hug_f_cm_np2_ba_goo_10.avi", "x y_hug_1.avi", "$(touch z)`ls`_hug_2.avi"]
)
def test_any_name_and_the_trailing_blank_are_read(name):
    assert parse_row(f"{name} 1") == (name, "train")
    assert parse_row(f"{name} 0") == (name, "unused")


@pytest.mark.parametrize("text", ["a.avi 3", "a.avi", "a.mp4 1", "../a.avi 1", "1"])
def test_bad_rows_are_refused(text):
    with pytest.raises(ValueError, match="needed"):
        parse_row(text)


def test_source_is_what_stands_before_the_class():
    assert source_of("_Art_of_draw_sword_draw_sword_u_cm_np1_fr_med_3.avi", "draw_sword") == "_Art_of_draw_sword"


def _folder(tmp_path, n_classes):
    for index in range(n_classes):
        text = "".join(f"f{index}[{digit}]_c{index:02d}_x.avi {digit} \r\n" for digit in (0, 1, 2))
        write(tmp_path / f"c{index:02d}_test_split2.txt", text)
    return str(tmp_path)


def test_unused_clips_stay_out_unless_wanted(tmp_path):
    cfg = {"name": "hmdb51", "root": _folder(tmp_path, 51), "videos": "/v", "split": 2}
    assert counts(load(DatasetConfig(**cfg))) == {"train": 51, "test": 51}
    ann = load(DatasetConfig(**cfg, subset="with-unused"))
    assert counts(ann) == {"train": 102, "test": 51}
    clip = row(ann, "f7_0__c07_x")
    assert (clip["path"], clip["label"], clip["role"]) == ("/v/c07/f7[0]_c07_x.avi", 7, "train")
    assert ann.version == "split2+unused"


def test_an_incomplete_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds 50 files"):
        load(DatasetConfig(name="hmdb51", root=_folder(tmp_path, 50), split=2))
    with pytest.raises(UserError, match="not a folder"):
        load(DatasetConfig(name="hmdb51", root=str(tmp_path / "no")))


@needs_data
def test_real_lists():
    ann = load(DatasetConfig(name="hmdb51", root=str(LISTS)))
    assert counts(ann) == {"train": 3570, "test": 1530}
    assert ann.classes == (DATA / "hmdb51" / "label_map_mmaction2.txt").read_text().splitlines()
    everything = load(DatasetConfig(name="hmdb51", root=str(LISTS), subset="with-unused"))
    assert counts(everything) == {"train": 5236, "test": 1530}


@needs_data
def test_real_labels_equal_an_independent_list():
    ann = load(DatasetConfig(name="hmdb51", root=str(LISTS)))
    own = {clip["path"].rsplit("/", 1)[1][:-4]: (clip["role"], clip["label"]) for clip in ann.clips.to_pylist()}
    for role, part in (("train", "train"), ("test", "val")):
        for line in (DATA / "hmdb51" / f"uniformer_split1_{part}.txt").read_text().splitlines():
            name, _, label = line.rsplit(" ", 2)
            assert own[name] == (role, int(label))
