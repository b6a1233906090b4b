from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.errors import UserError
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split
from tests.shards.helpers import make


def drawn(rows, **cfg):
    split = draw_split(make([(*row, *("",) * (4 - len(row))) for row in rows]), SplitConfig(**cfg), seed=0)
    return {role: split.keys(role) for role in ("labelled", "unlabelled", "test")}


@pytest.mark.parametrize(
    "rows",
    [
        [("a", 0, "labelled"), ("b", 1, "labelled"), ("c", -1, "unlabelled"), ("d", 1, "unlabelled"), ("t", 0, "test")],
        [("a", 0, "train"), ("b", 1, "train"), ("c", -1, "unlabelled"), ("d", 1, "unlabelled"), ("t", 0, "test")],
        [("a", 0, "train"), ("b", 1, "train"), ("c", -1, "train"), ("d", -1, "train"), ("t", 0, "test")],
    ],
)
def test_a_list_that_says_who_is_labelled_needs_no_other_key(rows):
    """A recipe's own per_class is for draws and does not get in."""
    assert drawn(rows, per_class=1) == {"labelled": ["a", "b"], "unlabelled": ["c", "d"], "test": ["t"]}


def test_where_every_training_clip_has_a_class_labels_are_drawn():
    rows = [(f"a{n}", 0, "train") for n in range(10)] + [("t", 0, "test")]
    assert {role: len(keys) for role, keys in drawn(rows, ratio=0.3).items()} == {
        "labelled": 3,
        "unlabelled": 7,
        "test": 1,
    }


def test_training_clips_beside_labelled_ones_are_refused():
    with pytest.raises(UserError, match="1 clips are train and 1 labelled; write labelled or unlabelled for each"):
        drawn([("a", 0, "labelled"), ("b", 0, "train"), ("t", 0, "test")])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=60), st.integers(5, 50))
def test_what_is_held_out_leaves_every_class_a_label_and_divides_no_source(pairs, percent):
    rows = [(f"k{n}", label, "labelled", f"s{source}") for n, (label, source) in enumerate(pairs)]
    try:
        split = drawn([*rows, ("p", -1, "unlabelled")], test_share=percent / 100)
    except UserError as error:
        assert "none can be held out" in str(error)
        return
    label, source = {row[0]: row[1] for row in rows}, {row[0]: row[3] for row in rows}
    assert not {source[key] for key in split["labelled"]} & {source[key] for key in split["test"]}
    assert {label[key] for key in split["labelled"]} == set(label.values())
    assert split["unlabelled"] == ["p"]


def test_a_fifth_of_each_class_is_held_out_whatever_the_seed():
    rows = [(f"c{n}-{m}", n, "train") for n in range(3) for m in range(20)]
    ann = make([(*row, "") for row in rows])
    splits = [draw_split(ann, SplitConfig(ratio=0.25), seed) for seed in (0, 1)]
    assert splits[0].keys("test") == splits[1].keys("test")
    assert Counter(splits[0].items("test").labels.tolist()) == {0: 4, 1: 4, 2: 4}
    assert splits[0].keys("labelled") != splits[1].keys("labelled")
    assert splits[0].method == "stratified; 20% held out as the test"
    assert len(splits[0].keys("labelled")) == 12


def test_without_test_clips_and_nothing_to_hold_out_a_data_set_is_refused():
    for rows, cfg in (
        ([("a", 0, "train"), ("b", 1, "train")], {}),
        ([("a", 0, "train"), ("b", 0, "train")], {"test_share": 0}),
    ):
        with pytest.raises(UserError, match="test clip"):
            drawn(rows, **cfg)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=60), st.integers(5, 50))
def test_held_out_labels_are_of_other_source_videos_and_no_class_gives_its_last(pairs, percent):
    rows = [(f"k{n}", label, "labelled", f"s{source}") for n, (label, source) in enumerate(pairs)]
    rows += [(f"t{label}", label, "test", "") for label in range(3)] + [("p", -1, "unlabelled", "")]
    cfg = SplitConfig(held_out=percent / 100, allow_unseen=True)
    try:
        split = draw_split(make(rows), cfg, seed=1)
    except UserError as error:
        assert "split.held_out" in str(error)
        return
    label, source = {row[0]: row[1] for row in rows}, {row[0]: row[3] for row in rows}
    kept, held = split.keys("labelled"), split.keys("held_out")
    assert sorted([*kept, *held]) == sorted(row[0] for row in rows if row[2] == "labelled")
    assert held
    assert not {source[key] for key in kept} & {source[key] for key in held}
    assert {label[key] for key in kept} == {label[key] for key in (*kept, *held)}
    assert split.items("held_out").labels.tolist() == [label[key] for key in held]
    assert split == draw_split(make(rows[::-1]), cfg, seed=1)


def test_no_label_is_held_out_unless_it_is_asked_for():
    rows = [(f"a{n}", n % 2, "train", "") for n in range(20)] + [("t", 0, "test", ""), ("u", 1, "test", "")]
    assert draw_split(make(rows), SplitConfig(ratio=0.5), seed=0).keys("held_out") == []
    split = draw_split(make(rows), SplitConfig(ratio=0.5, held_out=0.2), seed=0)
    assert [len(split.keys(role)) for role in ("labelled", "held_out", "unlabelled", "test")] == [8, 2, 10, 2]
