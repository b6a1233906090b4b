from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.annotations import load
from shards.annotations.config import DatasetConfig
from shards.errors import UserError
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split
from shards.splits.leakage import source_overlap
from tests.shards.annotations.real import DATA, needs_data
from tests.shards.helpers import column, make

tables = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["train", "test"]), st.integers(0, 7)), min_size=4, max_size=40
).filter(lambda rows: {0, 1, 2} <= {label for label, role, source in rows if role == "train" and source < 4})


def _split(rows, **options):
    """Sources 0-3 are only trained on, 4 and 5 stand on both sides, 6, 7 and 9 are only tested on."""
    clips = []
    for i, (label, drawn, source) in enumerate(rows):
        role = "train" if source < 4 else "test" if source > 5 else drawn
        clips.append((f"c{i}", label, role, f"s{source}"))
    ann = make([*clips, ("t", 0, "test", "s9")])
    return ann, draw_split(ann, SplitConfig(group_by_source=True, allow_unseen=True, **options), seed=3)


@settings(max_examples=60, deadline=None)
@given(tables, st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 2))
def test_no_source_stands_on_two_sides(rows, ratio, least):
    ann, split = _split(rows, ratio=ratio, min_per_class=least)
    source = dict(zip(column(ann.clips, "key"), column(ann.clips, "source"), strict=True))
    pairs = zip(column(split.table, "role"), column(split.table, "key"), strict=True)
    assert not source_overlap((role, source[key]) for role, key in pairs)
    assert split.leakage.test_clips == 0
    labelled = Counter(split.items("labelled").labels.tolist())
    kept = set(column(split.table, "key"))
    pool = Counter(c["label"] for c in ann.clips.to_pylist() if c["role"] == "train" and c["key"] in kept)
    assert all(labelled[label] >= min(least, n) for label, n in pool.items())


def test_quotas_are_met_when_sources_allow():
    rows = [(f"c{label}_{i}", label, "train", f"s{label}_{i // 2}") for label in range(3) for i in range(20)]
    ann = make([*rows, *((f"t{label}", label, "test", f"t{label}") for label in range(3))])
    split = draw_split(ann, SplitConfig(ratio=0.2, group_by_source=True), seed=0)
    assert Counter(split.items("labelled").labels.tolist()) == {0: 4, 1: 4, 2: 4}
    other = draw_split(ann, SplitConfig(ratio=0.2, group_by_source=True), seed=1)
    assert other.keys("labelled") != split.keys("labelled")


def test_clips_without_a_source_stand_alone():
    ann = make(
        [*((f"c{label}_{i}", label, "train", "") for label in range(3) for i in range(10)), ("t", 0, "test", "")]
    )
    split = draw_split(ann, SplitConfig(ratio=0.3, group_by_source=True), seed=0)
    assert len(split.keys("labelled")) == 9
    assert len(split.table) == 31


def test_the_random_method_cannot_group():
    with pytest.raises(ValueError, match="group_by_source"):
        SplitConfig(method="random", group_by_source=True)


def test_overlap_names_roles_sources_and_clips():
    rows = [("labelled", "a"), ("labelled", "a"), ("test", "a"), ("test", "b"), ("unlabelled", ""), ("test", "")]
    overlap = source_overlap(rows)
    assert overlap
    assert overlap.lines() == ["labelled and test share 1 source videos (2 and 1 clips)"]
    assert not source_overlap([("labelled", "a"), ("test", "b"), ("labelled", ""), ("test", "")])


@needs_data
@pytest.mark.parametrize(("subset", "shared"), [("gym99", 40), pytest.param("gym288", 113, marks=pytest.mark.slow)])
def test_real_source_videos_shared_by_train_and_val(subset, shared):
    ann = load(DatasetConfig(name="finegym", root=str(DATA / "finegym"), subset=subset))
    overlap = source_overlap(zip(column(ann.clips, "role"), column(ann.clips, "source"), strict=True))
    assert [len(pair.sources) for pair in overlap.pairs] == [shared]


@needs_data
@pytest.mark.slow
def test_real_gym99_drawn_by_source_video():
    """A quarter of its training clips share a source video with test clips, and so do all of class 70."""
    ann = load(DatasetConfig(name="finegym", root=str(DATA / "finegym"), version="v1.0"))
    with pytest.raises(UserError, match="1 class has clips but no labelled one: 70 "):
        draw_split(ann, SplitConfig(ratio=0.1, group_by_source=True), seed=0)
    split = draw_split(ann, SplitConfig(ratio=0.1, group_by_source=True, allow_unseen=True), seed=0)
    assert split.leakage.labelled_sources == split.leakage.unlabelled_sources == 0
    assert set(split.items("labelled").labels.tolist()) == set(range(99)) - {70}
    assert len(split.table) - 8521 == 15050
    assert 0.08 < len(split.keys("labelled")) / 15050 < 0.16
