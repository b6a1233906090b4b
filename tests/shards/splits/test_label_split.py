import math
import random
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.annotations.base import Clip, make_annotations
from shards.errors import UserError
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split, read_split, write_split


def dataset(counts, *, test=1, shuffle=0, extra=()):
    rows = [
        Clip(
            name=f"c{label}-{index:03d}",
            path=f"c{label}-{index:03d}.mp4",
            label=label,
            role="train",
            source=f"s{index}",
        )
        for label, n in enumerate(counts)
        for index in range(n)
    ]
    rows += [
        Clip(name=f"t{label}-{index}", path=f"t{label}-{index}.mp4", label=label, role="test", source=f"t{index}")
        for label in range(len(counts))
        for index in range(test)
    ]
    rows += list(extra)
    random.Random(shuffle).shuffle(rows)
    return make_annotations(rows, [f"class {label}" for label in range(len(counts))], "toy", "1")


def per_class(split):
    return Counter(split.items("labelled").labels.tolist())


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(1, 100), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_stratified_takes_the_ceiling_in_each_class(counts, percent, seed):
    split = draw_split(dataset(counts), SplitConfig(ratio=percent / 100), seed)
    assert per_class(split) == {label: math.ceil(Fraction(percent, 100) * n) for label, n in enumerate(counts)}
    assert len(split.keys("labelled")) + len(split.keys("unlabelled")) == sum(counts)
    assert not set(split.keys("labelled")) & set(split.keys("unlabelled"))
    assert set(split.items("unlabelled").labels.tolist()) <= {-1}


def test_a_ratio_means_what_is_written():
    """.07 * 100 is a little more than 7 in binary fractions."""
    assert per_class(draw_split(dataset([100]), SplitConfig(ratio=0.07), 0)) == {0: 7}


@given(st.integers(0, 2**31), st.sampled_from(["stratified", "random"]))
@settings(max_examples=20, deadline=None)
def test_smaller_ratios_lie_inside_larger_ones(seed, method):
    ann = dataset([30, 7, 55])
    sets = [
        set(draw_split(ann, SplitConfig(ratio=ratio, method=method), seed).keys("labelled"))
        for ratio in (0.05, 0.1, 0.2, 0.5, 1.0)
    ]
    assert all(small <= large for small, large in pairwise(sets))


def test_the_order_of_rows_does_not_matter_but_the_seed_does():
    cfg = SplitConfig(ratio=0.2)
    first = draw_split(dataset([40, 40], shuffle=1), cfg, 7)
    again = draw_split(dataset([40, 40], shuffle=2), cfg, 7)
    assert first.table.equals(again.table)
    assert first.sha256 == again.sha256
    others = {draw_split(dataset([40, 40]), cfg, seed).sha256 for seed in range(20)}
    assert len(others) == 20


def test_every_clip_is_drawn_about_equally_often():
    ann = dataset([20])
    hits = Counter(
        key for seed in range(400) for key in draw_split(ann, SplitConfig(ratio=0.25), seed).keys("labelled")
    )
    assert len(hits) == 20
    assert all(60 <= count <= 140 for count in hits.values())  # mean 100, standard deviation 8.7


def test_per_class_and_least_counts():
    ann = dataset([3, 30])
    assert per_class(draw_split(ann, SplitConfig(per_class=6), 0)) == {0: 3, 1: 6}
    assert per_class(draw_split(ann, SplitConfig(ratio=0.1, min_per_class=2), 0)) == {0: 2, 1: 3}
    for seed in range(10):
        assert set(per_class(draw_split(ann, SplitConfig(ratio=0.05, method="random"), seed))) == {0, 1}


def test_a_class_without_a_labelled_clip_is_refused_unless_allowed():
    ann = dataset([1, 60])
    cfg = {"ratio": 0.02, "method": "random", "min_per_class": 0}
    seed = next(seed for seed in range(99) if 0 not in labels_of(ann, cfg, seed))
    with pytest.raises(UserError, match=r"1 class has clips but no labelled one: 0 class 0; raise split\.ratio"):
        draw_split(ann, SplitConfig(**cfg), seed)
    assert dataset([0, 5]).clips.num_rows
    with pytest.raises(UserError, match="0 class 0"):  # only test clips
        draw_split(dataset([0, 5]), SplitConfig(), 0)


def labels_of(ann, cfg, seed):
    return per_class(draw_split(ann, SplitConfig(**cfg, allow_unseen=True), seed))


def test_a_class_without_any_clip_does_not_count():
    assert per_class(draw_split(dataset([4, 0, 4], test=0), SplitConfig(), 0)) == {0: 1, 2: 1}


def clip(name, role, label=0, source=""):
    return Clip(name=name, path=f"{name}.mp4", label=label, role=role, source=source or name)


def test_lists_are_taken_as_they_are_and_hide_true_labels(tmp_path):
    rows = [clip("a", "labelled"), clip("b", "unlabelled"), clip("c", "test"), clip("d", "unlabelled", -1)]
    ann = make_annotations(rows, ["x"], "toy", "1")
    split = draw_split(ann, SplitConfig(method="lists"), 0)
    assert (split.keys("labelled"), split.keys("unlabelled"), split.keys("test")) == (["a"], ["b", "d"], ["c"])
    write_split(tmp_path / "split.parquet", split)
    stored = pq.ParquetFile(tmp_path / "split.parquet").read().to_pylist()
    assert {row["key"]: row["label"] for row in stored} == {"a": 0, "b": -1, "c": 0, "d": -1}
    with pytest.raises(UserError, match=r"brings its own labelled and unlabelled list; set split\.method=lists"):
        draw_split(ann, SplitConfig(method="stratified"), 0)


def test_lists_need_a_labelled_list():
    with pytest.raises(UserError, match=r"has test, train; .*split\.method=stratified"):
        draw_split(dataset([3]), SplitConfig(method="lists"), 0)
    with pytest.raises(UserError, match="no training clips"):
        draw_split(make_annotations([clip("a", "test")], ["x"], "toy", "1"), SplitConfig(), 0)


def test_labelled_and_test_clips_need_a_class():
    ann = make_annotations([clip("a", "labelled"), clip("b", "test", -1)], ["x"], "toy", "1")
    with pytest.raises(UserError, match=r"1 labelled or test clips have no class, first: b \(test\)"):
        draw_split(ann, SplitConfig(method="lists"), 0)


def test_training_clips_without_a_class_stay_unlabelled():
    split = draw_split(dataset([5], extra=[clip("z", "train", -1)]), SplitConfig(ratio=1.0), 0)
    assert split.keys("unlabelled") == ["z"]


def test_shared_source_videos_are_counted():
    rows = [clip("a", "labelled", source="v1"), clip("b", "unlabelled", source="v2")]
    rows += [clip("c", "test", source="v1"), clip("d", "test", source="v2"), clip("e", "test", source="v2")]
    rows += [clip("f", "test", source="v3")]
    leak = draw_split(make_annotations(rows, ["x"], "toy", "1"), SplitConfig(method="lists"), 0).leakage
    assert (leak.labelled_sources, leak.unlabelled_sources, leak.test_clips) == (1, 1, 3)


def test_a_split_round_trips_and_a_changed_one_is_refused(tmp_path):
    split = draw_split(dataset([20, 20]), SplitConfig(), 3)
    path = tmp_path / "split.parquet"
    write_split(path, split)
    assert read_split(path) == split
    table = pq.ParquetFile(path).read()
    pq.write_table(table.slice(1), path)
    with pytest.raises(UserError, match="draw the split again"):
        read_split(path)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"ratio": 0}, r"ratio = 0: must be in \(0, 1\]"),
        ({"ratio": 10}, r"ratio = 10: must be in"),
        ({"method": "best"}, "method = best: must be one of"),
        ({"per_class": 0}, "per_class = 0: must be at least 1"),
        ({"per_class": 3, "method": "random"}, "needs split.method stratified"),
        ({"min_per_class": -1}, "min_per_class = -1"),
    ],
)
def test_configuration_is_checked(options, rule):
    with pytest.raises(ValueError, match=rule):
        SplitConfig(**options)
