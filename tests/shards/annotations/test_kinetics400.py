import pytest

from shards.annotations import load
from shards.annotations.config import DatasetConfig
from shards.annotations.kinetics400 import KNOWN_VIDEOS, read_in_its_order, read_label_map, read_list, video_of
from shards.errors import UserError

from .real import DATA, counts, needs_data, row, write

K400 = DATA / "kinetics400"
ALPHABETICAL, UNIFORMER = K400 / "label_map_k400.txt", K400 / "kinetics_400_categroies_uniformer.txt"
SVFORMER = DATA / "ssl-splits" / "svformer"

NAMES = sorted({f"class {i:03d}" for i in range(398)} | {"abseiling", "washing feet"})
OTHER = NAMES[::-1]


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "label_map_k400.txt", "".join(f"{name}\n" for name in NAMES))
    write(tmp_path / "categories.txt", "".join(f"{name}\t{i}\r\n" for i, name in enumerate(OTHER)))
    write(tmp_path / "train.csv", f"/their/disk/class_007/AAAAAAAAAAA_000001_000011.mp4 {NAMES.index('class 007')}\n")
    write(tmp_path / "val.csv", f"0wR5jVB-WPk.mp4,{OTHER.index('abseiling')}\r\n")
    return tmp_path


def _cfg(folder, **options):
    return DatasetConfig(name="kinetics400", root=str(folder), videos="/v/{split}/{class}", **options)


def test_each_list_is_read_in_its_own_order_and_leaves_in_one(folder):
    ann = load(_cfg(folder))
    assert ann.classes == NAMES
    train, test = row(ann, "AAAAAAAAAAA_000001_000011"), row(ann, "0wR5jVB-WPk")
    assert (train["path"], train["label"]) == (
        "/v/train/class_007/AAAAAAAAAAA_000001_000011.mp4",
        NAMES.index("class 007"),
    )
    assert (test["path"], test["label"], test["source"]) == ("/v/val/abseiling/0wR5jVB-WPk.mp4", 0, "0wR5jVB-WPk")


def test_a_list_that_contradicts_its_map_is_refused(folder):
    with pytest.raises(UserError, match="another label order"):
        load(_cfg(folder, classes="label_map_k400.txt"))


def test_a_list_that_proves_no_order_needs_its_map_named(folder):
    write(folder / "val.csv", "BBBBBBBBBBB.mp4,3\n")
    with pytest.raises(UserError, match=r"data\.classes"):
        load(_cfg(folder))
    write(folder / "train.csv", "CCCCCCCCCCC.mp4 3\n")
    for file, order in (("label_map_k400.txt", NAMES), ("categories.txt", OTHER)):
        ann = load(_cfg(folder, classes=file))
        assert ann.classes == NAMES
        assert {NAMES[label] for label in ann.clips.column("label").to_pylist()} == {order[3]}


def test_the_official_csv_with_and_without_label_ids(folder):
    write(folder / "val.csv", "label,youtube_id,time_start,time_end,split,is_cc\nabseiling,-wR5jVB-WPk,417,427,val,0\n")
    assert row(load(_cfg(folder)), "-wR5jVB-WPk_000417_000427")["label"] == NAMES.index("abseiling")
    write(
        folder / "val.csv",
        "label,youtube_id,time_start,time_end,split,is_cc,label_id\nabseiling,-wR5jVB-WPk,1,2,v,0,9\n",
    )
    with pytest.raises(UserError, match="label_id 9"):
        load(_cfg(folder))
    write(folder / "val.csv", "label,youtube_id,time_start,time_end,split,is_cc\nflying,-wR5jVB-WPk,417,427,val,0\n")
    with pytest.raises(UserError, match=r"line 2 .*'flying'"):
        load(_cfg(folder))


@pytest.mark.parametrize("text", ["a\nb\n", "".join(f"{i}\t{i % 399}\n" for i in range(400)), "a\t400\n"])
def test_label_maps_have_400_names(tmp_path, text):
    with pytest.raises(UserError, match=r"400|bad"):
        read_label_map(write(tmp_path / "label_map.txt", text))


def test_no_label_map_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no label map"):
        load(_cfg(tmp_path))


def test_stems_with_and_without_times():
    assert video_of("OELUl7M9SMw_000022_000032") == video_of("OELUl7M9SMw") == "OELUl7M9SMw"
    with pytest.raises(ValueError, match="11-character"):
        video_of("OELUl7M9SMw_22_32")


@needs_data
def test_both_real_orders_hold_the_same_names():
    one, other = read_label_map(ALPHABETICAL), read_label_map(UNIFORMER)
    assert one.known == other.known
    assert one.names != other.names
    assert other.names[0] == "riding a bike"
    assert list(one.names) == sorted(one.names)
    assert KNOWN_VIDEOS.keys() <= {r.youtube_id for r in read_list(K400 / "slowfast_val_clean.csv", one)}


@needs_data
def test_real_lists_of_both_orders_agree_video_by_video():
    maps = [read_label_map(ALPHABETICAL), read_label_map(UNIFORMER)]
    official = {r.youtube_id: r.name for r in read_list(K400 / "slowfast_val_clean.csv", maps[0])}
    uniformer = {r.youtube_id: r.name for r in read_in_its_order(K400 / "k400_val_uniformer.csv", maps)}
    svformer = {r.youtube_id: r.name for r in read_in_its_order(SVFORMER / "list_k400" / "val.csv", maps)}
    assert (len(official), len(uniformer), len(svformer)) == (19881, 19787, 19761)
    for names in (uniformer, svformer):
        assert all(official.get(video, name) == name for video, name in names.items())


@needs_data
def test_a_real_list_in_the_wrong_order_is_refused():
    with pytest.raises(UserError, match="another label order"):
        read_list(K400 / "k400_val_uniformer.csv", read_label_map(ALPHABETICAL))
    with pytest.raises(UserError, match="another label order"):
        read_list(SVFORMER / "list_k400_1" / "train.csv", read_label_map(UNIFORMER))


@needs_data
def test_real_slowfast_and_svformer_lists(tmp_path):
    write(tmp_path / "label_map_k400.txt", ALPHABETICAL.read_text())
    lists = {"train": str(SVFORMER / "list_k400_1" / "train.csv"), "test": str(K400 / "slowfast_val_100rows.csv")}
    ann = load(DatasetConfig(name="kinetics400", root=str(tmp_path), videos="/v", lists=lists))
    assert counts(ann) == {"train": 2400, "test": 100}
