"""The method study end to end at the smallest size, its data, its batches and its page."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from finepseudo.bench.method import MethodConfig
from finepseudo.bench.training import balanced
from jobs.bench.method import BenchConfig, RenderedClips, draw_study, main, run_study
from shards.errors import UserError
from shards.synthetic.config import SyntheticDivingConfig

GOLDEN = Path(__file__).parents[2] / "golden"
SMALL = BenchConfig(
    data=SyntheticDivingConfig(class_set=("F:S15t", "B:S15p"), train_per_class=4, test_per_class=2),
    labelled_per_class=2,
    size=24,
    method=MethodConfig(
        frames=8,
        ssl_batch=4,
        ssl_steps=2,
        metric_steps=2,
        classification_steps=2,
        rounds=1,
        round_metric_steps=1,
        round_classification_steps=1,
    ),
)


@pytest.fixture(scope="module")
def study():
    return draw_study(SMALL, 3)


def test_roles_are_disjoint_and_labels_per_class_equal(study):
    parts = [set(part.tolist()) for part in (study.labelled, study.unlabelled, study.test)]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert len(set.union(*parts)) == 12
    assert np.bincount(study.labels[study.labelled]).tolist() == [2, 2]
    assert not study.source.is_train[study.test].any()


def test_clips_are_a_function_of_the_generator(study):
    rows = study.labelled[:2]
    first, second = (study.source.batch(rows, rows, "gitdl", np.random.default_rng(5)) for _ in range(2))
    assert first.frames.shape == (2, 2, 8, 3, 24, 24)
    assert first.frames.equal(second.frames)
    plain = study.source.batch(rows, rows, "uniform", None)
    assert plain.frames.shape == (2, 1, 8, 3, 24, 24)
    assert (plain.frame_ids < plain.n_frames.view(-1, 1, 1)).all()
    assert not plain.frames.equal(study.source.batch(rows, rows, "uniform", np.random.default_rng(5)).frames)


def test_evaluation_reads_the_rendered_pixels(study):
    row = int(study.test[0])
    batch = study.source.batch(np.array([row]), np.array([0]), "uniform", None)
    pictures = study.source.videos[row][batch.frame_ids[0, 0].numpy()]
    np.testing.assert_allclose(batch.frames[0, 0].permute(0, 2, 3, 1) * 0.25 + 0.5, pictures / 255, atol=1e-6)


@pytest.mark.parametrize(("accepted", "share"), [(1, 1 / 3), (2, 1 / 2), (3, 1 / 2)])
def test_pseudo_labels_fill_at_most_half_of_a_class_and_move_no_other(study, accepted, share):
    true = (study.labelled, study.labels[study.labelled])
    pseudo = (study.unlabelled[:accepted], np.zeros(accepted, np.int64))
    batches = balanced(study.source, [true, pseudo], 2, 2, np.random.default_rng(0))
    keys = []
    for _ in range(80):
        batch = next(batches)
        assert sorted(batch.labels.tolist()) == [0, 0, 1, 1]
        keys += [int(key) for key, label in zip(batch.keys, batch.labels.tolist(), strict=True) if label == 0]
    assert sum(key in pseudo[0] for key in keys) / len(keys) == pytest.approx(share, abs=0.1 if accepted < 3 else 0)


def test_study_runs_resumes_and_refuses_other_settings(tmp_path):
    out = tmp_path / "results.json"
    page = run_study(SMALL, [3], out, "the command")
    assert "`the command`" in page and "| FinePseudo (collaborative) |" in page
    assert out.with_suffix(".md").read_text() == page
    kept = json.loads(out.read_text())
    assert 0 <= kept["seeds"]["3"]["top1 collaborative"] <= 1
    kept["seeds"]["3"]["top1 collaborative"] = 0.125
    out.write_text(json.dumps(kept))
    assert "0.125" in run_study(SMALL, [3], out, "the command")
    with pytest.raises(UserError, match="other settings"):
        run_study(dataclasses.replace(SMALL, size=32), [3], out, "the command")


def test_the_stored_study_can_be_added_to():
    """Its page prints a command; of a file with other settings that command would refuse to go on."""
    stored = json.loads((GOLDEN / "bench_method.json").read_text())["settings"]
    assert stored == json.loads(json.dumps(dataclasses.asdict(BenchConfig())))


def test_command_refuses_the_seeds_it_was_tuned_on():
    with pytest.raises(UserError, match="chosen on these"):
        main(["--seeds", "100", "3"])


def test_a_video_does_not_depend_on_the_others():
    alone = RenderedClips(
        SyntheticDivingConfig(class_set=("B:S15p", "F:S15t"), train_per_class=1, test_per_class=0), 16, 8
    )
    more = RenderedClips(
        SyntheticDivingConfig(class_set=("F:S15t", "B:S15p"), train_per_class=2, test_per_class=1), 16, 8
    )
    np.testing.assert_array_equal(alone.videos[1], more.videos[0])
