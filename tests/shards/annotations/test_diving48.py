import json
import shutil

import pytest

from shards.annotations import load
from shards.annotations.config import DatasetConfig
from shards.errors import UserError
from shards.sources.presence import missing_paths
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split
from tests.shards.make_clips import need_data

# sha256 of the draws for (seed, ratio): a change means that every published number stands on another split.
DRAWS = {
    (0, 0.05): "75990054eddb4079b2fb44e79bce829bd047b051e01e3a670d5af614cf53e464",
    (0, 0.1): "bba8d2d1507967a6667bd3bc5af44995c898099fd7f21186bbdee5eac35f55f7",
    (0, 0.2): "ed97334f48342e5d96cf2691a98c5eed3bf8782821db599f9ebfb028b2628ab0",
    (1, 0.05): "28f1be81d3c68a186873350d19cd13c366ec118ee7bdce5c5d56746fb553dc47",
    (1, 0.1): "6422079c2257d51ede3c3383df9d066c7b4aab35f0c103329a488acf37009574",
    (1, 0.2): "8892cd009d1a658e41494875fb0fd899b868159065cc6255a289fa428a3f1ea6",
    (2, 0.05): "b5bb4ed06e7bb297cc09059c44c16aee51bcf63f4cb66ed4c188483a274522e3",
    (2, 0.1): "8660ba4575a1e64ba51db5644515e22c5a0bf78e0d0a6f439a45364971d6a37d",
    (2, 0.2): "c9e6c71c0c686b81916e0b7b497e0141545bf47d13b573eb33c491fc666cc77a",
}
TOTALS = {0.05: 777, 0.1: 1524, 0.2: 3025}


@pytest.fixture(scope="module")
def annotations():
    return load(DatasetConfig(name="diving48", root=str(need_data("diving48"))))


@pytest.fixture
def folder(tmp_path):
    for name in ("Diving48_V2_train.json", "Diving48_V2_test.json", "Diving48_vocab.json"):
        shutil.copyfile(need_data("diving48") / name, tmp_path / name)
    return tmp_path


def test_the_real_files(annotations):
    clips = annotations.clips
    assert clips.num_rows == 15027 + 1970
    assert clips["role"].to_pylist().count("test") == 1970
    assert len(annotations.classes) == 48
    assert annotations.classes[0] == "Back+15som+05Twis+FREE"
    assert set(range(48)) - set(clips["label"].to_pylist()) == {30}
    row = next(row for row in clips.to_pylist() if row["key"] == "-mmq0PT-u8k_00155")
    assert row["path"] == str(need_data("diving48") / "rgb" / "-mmq0PT-u8k_00155.mp4")
    assert row["source"] == "-mmq0PT-u8k"


def test_draws_are_the_same_bits_everywhere(annotations):
    splits = {(seed, ratio): draw_split(annotations, SplitConfig(ratio=ratio), seed) for seed, ratio in DRAWS}
    assert {key: split.sha256 for key, split in splits.items()} == DRAWS
    for (seed, ratio), split in splits.items():
        labelled = set(split.keys("labelled"))
        assert len(labelled) == TOTALS[ratio]
        assert labelled <= set(splits[seed, 0.2].keys("labelled"))
        assert len(set(split.items("labelled").labels.tolist())) == 47


def test_missing_videos_are_counted_not_fatal(folder):
    (folder / "rgb").mkdir()
    (folder / "rgb" / "-mmq0PT-u8k_00155.mp4").write_bytes(b"x")
    ann = load(DatasetConfig(name="diving48", root=str(folder)))
    assert len(missing_paths(ann.clips["path"].to_pylist())) == ann.clips.num_rows - 1


def test_v1_is_refused_by_name(folder):
    (folder / "Diving48_V2_train.json").rename(folder / "Diving48_train.json")
    with pytest.raises(UserError, match=r"Diving48_train\.json is Diving48 V1.*Diving48_V2_train\.json from http"):
        load(DatasetConfig(name="diving48", root=str(folder)))


def edit(folder, change):
    path = folder / "Diving48_V2_train.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "has 15026 rows; Diving48 V2 has 15027 in train, so this is V1 or"),
        (lambda rows: [{**rows[0], "label": 48}, *rows[1:]], "1 bad rows, first: row 0"),
        (lambda rows: [{**rows[0], "label": "0"}, *rows[1:]], "1 bad rows, first: row 0"),
        (lambda rows: [{**rows[0], "vid_name": "../../etc/passwd"}, *rows[1:]], "1 bad rows, first: row 0"),
        (lambda rows: [rows[1], *rows[1:]], "would both get the key"),
        (lambda rows: {"rows": rows}, "holds no JSON list"),
    ],
)
def test_wrong_files_are_refused(folder, change, message):
    edit(folder, change)
    with pytest.raises(UserError, match=message):
        load(DatasetConfig(name="diving48", root=str(folder)))


def test_missing_and_unreadable_files(folder):
    (folder / "Diving48_vocab.json").write_text("[[")
    with pytest.raises(UserError, match=r"vocab\.json cannot be read as JSON"):
        load(DatasetConfig(name="diving48", root=str(folder)))
    with pytest.raises(UserError, match=r"vocab\.json does not exist"):
        load(DatasetConfig(name="diving48", root=str(folder / "nowhere")))
