import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.annotations import load
from shards.annotations.base import read_clips, write_clips
from shards.annotations.config import DatasetConfig, OpenWorldConfig
from shards.annotations.open_world import draw_classes, open_world
from shards.errors import UserError
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split, read_split, write_split
from shards.types import NO_LABEL
from tests.shards.annotations.real import DATA, needs_data
from tests.shards.helpers import make

ROWS = [
    (f"c{label}_{i}", label, "test" if i > 7 else "train", f"s{label}{i}")
    for label in (0, 1, 2, 4, 5)
    for i in range(10)
]


def _truth(ann):
    return {c["key"]: (ann.classes[c["label"]], c["role"]) for c in ann.clips.to_pylist()}


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_every_clip_keeps_its_class_and_novel_clips_are_only_trained_on(known, novel, seed):
    ann = make(ROWS, n_classes=6)
    cfg = OpenWorldConfig(known=known, novel=novel, seed=seed)
    if known + novel > 5:
        with pytest.raises(UserError, match="only 5 classes have training clips"):
            open_world(ann, cfg)
        return
    opened = open_world(ann, cfg)
    before, after = _truth(ann), _truth(opened)
    assert opened.known == known
    assert len(opened.classes) == len(set(opened.classes)) == known + novel
    assert "class3" not in opened.classes
    assert all(before[key] == now for key, now in after.items())
    wanted = {k for k, (name, role) in before.items() if name in opened.classes[: None if role == "train" else known]}
    assert set(after) == wanted


def test_splits_label_known_classes_only(tmp_path):
    ann = open_world(make(ROWS, n_classes=6), OpenWorldConfig(known=3))
    split = draw_split(ann, SplitConfig(ratio=0.25), seed=1)
    assert split.classes == ann.classes[:3]
    assert sorted(split.items("labelled").labels.tolist()) == [0, 0, 1, 1, 2, 2]
    assert len(split.keys("unlabelled")) == 3 * 6 + 2 * 8
    assert len(split.keys("test")) == 3 * 2
    assert set(split.items("unlabelled").labels.tolist()) == {NO_LABEL}
    write_split(tmp_path / "split.parquet", split)
    assert read_split(tmp_path / "split.parquet").classes == split.classes
    write_clips(tmp_path / "clips.parquet", ann)
    assert read_clips(tmp_path / "clips.parquet").known == 3


def test_novel_clips_of_a_labelled_list_become_unlabelled():
    rows = [(f"{role}{label}", label, role, "") for label in range(3) for role in ("labelled", "unlabelled", "test")]
    ann = open_world(make(rows), OpenWorldConfig(known=2))
    split = draw_split(ann, SplitConfig(method="lists"), seed=0)
    novel = int(ann.classes[2].removeprefix("class"))
    assert sorted(split.keys("unlabelled")) == sorted([*(f"unlabelled{i}" for i in range(3)), f"labelled{novel}"])
    assert f"test{novel}" not in split.keys("test")


def test_other_seeds_are_other_draws():
    names = [f"class{i}" for i in range(48)]
    draws = {tuple(draw_classes(names, OpenWorldConfig(known=40, seed=seed))[1]) for seed in range(5)}
    assert len(draws) == 5
    assert all(len(novel) == 8 for novel in draws)


@pytest.mark.parametrize("options", [{"known": -1}, {"novel": 3}])
def test_counts_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match=r"known = -1: must be at least 0|needs open_world\.known"):
        OpenWorldConfig(**options)


@needs_data
def test_real_diving48_has_47_classes_to_draw_from():
    def read(**options):
        return load(DatasetConfig(name="diving48", root=str(DATA / "diving48"), open_world=OpenWorldConfig(**options)))

    with pytest.raises(UserError, match="40 known and 8 novel classes are wanted, only 47"):
        read(known=40, novel=8)
    ann = read(known=40)
    assert (ann.known, len(ann.classes)) == (40, 47)
    split = draw_split(ann, SplitConfig(ratio=0.1), seed=0)
    assert set(split.items("labelled").labels.tolist()) == set(range(40))
    assert set(split.items("test").labels.tolist()) == set(range(40))
