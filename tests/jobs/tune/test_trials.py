"""One trial: its clips, its folder, what it reports; from its first report to its last in this process."""

import json
import math
import shutil
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.run_folder.layout import LOG, WEIGHTS, RunPaths
from finepseudo.training.checkpoint import save_state
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.tune.trainings import hold_out
from jobs.tune.trials import METRIC, _append_mean, end_trial, reported, result_of, run_trial, tidy, trial_folder
from jobs.tune.tune import compared
from shards.errors import UserError
from shards.splits.label_split import read_split
from shards.storage.manifest import Manifest
from tests.jobs.tune.base_run import InProcess, space_of, write_base
from tests.shards.helpers import labelled
from tests.shards.read.read_clips import damage

F_A = "space: {frame_stage.loss.omega: {uniform: [0.1, 2]}}\nreports: 2"
OMEGA = {"frame_stage.loss.omega": 0.5}
KINDS = {
    "f_A": (F_A, OMEGA),
    "f_A after a pre-training of its own": ("space: {pretrain.loss.tau: 0.1}\nreports: 2", {"pretrain.loss.tau": 0.1}),
    "f_E": ("trains: action_encoder\nspace: {}\nreports: 2", {"action_stage.train.optim.lr": 0.01}),
    "f_E in a method": ("trains: action_encoder\nmethod: fixmatch\nspace: {}\nreports: 2", {}),
}


@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=40), share=st.floats(0.05, 0.95), seed=st.integers(0, 9))
def test_every_class_keeps_a_clip_and_nothing_is_on_both_sides(labels, share, seed):
    table = labelled({f"k{i:03d}": label for i, label in enumerate(labels)})
    if len(set(labels)) == len(labels):
        with pytest.raises(UserError, match="no class has two labelled clips"):
            hold_out(table, share, seed)
        return
    rest, held = hold_out(table, share, seed)
    assert sorted([*rest.keys, *held]) == table.keys
    assert set(rest.labels.tolist()) == set(labels)
    truth = dict(zip(table.keys, labels, strict=True))
    for label in set(labels):
        n = labels.count(label)
        taken = sum(truth[key] == label for key in held)
        assert taken == 0 if n == 1 else 1 <= taken <= n - 1
    again = hold_out(table, share, seed)
    assert list(again[0].keys) == list(rest.keys)


def test_what_a_trial_need_not_do_again_is_reported_again(tmp_path):
    lines = [{"step": step, METRIC: step / 10} for step in (2, 4, 6)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert reported(tmp_path) == []
    save_state(tmp_path / "checkpoints", 4, {})
    assert [line["step"] for line in reported(tmp_path)] == [2, 4]
    assert result_of(tmp_path, None) == {"trial": tmp_path.name, "state": "unfinished", "reports": 2, METRIC: 0.4}
    end_trial(tmp_path, "stopped")
    assert [line["step"] for line in reported(tmp_path)] == [2, 4, 6]
    assert result_of(tmp_path, None) == {"trial": tmp_path.name, "state": "stopped", "reports": 3, METRIC: 0.6}


def test_a_trial_is_found_by_its_values(tmp_path):
    one = trial_folder(tmp_path, {"a": 1, "b": {"c": 2}})
    assert one == trial_folder(tmp_path, {"b": {"c": 2}, "a": 1})
    assert one != trial_folder(tmp_path, {"a": 1, "b": {"c": 3}})


def test_a_trial_of_several_draws_is_judged_by_their_mean(tmp_path):
    assert _append_mean(tmp_path, 0, 0.2) == 0.2
    assert _append_mean(tmp_path, 1, 0.6) == pytest.approx(0.4)
    assert result_of(tmp_path, None)["state"] == "unfinished"
    end_trial(tmp_path, "done")
    assert result_of(tmp_path, None) == {"trial": tmp_path.name, "state": "done", "reports": 2, METRIC: 0.4}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def ray(monkeypatch):
    return InProcess(monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_reports_while_it_trains_and_is_not_trained_twice(base, ray, tmp_path, kind):
    text, values = KINDS[kind]
    space = space_of(tmp_path, text)
    run_trial(values, cfg=base, space=space, folder=tmp_path)
    trial = trial_folder(tmp_path, values)
    first, trained = [*ray.said], len(ray.trained)
    assert [line["step"] for line in first] == [1, 2]
    assert all(0 <= line[METRIC] <= 1 for line in first)
    weights = (trial / WEIGHTS).read_bytes()
    run_trial(values, cfg=base, space=space, folder=tmp_path)
    assert ray.said[2:] == first, "what is there is reported again"
    assert len(ray.trained) == trained
    assert (trial / WEIGHTS).read_bytes() == weights
    assert result_of(trial, None) == {"trial": trial.name, "state": "done", "reports": 2, METRIC: first[-1][METRIC]}
    tidy(trial)
    assert not (trial / "checkpoints").exists()


def test_a_trial_that_was_stopped_goes_on_where_it_was(base, ray, tmp_path):
    space, trial = space_of(tmp_path, F_A), trial_folder(tmp_path, OMEGA)
    run_trial(OMEGA, cfg=base, space=space, folder=tmp_path / "whole")
    whole, ray.said, ray.stop = ray.said, [], base.folder
    with pytest.raises(Preempted):
        run_trial(OMEGA, cfg=base, space=space, folder=tmp_path)
    assert result_of(trial, None) == {
        "trial": trial.name,
        "state": "unfinished",
        "reports": 1,
        METRIC: whole[0][METRIC],
    }
    tidy(trial)
    ray.said, ray.stop = [], None
    preempt.clear(base.folder)
    run_trial(OMEGA, cfg=base, space=space, folder=tmp_path)
    assert ray.said == whole, "the first report is said again, the second comes from training on"
    assert (trial / WEIGHTS).read_bytes() == (trial_folder(tmp_path / "whole", OMEGA) / WEIGHTS).read_bytes()


@pytest.mark.parametrize("text", ["space: {}\ndraws: 2", "space: {}\ndraws: 2\ntrains: action_encoder"])
def test_each_label_draw_is_trained_once_and_their_mean_judges(base, ray, tmp_path, text):
    space, trial = space_of(tmp_path, text), trial_folder(tmp_path, {})
    ray.stop = base.folder
    with pytest.raises(Preempted):  # the second draw stops at its first step
        run_trial({}, cfg=base, space=space, folder=tmp_path)
    ray.stop = None
    preempt.clear(base.folder)
    run_trial({}, cfg=base, space=space, folder=tmp_path)
    assert ray.trained == ["draw-0", "draw-1", "draw-1"]
    own = [json.loads((trial / f"draw-{seed}" / LOG).read_text().splitlines()[-1])[METRIC] for seed in (0, 1)]
    means = [own[0], sum(own) / 2]
    assert [line[METRIC] for line in ray.said] == pytest.approx([means[0], *means])
    assert result_of(trial, None) == {"trial": trial.name, "state": "done", "reports": 2, METRIC: ray.said[-1][METRIC]}


def test_the_same_values_at_the_same_time_are_trained_once(base, ray, tmp_path):
    space = space_of(tmp_path, F_A)
    both = [
        threading.Thread(target=run_trial, args=(OMEGA,), kwargs={"cfg": base, "space": space, "folder": tmp_path})
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(ray.trained) == 1
    assert ray.said[:2] == ray.said[2:]
    assert len(ray.said) == 4, "either is told every report"


def test_a_trial_that_nothing_can_be_judged_by_ends_without_a_number(base, ray, tmp_path):
    """None of the held-out clips can be read: the training ends, the table says so, no recipe is made of it."""
    space, run = space_of(tmp_path, F_A), RunPaths(tmp_path / base.name)
    _, held = hold_out(read_split(RunPaths(base.folder).split(0)).items("labelled"), space.holdout, 0)
    shutil.copytree(base.folder, run.root)
    shutil.rmtree(run.shards)
    damage(Manifest.open(RunPaths(base.folder).shards), run.shards, held)
    cfg = replace(base, out=str(tmp_path), reading=replace(base.reading, max_bad_fraction=1.0))
    run_trial(OMEGA, cfg=cfg, space=space, folder=tmp_path)
    row = result_of(trial_folder(tmp_path, OMEGA), None)
    assert (row["state"], row["reports"]) == ("done", 2)
    assert math.isnan(row[METRIC])
    assert compared([row]) == []
