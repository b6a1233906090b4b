"""Labels of a person laid over a draw: what joins the labelled clips, what goes, what is refused."""

import pytest

from shards.annotations.base import Clip, make_annotations
from shards.errors import UserError
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split, read_split, write_split
from shards.types import NO_LABEL

CLASSES = ["pike", "tuck, free"]


@pytest.fixture
def found():
    """Six clips of each class to draw from, two of each to test."""
    return make_annotations(
        [
            Clip(name=f"{role[:2]}{label}{n}", path=f"{n}.mp4", label=label, role=role, source=f"{role}{label}{n}")
            for role, count in (("train", 6), ("test", 2))
            for label in (0, 1)
            for n in range(count)
        ],
        CLASSES,
        "csv",
        "1",
    )


def written(folder, *rows):
    (folder / "reviewed.csv").write_text("key,class,verdict\n" + "".join(f"{row}\n" for row in rows))
    return SplitConfig(ratio=0.2, reviewed=str(folder / "reviewed.csv"))


def roles(split):
    return {row["key"]: (row["role"], row["label"]) for row in split.table.to_pylist()}


@pytest.mark.parametrize(
    "save",
    [
        lambda text: text.replace('"tuck, free"', "tuck, free").encode("utf-16"),
        lambda text: ("\ufeff" + text).replace("\n", "\r\n").encode(),
        lambda text: text.replace(";", "\t").encode(),
    ],
)
def test_the_list_may_come_back_from_a_spreadsheet(found, tmp_path, save):
    """In Unicode forms, ends of lines and separators of its own."""
    before = draw_split(found, SplitConfig(ratio=0.2), 0)
    first, second = before.keys("unlabelled")[:2]
    text = f'note;class;key\n;"tuck, free";{first}\n;;{second}\n'
    (tmp_path / "reviewed.csv").write_bytes(save(text))
    after = draw_split(found, SplitConfig(ratio=0.2, reviewed=str(tmp_path / "reviewed.csv")), 0)
    assert roles(after)[first] == ("labelled", 1)
    assert second not in roles(after)


def test_named_clips_are_labelled_rejected_ones_go_and_nothing_else_changes(found, tmp_path):
    """A name may differ from the true class: the person's word counts."""
    before = draw_split(found, SplitConfig(ratio=0.2), 0)
    first, second, third = before.keys("unlabelled")[:3]
    kept = before.keys("labelled")[0]
    cfg = written(
        tmp_path, f'{first},"tuck, free",change', f"{second},pike,accept", f"{third},,reject", f"{kept},pike,"
    )
    after = draw_split(found, cfg, 0)
    expected = roles(before) | {first: ("labelled", 1), second: ("labelled", 0)}
    del expected[third]
    assert roles(after) == expected
    assert after.sha256 != before.sha256
    assert all(label == NO_LABEL for role, label in roles(after).values() if role == "unlabelled")
    write_split(tmp_path / "split.parquet", after)
    assert roles(read_split(tmp_path / "split.parquet")) == expected


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["tr00,jump,change"], "1 bad rows: line 2: tr00 is 'jump'"),
        (["tr00,pike,accept", "tr00,pike,accept"], "line 3: tr00 stands there twice"),
        (["te00,pike,accept"], "te00 is a test clip"),
        (["other,pike,accept"], "other is no clip of this data set"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(found, tmp_path, rows, words):
    with pytest.raises(UserError, match=words) as refused:
        draw_split(found, written(tmp_path, *rows), 0)
    assert "\n" not in str(refused.value)


def test_a_list_of_another_kind_is_refused(found, tmp_path):
    (tmp_path / "x.csv").write_text("a.mp4,pike\n")
    with pytest.raises(UserError, match="needs the columns key and class"):
        draw_split(found, SplitConfig(reviewed=str(tmp_path / "x.csv")), 0)
