"""A comparison in parts: who makes what, how the folders are put together, and that it ends as one command does."""

import csv
import json
import os
import signal
import time
from contextlib import nullcontext
from dataclasses import replace

import pytest

from finepseudo.run_folder.done import record_of
from finepseudo.run_folder.layout import RunPaths
from jobs.cli import compare_part
from jobs.cli.main import main
from jobs.cluster import preempt
from jobs.cluster.preempt import Preempted
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.run_folder import opened_lock
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from shards.errors import UserError

METHODS = ["supervised", "pseudo_label", "finepseudo"]


@pytest.fixture
def cfg(tmp_path):
    return load("smoke", [f"out={tmp_path}"], {"name": "c", "methods": METHODS, "seeds": [0, 1]})


def in_epochs(cfg, epochs):
    """Let self-training take epochs, where a number is given."""
    if epochs is None:
        return cfg
    train = replace(cfg.action_stage.self_train, steps=None, epochs=epochs)
    return replace(cfg, action_stage=replace(cfg.action_stage, self_train=train))


@pytest.fixture
def asked(cfg, monkeypatch):
    """What each part is asked to run, without running it."""
    pairs = []
    monkeypatch.setattr(compare_part, "run_pair", lambda _cfg, method, seed, force: pairs.append((method, seed)))
    monkeypatch.setattr(compare_part, "ray_session", nullcontext)
    return pairs


@pytest.mark.parametrize("parts", [1, 4, 6, 9])
def test_every_method_and_seed_is_of_exactly_one_part(cfg, asked, parts):
    for index in range(parts):
        assert compare_part.run_part(cfg, f"{index}/{parts}") is False, "nothing was run, so nothing is tested"
    assert sorted(asked) == sorted((method, seed) for method in METHODS for seed in (0, 1))


def test_the_first_parts_take_a_seed_each(cfg, asked):
    for index in range(2):
        compare_part.run_part(cfg, f"{index}/6")
    assert asked == [("supervised", 0), ("supervised", 1)]


def test_a_part_that_is_none_is_refused(cfg):
    with pytest.raises(UserError, match="write i/n, with i from 0 to n - 1"):
        compare_part.run_part(cfg, "6/6")


@pytest.mark.parametrize(("shared", "epochs"), [(True, None), (False, None), (True, 2)])
def test_the_folders_of_all_parts_are_one_run(cfg, monkeypatch, shared, epochs):
    """Every stage of the whole run is made once, in the folder of its draw or of its method."""
    cfg = replace(in_epochs(cfg, epochs), pretrain=replace(cfg.pretrain, shared=shared))
    made = []

    def make(part, wanted, *, before=lambda: None, **_):
        before()
        with Reporter(part.folder, tensorboard=False) as reporter:
            for stage in (stage for group in make_plan(Run(part, reporter)) for stage in group):
                if wanted(stage) and not stage.identity.record.exists():
                    stage.folder.mkdir(parents=True, exist_ok=True)
                    stage.identity.record.write_text(json.dumps({"stage": stage.kind}))
                    made.append((part.name, stage.name))

    monkeypatch.setattr(compare_part, "make", make)
    for seed in (0, 1) if epochs else ():
        compare_part.run_shared(cfg, seed, cfg.folder, force=False)
        assert not any("pseudo_label" in name or "supervised" in name for _, name in made)
    for method, seed in compare_part.pairs(cfg):
        compare_part.run_pair(cfg, method, seed, force=False)
    whole = [s for group in make_plan(Run(cfg, Reporter(cfg.folder, tensorboard=False))) for s in group]
    assert [s.name for s in whole if not s.identity.record.exists()] == ["report"]
    names = [name for _, name in made]
    assert sorted(names) == sorted(s.name for s in whole if s.kind != "report")
    assert {name for part, name in made if part == "c-seed1-finepseudo"} == {
        s.name for s in whole if s.name.startswith("seed-1/finepseudo/")
    }
    one = replace(cfg, name="c-seed1-finepseudo", seeds=(1,))
    seen = [s for group in make_plan(Run(one, Reporter(one.folder, tensorboard=False))) for s in group]
    others = [s.name for s in seen if compare_part.owner(s) in ("supervised", "pseudo_label")]
    assert [s.name for s in seen if not s.identity.record.exists()] == [*others, "report"], "what is shared is there"
    alone = compare_part.task_of(cfg, "supervised", 1)
    plan = make_plan(Run(alone, Reporter(alone.folder, tensorboard=False)))
    (train,) = [s for group in plan for s in group if s.name == "seed-1/supervised/round-01/action_encoder"]
    assert all(record_of(given).exists() for given in train.inputs.values()), "also what its steps are counted by"
    assert train.accounted == bool(epochs)
    own = ("c-seed1", "seed-1/pretrain") if not shared else ("c", "pretrain")
    assert ("c", "data") in made and own in made
    assert RunPaths(cfg.folder).methods(0) == sorted(METHODS)


@pytest.fixture
def remembered(asked, monkeypatch):
    """Of parts that run nothing, what they were asked for is done."""

    def open_of(cfg, method, seed, kinds=None):
        del cfg, kinds
        return [] if (method, seed) in asked else ["a stage"]

    monkeypatch.setattr(compare_part, "open_of", open_of)
    monkeypatch.setattr(compare_part, "refuse_early", lambda *_: None)
    return asked


def test_who_makes_the_labels_goes_on_with_the_method_that_is_counted_by_them(cfg, remembered, capsys):
    """A budget in epochs gives a method without pseudo-labels the steps that others come to: no task waits for it."""
    cfg = in_epochs(cfg, 2)
    assert [method for method, _ in compare_part.pairs(cfg)][::2] == ["pseudo_label", "finepseudo", "supervised"]
    for index in (4, 0, 5, 3):
        compare_part.run_part(cfg, f"{index}/6")
    assert remembered == [("pseudo_label", 0), ("finepseudo", 1)]
    assert capsys.readouterr().out.count("its steps are counted by labels that others make") == 2
    compare_part.run_part(cfg, "2/6")
    assert remembered[2:] == [("finepseudo", 0), ("supervised", 0)]
    compare_part.run_part(cfg, "1/6")
    assert remembered[4:] == [("pseudo_label", 1), ("supervised", 1)]


def test_what_a_task_has_taken_up_is_left_to_it(cfg, remembered):
    cfg = in_epochs(replace(cfg, seeds=(0,)), 2)
    remembered += [("pseudo_label", 0)]
    with opened_lock(compare_part.task_of(cfg, "supervised", 0).folder) as lock:
        assert lock.take()
        compare_part.run_part(cfg, "1/3")
    assert remembered[1:] == [("finepseudo", 0)]


def test_as_many_parts_as_seeds_are_a_seed_each(cfg, remembered):
    cfg = in_epochs(cfg, 2)
    compare_part.run_part(cfg, "1/2")
    assert remembered == [("pseudo_label", 1), ("finepseudo", 1), ("supervised", 1)]


def test_where_nobody_labels_the_pool_steps_are_assumed_and_nobody_is_waited_for(cfg, remembered):
    cfg = in_epochs(replace(cfg, methods=("supervised", "fixmatch")), 2)
    compare_part.run_part(cfg, "2/4")
    assert remembered == [("fixmatch", 0)]


def test_what_a_seed_shares_alone_is_asked_for_by_word(cfg, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(compare_part, "run_shared", lambda _cfg, seed, stop, force: made.append((seed, stop.name)))
    monkeypatch.setattr(compare_part, "ray_session", nullcontext)
    monkeypatch.setattr(compare_part, "refuse_early", lambda *_: None)
    assert compare_part.run_part(cfg, "1/2", shared=True) is False
    assert made == [(1, "c-seed1")]
    assert main(["compare", "--recipe", "smoke", f"out={cfg.out}", "--shared"]) == 2
    assert "ahead of --part i/n; give that too" in capsys.readouterr().err


def test_the_log_of_the_run_is_that_of_all_parts_each_line_once(cfg):
    for name, line in (("c-seed0", {"a": 1}), ("c-seed1-finepseudo", {"b": 2}), ("other-seed0", {"c": 3})):
        folder = RunPaths(cfg.folder.parent / name)
        folder.root.mkdir()
        folder.metrics.write_text(json.dumps(line) + "\n")
    cfg.folder.mkdir()
    for _ in range(2):
        compare_part.collect_logs(cfg)
        lines = [json.loads(line) for line in RunPaths(cfg.folder).metrics.read_text().splitlines()]
        assert lines == [{"a": 1}, {"b": 2}]


@pytest.fixture
def signals():
    before = {number: signal.getsignal(number) for number in preempt.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_task_that_waits_for_another_stops_when_it_is_asked_to(cfg, signals, monkeypatch):
    """It is asked while it waits; what it waits for is left alone."""
    task = cfg.folder.parent / "c-seed0-supervised"
    monkeypatch.setattr(time, "sleep", lambda _: os.kill(os.getpid(), signal.SIGUSR1))
    with opened_lock(cfg.folder) as lock:
        assert lock.take()
        with pytest.raises(Preempted):
            compare_part.make(cfg, lambda stage: stage.kind == "data", stop=task)
    assert preempt.requested(task) and not preempt.requested(cfg.folder)


def test_a_task_that_finds_all_done_starts_nothing(cfg, signals):
    compare_part.make(cfg, lambda _: False, stop=cfg.folder.parent / "c-seed0-supervised")
    assert not RunPaths(cfg.folder).config.exists()


@pytest.mark.ray
@pytest.mark.slow
def test_two_parts_end_as_one_command_does(ray_cluster, tmp_path, capsys):
    small = ["--recipe", "smoke", "--methods", "supervised,pseudo_label", "--seeds", "0", "--name", "c"]
    small += ["data.synthetic.train_per_class=6", "data.synthetic.test_per_class=2", "evaluate.views=1"]
    small += ["action_stage.self_train={epochs: 2}"]  # supervised is counted by the labels of the other part
    assert main(["compare", *small, f"out={tmp_path / 'one'}"]) == 0
    for part in ("1/2", "0/2"):
        assert not (tmp_path / "two" / "c" / "compare.csv").exists()
        assert main(["compare", *small, f"out={tmp_path / 'two'}", "--part", part]) == 0
    tables = []
    for name in ("one", "two"):
        with (tmp_path / name / "c" / "compare.csv").open() as stream:
            tables.append([{k: v for k, v in row.items() if "hours" not in k} for row in csv.DictReader(stream)])
    assert tables[0] == tables[1]
    for name in ("seed-0/split.parquet", "seed-0/pseudo_label/round-01/action_encoder/weights.safetensors"):
        assert (tmp_path / "one" / "c" / name).read_bytes() == (tmp_path / "two" / "c" / name).read_bytes(), name
    capsys.readouterr()
    assert main(["compare", *small, f"out={tmp_path / 'two'}"]) == 0
    assert "nothing to do" in capsys.readouterr().out, "the parts are one run for whoever comes later"
