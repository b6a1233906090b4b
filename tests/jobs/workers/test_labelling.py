"""The split of what can be read: broken videos, empty pools, open worlds."""

from dataclasses import replace

import pytest

from jobs.config.recipes import load
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from jobs.workers.labelling import check_pool, read_truth, usable_split
from shards.annotations.base import write_clips
from shards.annotations.config import OpenWorldConfig
from shards.annotations.open_world import open_world
from shards.errors import UserError
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split
from tests.shards.helpers import make
from tests.shards.numbered import write

ROWS = [(f"c{label}_{i}", label, "test" if i == 3 else "train", "") for label in range(3) for i in range(4)]
ONE = SplitConfig(per_class=1)
WHOLE = draw_split(make(ROWS), ONE, 0)
BROKEN = next(key for key in WHOLE.keys("labelled") if key.startswith("c1"))
"""The only labelled clip of class 1."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    keys = [row[0] for row in ROWS if row[0] != BROKEN]
    return write(tmp_path_factory.mktemp("stored"), dict.fromkeys(keys, 2), "h264", per_shard=len(keys))


def test_a_broken_clip_that_held_the_only_label_gives_it_to_the_next(stored):
    usable = usable_split(make(ROWS), ONE, 0, stored)
    assert usable.items("labelled").labels.tolist() == [0, 1, 2]
    assert set(WHOLE.keys("labelled")) - set(usable.keys("labelled")) == {BROKEN}
    assert BROKEN not in usable.table["key"].to_pylist()


def test_a_published_list_that_lost_the_only_label_of_a_class_is_refused(stored):
    roles = dict(zip(WHOLE.table["key"].to_pylist(), WHOLE.table["role"].to_pylist(), strict=True))
    found = make([(key, label, roles[key], source) for key, label, _, source in ROWS])
    cfg = SplitConfig(method="lists")
    with pytest.raises(UserError, match="1 class has clips but no labelled one: 1 class1"):
        usable_split(found, cfg, 0, stored)
    unseen = usable_split(found, replace(cfg, allow_unseen=True), 0, stored)
    assert unseen.items("labelled").labels.tolist() == [0, 2]


def test_an_empty_pool_is_refused_unless_nobody_needs_it(stored):
    split = usable_split(make(ROWS), SplitConfig(ratio=1.0), 0, stored)
    assert len(split.keys("labelled")) == 8
    check_pool(split, ["supervised"])
    with pytest.raises(UserError, match=r"no clip is left unlabelled, and pseudo_label, finepseudo need such clips"):
        check_pool(split, ["supervised", "pseudo_label", "finepseudo"])
    check_pool(WHOLE, ["pseudo_label"])


def test_an_open_world_has_outputs_for_its_known_classes_alone(tmp_path):
    opened = open_world(make(ROWS), OpenWorldConfig(known=2))
    cfg = load("smoke", [f"out={tmp_path}"])
    run = Run(cfg, Reporter(cfg.folder, tensorboard=False))
    run.paths.clips.parent.mkdir(parents=True)
    write_clips(run.paths.clips, opened)
    truth, classes = read_truth(run.paths.clips)
    assert (run.n_classes(), classes) == (2, opened.classes[:2])
    assert sorted(set(truth.values())) == [0, 1, 2]
    write_clips(run.paths.clips, make(ROWS))
    assert run.n_classes() == 3
