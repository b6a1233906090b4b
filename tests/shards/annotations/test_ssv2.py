import json

import pytest

from shards.annotations import load
from shards.annotations.config import DatasetConfig
from shards.annotations.ssv2 import PREFIX, class_of, parse_list_row, parse_record, read_labels
from shards.errors import UserError

from .real import DATA, counts, needs_data, row, write

SSV2 = DATA / "ssv2"


def test_template_brackets_go():
    assert class_of("Putting [something], [something] and [something]") == "Putting something, something and something"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"id": "1", "template": "Flying [something]"}, "not in labels"),
        ({"id": "1"}, "needed"),
        ({"id": "../1", "template": "Opening [something]"}, "not a whole number"),
        ([], "needed"),
    ],
)
def test_bad_records_are_refused(record, words):
    with pytest.raises(ValueError, match=words):
        parse_record(record, {"Opening something": 0})


@pytest.mark.parametrize("labels", [{"a": "0", "b": "2"}, {"a": "0", "b": "0"}, {"a": "x"}, ["a"]])
def test_labels_count_from_zero(tmp_path, labels):
    path = write(tmp_path / "labels.json", json.dumps(labels))
    with pytest.raises(UserError, match=r"labels.json"):
        read_labels(path)


@pytest.mark.parametrize("text", ["1 2", "1 2 87", "1 2 3 4", "1 x 3"])
def test_bad_list_rows_are_refused(text):
    with pytest.raises(ValueError, match=r"fields are needed|not below 87|not a whole number"):
        parse_list_row(text, 87)


def _mini(tmp_path, n_classes):
    write(tmp_path / "category_mini.txt", "".join(f"Doing [something] {i}\n" for i in range(n_classes)))
    write(tmp_path / "train_videofolder.txt", "10 34 86\n11 35 0\n")
    write(tmp_path / "val_videofolder.txt", "12 36 5")
    return DatasetConfig(name="ssv2", root=str(tmp_path), videos="/v", version="mini")


def test_the_list_form_with_87_classes(tmp_path):
    ann = load(_mini(tmp_path, 87))
    assert counts(ann) == {"train": 2, "test": 1}
    assert row(ann, "10") | {"start": 0, "end": 0} == {
        "key": "10",
        "path": "/v/10.webm",
        "label": 86,
        "role": "train",
        "source": "10",
        "start": 0,
        "end": 0,
    }
    assert ann.classes[86] == "Doing something 86"


def test_another_number_of_classes_is_refused(tmp_path):
    with pytest.raises(UserError, match="88 classes, mini has 87"):
        load(_mini(tmp_path, 88))


@needs_data
def test_real_official_files(tmp_path):
    for part in ("labels", "validation"):
        real = SSV2 / f"{PREFIX}{part}{'_first300' if part == 'validation' else ''}.json"
        write(tmp_path / f"{PREFIX}{part}.json", real.read_text())
    train = [{"id": "5", "template": "Opening [something]"}]
    write(tmp_path / f"{PREFIX}train.json", json.dumps(train))
    ann = load(DatasetConfig(name="ssv2", root=str(tmp_path)))
    assert counts(ann) == {"train": 1, "test": 300}
    assert ann.classes == (SSV2 / "label_map_mmaction2.txt").read_text().splitlines()
    listed = [line.split() for line in (SSV2 / "somesomev2_rgb_validation_split.txt").read_text().splitlines()]
    labels = {video: int(label) for video, _, label in listed}
    own = {clip["key"]: clip["label"] for clip in ann.clips.to_pylist() if clip["role"] == "test"}
    assert own == {video: labels[video] for video in own}


@needs_data
def test_real_list_form_reads_every_row():
    rows = (SSV2 / "somesomev2_rgb_validation_split.txt").read_text().splitlines()
    parsed = [parse_list_row(text, 174) for text in rows]
    assert len(parsed) == len(dict(parsed)) == 24777
    assert {label for _, label in parsed} == set(range(174))
    categories = {class_of(name) for name in (SSV2 / "category_uniformer.txt").read_text().splitlines()}
    assert categories == set(read_labels(SSV2 / f"{PREFIX}labels.json"))
