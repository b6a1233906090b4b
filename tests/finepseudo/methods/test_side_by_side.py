"""What consistency methods read, and when the pool counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finepseudo.consistency.names import STRONG, WEAK
from finepseudo.methods.base import TrainAction
from finepseudo.methods.fixmatch import FixMatchConfig
from finepseudo.methods.mean_teacher import MeanTeacherConfig
from finepseudo.methods.side_by_side import ConsistencyConfig, half_life_of, ramp_of, streams
from shards.read.config import AugmentConfig, ViewConfig
from shards.read.views import draw_views

VIEW = ViewConfig(augment=AugmentConfig(size=40, flip=0.5, jitter=0.1))
REQUEST = TrainAction(number=1, start=0)


def test_labels_are_seen_as_ever_and_the_pool_weakly_and_strongly():
    labelled, pool = streams(ConsistencyConfig(mu=2.5), REQUEST, VIEW)
    assert labelled.views == (VIEW,) and labelled.role == "labelled"
    assert (pool.role, pool.share) == ("unlabelled", 2.5)
    weak, strong = pool.views
    assert (weak.name, strong.name) == (WEAK, STRONG)
    assert weak.augment == VIEW.augment
    assert (strong.augment.jitter, strong.augment.erase, strong.augment.size) == (0.8, 0.5, 40)
    (_, calm) = streams(ConsistencyConfig(weak_flip=0.0), REQUEST, VIEW)
    assert [view.augment.flip for view in calm.views] == [0.0, 0.5]


@pytest.mark.parametrize("same", [True, False])
def test_both_views_show_the_same_frames_where_asked(same):
    (_, pool) = streams(ConsistencyConfig(same_frames=same), REQUEST, VIEW)
    weak, strong = draw_views(pool.views, 300, (1, 2))
    assert (weak.ids == strong.ids).all() == same


def test_the_ramps_and_the_teacher_count_optimiser_steps():
    plain = ConsistencyConfig(warmup=0.25, weight=3.0)
    assert [ramp_of(plain, 8)(done) for done in (0, 1, 2, 7)] == [0, 0, 3, 3]
    linear = ramp_of(replace(plain, ramp="linear", ramp_share=0.5), 40)
    assert [linear(done) for done in (10, 25, 39)] == pytest.approx([0, 3, 3])
    sine = ramp_of(ConsistencyConfig(warmup=5 / 30, ramp="sine"), 30)
    assert [round(sine(e), 3) for e in (4, 5, 10, 17, 24, 29)] == [0.0, 0.063, 0.368, 0.729, 0.951, 1.0]
    assert half_life_of(ConsistencyConfig(), 100) == 50
    assert half_life_of(ConsistencyConfig(warmup=0.5), 2000) == 100
    assert half_life_of(MeanTeacherConfig(), 100) == 693
    assert half_life_of(FixMatchConfig(), 100) == 0
