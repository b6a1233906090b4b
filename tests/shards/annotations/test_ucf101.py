import pytest

from shards.annotations import load
from shards.annotations.config import DatasetConfig
from shards.annotations.known_counts import KNOWN_COUNTS
from shards.errors import UserError

from .real import DATA, counts, needs_data, row, write


def _folder(tmp_path, train="HandstandPushups/v_HandStandPushups_g08_c01.avi 2\r\n"):
    write(tmp_path / "classInd.txt", "1 Archery\r\n2 HandstandPushups\r\n")
    write(tmp_path / "trainlist01.txt", train)
    write(tmp_path / "testlist01.txt", "Archery/v_Archery_g01_c02.avi\r\n")
    return DatasetConfig(name="ucf101", root=str(tmp_path), videos="/v")


def test_crlf_one_based_labels_label_less_tests_and_the_odd_spelling(tmp_path):
    ann = load(_folder(tmp_path))
    clip = row(ann, "v_HandStandPushups_g08_c01")
    assert (clip["label"], clip["role"], clip["source"]) == (1, "train", "HandstandPushups_g08")
    assert clip["path"] == "/v/HandstandPushups/v_HandStandPushups_g08_c01.avi"
    clip = row(ann, "v_Archery_g01_c02")
    assert (clip["label"], clip["role"], clip["source"]) == (0, "test", "Archery_g01")
    assert ann.classes == ["Archery", "HandstandPushups"]


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ("Archery/v_Archery_g08_c01.avi 2", r"line 1 .*label 2 is not Archery's label 1"),
        ("Fencing/v_Fencing_g08_c01.avi 1", "none of the classes"),
        ("v_Archery_g08_c01.avi 1", "not <class>/v_"),
        ("Archery/v_Archery_g08_c01.avi one", "not a whole number"),
    ],
)
def test_bad_rows_are_refused(tmp_path, train, words):
    with pytest.raises(UserError, match=words):
        load(_folder(tmp_path, train))


@pytest.mark.parametrize("lines", ["0 A\n1 B\n", "1 A\n3 B\n", "1 A\n1 B\n"])
def test_class_index_counts_from_one(tmp_path, lines):
    cfg = _folder(tmp_path)
    write(tmp_path / "classInd.txt", lines)
    with pytest.raises(UserError, match="once each"):
        load(cfg)


def test_splits_are_one_to_three(tmp_path):
    with pytest.raises(UserError, match="split = 4: must be in"):
        load(DatasetConfig(name="ucf101", root=str(tmp_path), split=4))


@needs_data
@pytest.mark.parametrize("split", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_real_lists(split):
    ann = load(DatasetConfig(name="ucf101", root=str(DATA / "ucf101"), split=split))
    known = KNOWN_COUNTS["ucf101", f"split{split}"]
    assert counts(ann) == {"train": known.train, "test": known.test}
    assert len(ann.classes) == 101
    clips = ann.clips.to_pylist()
    assert {clip["label"] for clip in clips if "HandStandPushups" in clip["key"]} == {
        ann.classes.index("HandstandPushups")
    }
    groups = {role: {clip["source"] for clip in clips if clip["role"] == role} for role in ("train", "test")}
    assert not groups["train"] & groups["test"]
