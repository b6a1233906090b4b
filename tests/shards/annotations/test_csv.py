import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.annotations import load
from shards.annotations.base import Clip, make_annotations, read_clips, sanitise_key, write_clips
from shards.annotations.config import DatasetConfig
from shards.annotations.csv import read_clips_alone
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
    "text",
    [
        "a.mp4;jump\nb.mp4;run\n",
        "video_name,tag\na.mp4,jump\nb.mp4,run\n",
        ",video_name,tag\n0,a.mp4,jump\n1,b.mp4,run\n",
        "label,filepath\njump,a.mp4\nrun,b.mp4\n",
        "jump,a.mp4\nrun,b.mp4\n",
        "video_id,File Path,label\n7,a.mp4,jump\n8,b.mp4,run\n",
        "label;clip;fps;Split\njump;a.mp4;25;Training\nrun;b.mp4;30;train\n",
        "wozu,was\na.mp4,jump\nb.mp4,run\n",
        "a.mp4 0.0\nb.mp4 1.0\n",
        "path,label\na.mp4,jump\nb.mp4,run\n".encode("utf-16"),
    ],
)
def test_forms_of_tutorials_and_spreadsheets(tmp_path, text):
    ann = read_text(tmp_path, text)
    assert rows(ann) == PLAIN
    assert ann.classes in (["jump", "run"], ["0", "1"])


@pytest.mark.parametrize(
    ("text", "classes", "labels"),
    [
        ("a.mp4 run fast\nb.mp4 jump high\n", ["jump high", "run fast"], [1, 0]),
        ('path,label\n"a.mp4","run, then jump"\nb.mp4,jump', ["jump", "run, then jump"], [1, 0]),
        ("frames/a 10 0\nframes/b 12 1\n", ["0", "1"], [0, 1]),
        ("frames/a,10,0\nframes/b,12,1\n", ["0", "1"], [0, 1]),
        ("a.mp4 00\nb.mp4 01\nc.mp4 1\n", ["0", "1"], [0, 1, 1]),
        ("a.mp4 1\nb.mp4 2\n", ["1", "2"], [0, 1]),
        ("a.mp4 1007\nb.mp4 2004\n", ["1007", "2004"], [0, 1]),
        ("path,class\na.mp4,cafe\u0301\nb.mp4,caf\u00e9\nc.mp4,x\n", ["caf\u00e9", "x"], [0, 0, 1]),
        ("path,class\na.mp4,x\nb.mp4,\nc.mp4,-1\nd.mp4,nan\ne.mp4,unlabeled\n", ["x"], [0, -1, -1, -1, -1]),
    ],
)
def test_what_the_class_column_means(tmp_path, text, classes, labels):
    ann = read_text(tmp_path, text)
    assert (ann.classes, [row[1] for row in rows(ann)]) == (classes, labels)


@pytest.mark.parametrize(
    ("words", "roles"),
    [
        (("train", "val", "test"), ["train", "train", "test"]),
        (("train", "Validation", "training"), ["train", "test", "train"]),
        (("labeled", "unlabeled", "val"), ["labelled", "unlabelled", "test"]),
        (("labelled", "test", "valid"), ["labelled", "test", "labelled"]),
    ],
)
def test_the_words_for_roles(tmp_path, words, roles):
    text = "path,label,split\n" + "".join(f"{name}.mp4,x,{word}\n" for name, word in zip("abc", words, strict=True))
    assert [row[2] for row in rows(read_text(tmp_path, text))] == roles


def test_lists_by_role_take_the_same_words(tmp_path):
    for name in ("labeled", "unlabeled", "val"):
        (tmp_path / name).write_text(f"{name}1.mp4 0\n")
    cfg = DatasetConfig(name="csv", root=str(tmp_path), lists={name: name for name in ("labeled", "unlabeled", "val")})
    assert [row[2] for row in rows(load(cfg))] == ["labelled", "unlabelled", "test"]


def test_parts_of_one_long_video(tmp_path):
    ann = read_text(
        tmp_path, "path,label,start,end,person\nday.mp4,jump,0,2.5,p1\nday.mp4,run,2.5,4,p1\nb.mp4,run,,,\n"
    )
    found = [(row["key"], row["start"], row["end"], row["source"]) for row in ann.clips.to_pylist()]
    assert found == [
        ("b", None, None, "b.mp4"),
        ("day_00000000-00002500", 0.0, 2.5, "p1"),
        ("day_00002500-00004000", 2.5, 4.0, "p1"),
    ]
    with pytest.raises(UserError, match=r"1 clip is listed twice"):
        read_text(tmp_path, "path,label,start\nday.mp4,jump,1\nday.mp4,run,1\n")


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("".join(f"{n}.mp4 jump\n" for n in range(5)) + "x.mp4 jmup\n", "classes of a single clip.* jmup"),
        ("a.mp4 none\nb.mp4 none\nc.mp4 x\nd.mp4 x\n", "taken for classes: none; leave the cell empty"),
        ("a.mp4 7\nb.mp4 7\nc.mp4 x\nd.mp4 x\n", "numbers among the class names.* 7"),
        ("a.mp4 Run\nb.mp4 Run\nc.mp4 run\nd.mp4 run\n", "written nearly the same: Run, run"),
        ("path,label,mood\na.mp4,x,good\n", "columns not used: mood"),
        ("f/a 10 0\nf/b 10 1\n", "second column is taken for the number of frames"),
        ("path,label,split\na.mp4,x,train\nb.mp4,x,val\n", "1 clips of the role val are the test"),
        ("d\\a.mp4,x\nd\\b.mp4,x\n", "backslashes"),
        ("a.mp4 01\nb.mp4 1\nc.mp4 0\n", "written in two ways are one: 01, 1 = 1"),
    ],
)
def test_what_is_not_plain_is_said(tmp_path, text, remark):
    remarks = read_text(tmp_path, text).remarks
    assert [text for text in remarks if re.search(remark, text)], remarks


@pytest.mark.parametrize(
    ("classes", "name", "text", "labels"),
    [
        ("1 jump\r\n2 run\r\n", "c.txt", "a.mp4 1\nb.mp4 2\n", [0, 1]),
        ("1 jump\n2 run\n", "c.txt", "a.mp4 run\nb.mp4 jump\n", [1, 0]),
        ("run\t5\njump\t3\n", "c.txt", "a.mp4 5\nb.mp4 3\n", [1, 0]),
        ("id,name\n0,jump\n1,run\n", "c.csv", "a.mp4 1\nb.mp4 jump\n", [1, 0]),
        ('{"jump": "0", "run": 1}', "c.json", "a.mp4 1\nb.mp4 jump\n", [1, 0]),
        ("1 m dive\n3 m dive\n", "c.txt", "a.mp4,3 m dive\nb.mp4,0\n", [1, 0]),
    ],
)
def test_class_files_with_numbers_of_their_own(tmp_path, classes, name, text, labels):
    (tmp_path / name).write_bytes(classes.encode())
    ann = read_text(tmp_path, text, classes=str(tmp_path / name))
    assert [row[1] for row in rows(ann)] == labels


CASES = [
    ("blanks.txt", [0, 1, 1]),
    ("floats.txt", [0, 1, 0]),
    ("idpathlabel.csv", [1, 0, 1]),
    ("kaggle.csv", [1, 0, 1]),
    ("keras.csv", [1, 0, 1]),
    ("labelfirst.csv", [1, 0]),
    ("labelfirst_nohead.csv", [1, 0, 1]),
    ("leadzero.txt", [0, 1, 1]),
    ("quoted.csv", [1, 0]),
    ("semicolon.csv", [1, 0]),
    ("spacedclass.txt", [1, 0, 1]),
    ("utf16.csv", [0]),
    ("val.csv", [1, 0, 1]),
]


@pytest.mark.parametrize(("name", "labels"), [(name, sorted(labels)) for name, labels in CASES])
def test_lists_that_people_report(name, labels):
    path = need_data("cases/list_headers") / name
    ann = load(DatasetConfig(name="csv", lists={"all": str(path)}))
    assert sorted(row[1] for row in rows(ann)) == labels
    assert missing_paths(ann.clips["path"].to_pylist()) == []


def test_a_header_of_a_tutorial_is_no_class():
    path = need_data("cases/list_headers/many/train.csv")
    ann = load(DatasetConfig(name="csv", lists={"all": str(path)}))
    assert (ann.classes, ann.clips.num_rows) == (["jump", "run"], 60)


@pytest.mark.parametrize(("name", "message"), [("gbk.txt", "iconv"), ("withlen.csv", "two columns of numbers")])
def test_lists_that_nobody_can_read_for_sure_are_refused(name, message):
    path = need_data("cases/list_headers") / name
    with pytest.raises(UserError, match=message):
        load(DatasetConfig(name="csv", lists={"all": str(path)}))


def test_frame_lists_that_people_report():
    root = need_data("cases/frame_lists")
    ann = load(DatasetConfig(name="csv", lists={"all": str(root / "train.txt")}))
    assert missing_paths(ann.clips["path"].to_pylist()) == []
    assert [row[1] for row in rows(ann)] == [0, 1, 0, 1]
    with pytest.raises(UserError, match="line 3: '/data/somewhere/frames_train/c 10' has no class"):
        load(DatasetConfig(name="csv", lists={"all": str(root / "train_weird.txt")}))


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
        ("a.mp4,,test\nb.mp4,x,train", "line 1: 'a.mp4' has an empty class, and its role is test"),
        (",x\nb.mp4,x", "line 1: no path"),
        ("a.mp4,x,trian\nb.mp4,x,test", "line 1: role 'trian' is not one of"),
        ("a.mp4,0,10\nb.mp4,1,30", "list.txt:1 has two columns of numbers; which of them is the class"),
        ("a.mp4,x,why,3\nb.mp4,y,so,4", "list.txt:1 has 4 columns; which of them is the class"),
        ("path,colour,mood\na.mp4,red,good", "names the columns path, colour, mood; which of them is the class"),
        ("path,class\na.mp4,b,c", "line 2: 'a.mp4,b,c' has 3 columns, not 2; a name that holds the separator"),
        ("path,class\n", "holds a header and no row"),
        ("path,class,start_frame,end_frame\na.mp4,x,0,9", "parts of a video are given in seconds"),
        ("path,class,start,end\na.mp4,x,3,2", "line 2: start 3 and end 2: 0 <= start < end"),
        ("path,class,start\na.mp4,x,1m", "line 2: start '1m' and end '' must be seconds"),
        ("a.mp4,x\nb.mp4,-2", r"class -2 \(1 rows\) is a negative number"),
        ("a.mp4,x\nb.mp4,x\nc,Tag\nd.mp4,x", "class 'Tag' of a single row is the name of a column"),
        ("a.mp4,-1\nb.mp4,", "no clip has a class"),
        ("frames/a 10 0\nframes/b 10 1\n/d/c 10\n", "line 3: '/d/c 10' has no class"),
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
    with pytest.raises(UserError, match=r"1 row has a class .*0\.\.2, first: .*list.txt:2: 3"):
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
    with pytest.raises(ValueError, match=r"lists\.vla = .*: no such role"):
        DatasetConfig(name="csv", lists={"vla": "x"})
    with pytest.raises(UserError, match="name = ucf: must be one of csv"):
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
    with pytest.raises(UserError, match=r"toy: '/v/a\\ud800.mp4' is no valid text; rename the file or fix the list"):
        make_annotations([clip], ["any"], "toy", "1")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a b.mp4\nc,d;e.mp4\ngone 1.mp4\n", ["a b.mp4", "c,d;e.mp4", "gone 1.mp4"]),
        ('path\n"c,d;e.mp4"\na b.mp4\n', ["c,d;e.mp4", "a b.mp4"]),
        ("a b.mp4 jump\n", ["a b.mp4"]),
        ("a b.mp4,jump\nplain.mp4,run\n", ["a b.mp4", "plain.mp4"]),
    ],
)
def test_a_list_for_its_clips_alone_may_be_what_ls_writes(tmp_path, text, names):
    """Blanks and commas belong to a name where the whole line is a file; columns stay columns."""
    for name in ("a b.mp4", "c,d;e.mp4", "plain.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text(text)
    found = read_clips_alone(tmp_path / "list.txt")
    assert [clip.path for clip in found] == [str(tmp_path / name) for name in names]
