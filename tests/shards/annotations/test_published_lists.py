import logging

import pytest

from shards.annotations import load
from shards.annotations.config import DatasetConfig, OpenWorldConfig
from shards.annotations.open_world import open_world
from shards.annotations.published_lists import read_published, roles_from_lists, with_published_lists
from shards.errors import UserError
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split
from shards.types import NO_LABEL

from ..helpers import column, make
from .real import DATA, counts, needs_data, write

LISTS = DATA / "ssl-splits"

CLIPS = [(f"a{i}", i % 2, "train", f"s{i}") for i in range(6)] + [("t0", 0, "test", "s9"), ("t1", 1, "test", "s10")]


def _toy():
    return make(CLIPS, n_classes=2)


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
@pytest.mark.parametrize("name", ["unlabel.csv", "unlabe.csv"])
def test_separators_file_names_and_folders_of_others(tmp_path, separator, name):
    write(tmp_path / "train.csv", f"/root/x y/a0.mp4{separator}0\r\n/root/x/a1.avi{separator}1\r\n")
    write(tmp_path / name, f"/root/a2.mp4{separator}0\n/root/a3.mp4{separator}1\n")
    write(tmp_path / "val.csv", f"t0.mp4{separator}0")
    ann = with_published_lists(_toy(), tmp_path)
    assert dict(zip(column(ann.clips, "key"), column(ann.clips, "role"), strict=True)) == {
        "a0": "labelled",
        "a1": "labelled",
        "a2": "unlabelled",
        "a3": "unlabelled",
        "t0": "test",
    }


def test_true_labels_of_unlabelled_clips_do_not_get_past_the_parser(tmp_path):
    """Whatever an unlabelled list says, nothing after the parser changes: not the split, not the clip table."""
    write(tmp_path / "train.csv", "a0.mp4 0\na1.mp4 1\n")
    found = []
    for labels in ("01", "10", "99"):
        write(tmp_path / "unlabel.csv", f"a2.mp4 {labels[0]}\na3.mp4 {labels[1]}\n")
        lists = read_published(tmp_path)
        assert lists.unlabelled == {"a2", "a3"}
        assert not any(label in repr(lists.unlabelled) for label in ("99", " 0", " 1"))
        split = draw_split(_toy(), SplitConfig(method="lists", lists=str(tmp_path)), seed=0)
        found.append(split.sha256)
        rows = zip(column(split.table, "role"), column(split.table, "label"), strict=True)
        assert all((label == NO_LABEL) == (role == "unlabelled") for role, label in rows)
    assert len(set(found)) == 1


def test_what_no_list_names_is_the_rest(tmp_path):
    write(tmp_path / "train.csv", "a0.mp4 0\na1.mp4 1\n")
    listed = roles_from_lists(_toy(), read_published(tmp_path), "here")
    roles = list(listed.roles.values())
    assert [roles.count(role) for role in ("labelled", "unlabelled", "test")] == [2, 4, 2]


@pytest.mark.parametrize(
    ("train", "unlabelled", "words"),
    [
        ("a0.mp4 0\na1.mp4\n", "a2.mp4 0", r"line 2 'a1\.mp4'"),
        ("a0.mp4 0\nx/a0.mp4 0\n", "a2.mp4 0", "twice"),
        ("a0.mp4 0\n", "a0.mp4 0", "two lists"),
        ("a0.mp4 1\na1.mp4 0\n", "a2.mp4 0", "2 of 2 labels differ"),
        ("b0.mp4 0\n", "a2.mp4 0", "1 listed clips are not in toy"),
        ("a0.mp4 0\n", "b2.mp4 0", "1 listed clips are not in toy"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(tmp_path, train, unlabelled, words):
    write(tmp_path / "train.csv", train)
    write(tmp_path / "unlabel.csv", unlabelled)
    with pytest.raises(UserError, match=words):
        with_published_lists(_toy(), tmp_path)


def test_vanished_clips_are_left_out_on_demand_and_said(tmp_path, caplog):
    write(tmp_path / "train.csv", "a0.mp4 0\ngone.mp4 0\na1.mp4 1\n")
    with caplog.at_level(logging.WARNING):
        split = draw_split(_toy(), SplitConfig(method="lists", lists=str(tmp_path), allow_missing=True), seed=0)
    assert split.keys("labelled") == ["a0", "a1"]
    assert "1 listed clips are not in it" in caplog.text


def test_a_folder_without_lists_and_an_open_world_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no list of labelled clips"):
        read_published(tmp_path)
    write(tmp_path / "train.csv", "a0.mp4 0\n")
    with pytest.raises(UserError, match="novel"):
        with_published_lists(open_world(_toy(), OpenWorldConfig(known=1)), tmp_path)
    with pytest.raises(ValueError, match=r"lists = .* needs split\.method lists"):
        SplitConfig(method="random", lists="x")


def test_kinetics_names_match_with_and_without_times(tmp_path):
    ann = make([("AAAAAAAAAAA", 0, "train", "AAAAAAAAAAA"), ("-BBBBBBBBB__000001_000011", 1, "train", "-BBBBBBBBB_")])
    write(tmp_path / "train.csv", "x/AAAAAAAAAAA_000002_000012.mp4 0\nx/-BBBBBBBBB_.mp4 1\n")
    assert counts(with_published_lists(ann, tmp_path)) == {"labelled": 2}


GYM = [
    *(("all99_5", "gym99", 1316, 25004, 8521), ("all99_10", "gym99", 2632, 23688, 8521)),
    *(("all288_5", "gym288", 1466, 27868, 9646), ("all288_10", "gym288", 2933, 26401, 9646)),
    *(("UB_10", "UB", 959, 8635, 2814), ("UB_20", "UB", 1918, 7676, 2814)),
    *(("FX_10", "FX", 540, 4868, 2226), ("FX_20", "FX", 1081, 4327, 2226)),
    *(("VT_10", "VT", 108, 972, 446), ("VT_20", "VT", 216, 864, 446)),
    *(("UB_S1_10", "UB_S1", 496, 4468, 1471), ("UB_S1_20", "UB_S1", 992, 3972, 1471)),
    *(("FX_S1_10", "FX_S1", 189, 1703, 777), ("FX_S1_20", "FX_S1", 378, 1514, 777)),
]


@pytest.fixture(scope="module")
def gym():
    """Annotations of FineGym's subsets, each read once."""
    cache = {}

    def get(subset, version="v1.1"):
        if (subset, version) not in cache:
            cfg = DatasetConfig(name="finegym", root=str(DATA / "finegym"), subset=subset, version=version)
            cache[subset, version] = load(cfg)
        return cache[subset, version]

    return get


def _slow_but(names, rows):
    """Mark all rows slow but those whose first field is named."""
    return [row if row[0] in names else pytest.param(*row, marks=pytest.mark.slow) for row in rows]


@needs_data
@pytest.mark.parametrize(
    ("folder", "subset", "labelled", "unlabelled", "test"), _slow_but(("all99_5", "all99_10", "UB_S1_10"), GYM)
)
def test_real_sefar_gym_lists(gym, folder, subset, labelled, unlabelled, test):
    listed = roles_from_lists(gym(subset), read_published(LISTS / "sefar" / "finegym" / folder), folder)
    roles = list(listed.roles.values())
    assert [roles.count(r) for r in ("labelled", "unlabelled", "test")] == [labelled, unlabelled, test]
    assert not listed.mislabelled


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(("percent", "labelled"), [(5, 325), (10, 651)])
def test_real_sefar_gym_new_lists(gym, percent, labelled):
    folder = LISTS / "sefar" / "finegym-new" / f"list_finegym_new_{percent}"
    listed = roles_from_lists(gym("Gym_new"), read_published(folder), "new")
    roles = list(listed.roles.values())
    assert [roles.count(r) for r in ("labelled", "unlabelled", "test")] == [labelled, 6508 - labelled, 1998]
    assert not listed.mislabelled


@needs_data
def test_real_lists_of_another_version_or_subset_are_refused(gym):
    lists = read_published(LISTS / "sefar" / "finegym" / "all99_5")
    with pytest.raises(UserError, match=r"5836 listed clips are not in finegym-gym99 v1\.0"):
        roles_from_lists(gym("gym99", "v1.0"), lists, "all99_5")
    with pytest.raises(UserError, match="labels differ from those of finegym-gym288"):
        roles_from_lists(gym("gym288"), lists, "all99_5")


@needs_data
@pytest.mark.slow
def test_real_ten_percent_of_gym288_leaves_74_classes_without_a_label(gym):
    folder = str(LISTS / "sefar" / "finegym" / "all288_10")
    with pytest.raises(UserError, match="74 classes have clips but no labelled one"):
        draw_split(gym("gym288"), SplitConfig(method="lists", lists=folder), seed=0)
    split = draw_split(gym("gym288"), SplitConfig(method="lists", lists=folder, allow_unseen=True), seed=0)
    assert len(set(split.items("labelled").labels.tolist())) == 214


@needs_data
@pytest.mark.parametrize(("percent", "labelled"), _slow_but((5,), [(1, 101), (5, 477), (10, 1010)]))
def test_real_sefar_ucf_lists(percent, labelled):
    ann = load(DatasetConfig(name="ucf101", root=str(DATA / "ucf101")))
    listed = with_published_lists(ann, LISTS / "sefar" / f"list_ucf_{percent}")
    assert counts(listed) == {"labelled": labelled, "unlabelled": 9537 - labelled, "test": 3783}


@needs_data
@pytest.mark.parametrize(
    ("percent", "labelled", "swapped"), _slow_but((40,), [(40, 2094, 54), (50, 2618, 73), (60, 3141, 65)])
)
def test_real_sefar_hmdb_lists(percent, labelled, swapped):
    """Their labels of six classes are swapped in some rows, all of them clips that official split 1 leaves out."""
    root = str(DATA / "hmdb51" / "testTrainMulti_7030_splits")
    ann = load(DatasetConfig(name="hmdb51", root=root, subset="with-unused"))
    lists = read_published(LISTS / "sefar" / f"list_hmdb_{percent}")
    listed = roles_from_lists(ann, lists, "hmdb")
    roles = list(listed.roles.values())
    assert [roles.count(r) for r in ("labelled", "unlabelled", "test")] == [labelled, 5236 - labelled, 1530]
    official = set(column(load(DatasetConfig(name="hmdb51", root=root)).clips, "key"))
    assert len(listed.mislabelled) == swapped
    assert not official & set(listed.mislabelled)


@needs_data
@pytest.mark.parametrize(("percent", "labelled", "each"), _slow_but((1,), [(1, 2400, 6), (10, 24000, 60)]))
def test_real_svformer_kinetics_lists(tmp_path, percent, labelled, each):
    write(tmp_path / "label_map_k400.txt", (DATA / "kinetics400" / "label_map_k400.txt").read_text())
    svformer = LISTS / "svformer"
    lists = {"train": str(svformer / "list_k400_10" / "train.csv"), "test": str(svformer / "list_k400" / "val.csv")}
    if percent == 1:
        lists["train"] = str(svformer / "list_k400_1" / "train.csv")
    ann = load(DatasetConfig(name="kinetics400", root=str(tmp_path), lists=lists))
    cfg = SplitConfig(method="lists", lists=str(svformer / f"list_k400_{percent}"))
    split = draw_split(ann, cfg, seed=0)
    assert (len(split.keys("labelled")), len(split.keys("test"))) == (labelled, 19761)
    labels = split.items("labelled").labels.tolist()
    assert {labels.count(label) for label in range(400)} == {each}
