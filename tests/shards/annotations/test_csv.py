import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.annotations import load
from shards.annotations.base import Clip, make_annotations, read_clips, sanitise_key, write_clips
from shards.annotations.config import DatasetConfig
from shards.errors import UserError
from shards.sources.presence import missing_paths
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split
from tests.shards.make_clips import need_data


def read_text(folder, text, role="all", **options):
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "list.txt").write_bytes(data)
    return load(DatasetConfig(name="csv", lists={role: str(folder / "list.txt")}, **options))


def rows(ann):
    return [(row["path"].rsplit("/", 1)[1], row["label"], row["role"]) for row in ann.clips.to_pylist()]


PLAIN = [("a.mp4", 0, "train"), ("b.mp4", 1, "train")]
ROLES = [("a.mp4", 0, "labelled"), ("b.mp4", 1, "test")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.mp4,jump\nb.mp4,run\n", PLAIN),
        ("a.mp4 jump\nb.mp4 run", PLAIN),
        ("a.mp4\tjump\nb.mp4\trun\n", PLAIN),
        ("a.mp4 0\nb.mp4 1\n", PLAIN),
        ("a.mp4,jump\r\nb.mp4,run\r\n\r\n", PLAIN),
        ("\ufeffpath,class\na.mp4,jump\nb.mp4,run\n", PLAIN),
        ("video label\na.mp4 0\nb.mp4 1", PLAIN),
        ("path class role\na.mp4 jump labelled\nb.mp4 run test", ROLES),
        ("a.mp4, jump , Labelled\nb.mp4,run,test", ROLES),
        ("a.mp4\tjump\tlabelled\nb.mp4\trun\ttest", ROLES),
        ('"a.mp4",jump\n"b.mp4",run', PLAIN),
        ("a.mp4 jump \nb.mp4 run ", PLAIN),
    ],
)
def test_the_forms_of_a_list(tmp_path, text, expected):
    assert rows(read_text(tmp_path, text)) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my  first dive.mp4 jump\nb.mp4 run", "my  first dive.mp4"),
        ("my first dive.mp4,jump\nb.mp4,run", "my first dive.mp4"),
        ("one, two.mp4,jump,train\nb.mp4,run,train", "one, two.mp4"),
        ("-x;$(y)!.mp4 jump\nb.mp4 run", "-x;$(y)!.mp4"),
        ("a.b.c.mp4 jump\nb.mp4 run", "a.b.c.mp4"),
        ("跳水.mp4 jump\nb.mp4 run", "跳水.mp4"),
    ],
)
def test_names_are_kept_as_they_are(tmp_path, text, name):
    if "one, two" in text:
        text = text.replace("one, two.mp4", '"one, two.mp4"')
    assert name in [row[0] for row in rows(read_text(tmp_path, text))]


def test_a_class_may_be_called_like_a_role_and_hold_spaces(tmp_path):
    ann = read_text(tmp_path, "a.mp4,test\nb.mp4,back flip\n")
    assert ann.classes == ["back flip", "test"]
    assert rows(ann) == [("a.mp4", 1, "train"), ("b.mp4", 0, "train")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\r\n", "is empty"),
        (b"\x00\xff\xfe\xff\n", "list.txt:1 is not UTF-8"),
        (b"a.mp4,x\nb\xe9.mp4,y\n", "list.txt:2 is not UTF-8"),
        ("a.mp4\nb.mp4 run\nc.mp4\nd.mp4\ne.mp4", r"4 bad rows, first: line 1: 'a.mp4' has no class; line 3: .*line 4"),
        ("a.mp4,\nb.mp4,x", "line 1: 'a.mp4' has an empty class"),
        (",x\nb.mp4,x", "line 1: no path"),
        ("a.mp4,x,trian\nb.mp4,x,test", "line 1: role 'trian' is not one of"),
        ("class,path\nx,a.mp4", "names the columns class, path; they must be path, class"),
        ("a.mp4 x\na.mp4 y", r"a.mp4 at .*list.txt:1 \(train\) and .*list.txt:2"),
        ("d/a.mp4 x\nd_a.mp4 y\nd2/a.mp4 x", r"d/a\.mp4 and .*d_a\.mp4 would both get the key d_a"),
        ("a b.mp4,x\na_b.mp4,y", r"a b\.mp4 and .*a_b\.mp4 would both get the key a_b"),
    ],
)
def test_bad_lists_are_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_text(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_classes_from_a_file(tmp_path):
    (tmp_path / "classes.txt").write_text("jump\nrun\nfly\n")
    ann = read_text(tmp_path, "a.mp4 run\nb.mp4 2\n", root=str(tmp_path), classes="classes.txt")
    assert (ann.classes, [row[1] for row in rows(ann)]) == (["jump", "run", "fly"], [1, 2])
    with pytest.raises(UserError, match=r"1 rows have a class .*0\.\.2, first: .*list.txt:2: 3"):
        read_text(tmp_path, "a.mp4 run\nb.mp4 3\n", root=str(tmp_path), classes="classes.txt")
    with pytest.raises(UserError, match=r"list.txt:1: swim"):
        read_text(tmp_path, "a.mp4 swim\n", root=str(tmp_path), classes="classes.txt")
    (tmp_path / "classes.txt").write_text("jump\njump\n")
    with pytest.raises(UserError, match="class names twice: jump"):
        read_text(tmp_path, "a.mp4 0\n", root=str(tmp_path), classes="classes.txt")


def test_missing_lists_and_roles(tmp_path):
    with pytest.raises(UserError, match=r"nope\.txt does not exist"):
        load(DatasetConfig(name="csv", root=str(tmp_path), lists={"all": "nope.txt"}))
    with pytest.raises(UserError, match="csv needs a list file"):
        load(DatasetConfig(name="csv"))
    with pytest.raises(ValueError, match=r"lists\.val = .*: no such role"):
        DatasetConfig(name="csv", lists={"val": "x"})
    with pytest.raises(UserError, match="ucf is not a data set"):
        load(DatasetConfig(name="ucf"))


def test_unlabelled_lists_may_have_no_class_column(tmp_path):
    (tmp_path / "u.txt").write_text("u1.mp4\nu2.mp4\n")
    (tmp_path / "l.txt").write_text("a.mp4 0\n")
    ann = load(DatasetConfig(name="csv", root=str(tmp_path), lists={"labelled": "l.txt", "unlabelled": "u.txt"}))
    assert rows(ann) == [("a.mp4", 0, "labelled"), ("u1.mp4", -1, "unlabelled"), ("u2.mp4", -1, "unlabelled")]


def test_stems_that_occur_twice_get_keys_from_their_folders(tmp_path):
    ann = read_text(tmp_path, "v/x/1.mp4 a\nv/y/1.mp4 b\nv/y/1.avi b\n")
    assert ann.clips.column("key").to_pylist() == ["x_1_mp4", "y_1_avi", "y_1_mp4"]


def test_ucf_with_published_lists_end_to_end():
    root = need_data("ucf101-9")
    lists = {"labelled": "sefar_10pct_labeled.txt", "unlabelled": "sefar_10pct_unlabeled.txt", "test": "test.txt"}
    ann = load(DatasetConfig(name="csv", root=str(root), lists=lists, classes="classes.txt"))
    assert missing_paths(ann.clips["path"].to_pylist()) == []
    split = draw_split(ann, SplitConfig(method="lists"), seed=0)
    assert [len(split.keys(role)) for role in ("labelled", "unlabelled", "test")] == [90, 783, 341]
    assert set(split.items("unlabelled").labels.tolist()) == {-1}
    truth = dict(zip(ann.clips["key"].to_pylist(), ann.clips["label"].to_pylist(), strict=True))
    assert {truth[key] for key in split.keys("unlabelled")} == set(range(9))
    assert truth["v_BandMarching_g20_c01"] == 5
    assert len(set(ann.clips["source"].to_pylist())) < ann.clips.num_rows / 3
    assert split.leakage.test_clips == 0


def test_clip_tables_round_trip_and_refuse_other_files(tmp_path):
    ann = read_text(tmp_path, "a.mp4 x\nb.mp4 y")
    write_clips(tmp_path / "clips.parquet", ann)
    assert read_clips(tmp_path / "clips.parquet") == ann
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    for name, message in (("gone.parquet", "does not exist"), ("bad.parquet", "not a readable parquet file")):
        with pytest.raises(UserError, match=message):
            read_clips(tmp_path / name)


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_keys_are_tar_safe_and_lossy_names_do_not_collide(first, second):
    key = sanitise_key(first)
    assert key.isascii()
    assert key.replace("_", "").replace("-", "").isalnum() or set(key) <= {"_", "-"}
    assert 0 < len(key) <= 90
    if first != second and not (first.isascii() and second.isascii()):
        assert key != sanitise_key(second)


def test_names_that_are_no_text_are_refused_in_one_line():
    """Half of a surrogate pair: JSON lists can hold it, no file name that tools agree on can."""
    clip = Clip(name="a", path="/v/a\ud800.mp4", label=0, role="train", source="a")
    with pytest.raises(UserError, match=r"toy: '/v/a\\ud800.mp4' is no valid text; rename the file or mend the list"):
        make_annotations([clip], ["any"], "toy", "1")
