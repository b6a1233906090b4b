"""The plan of a run: order, what depends on what, what runs again when something changes. No Ray, no video."""

import itertools
from pathlib import Path

import pytest

from finepseudo.run_folder.done import DONE, begin, finish, is_done
from finepseudo.run_folder.files import write_json
from jobs.cluster.preempt import Preempted
from jobs.config.recipes import load
from jobs.pipeline.plan import COMMANDS, make_plan
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.stage_maker import Task
from jobs.pipeline.stages.stages import Stages
from jobs.progress import Reporter
from shards.errors import UserError

ALL = "strategies=[supervised, confidence, uncertainty, verification, collaborative]"


@pytest.fixture
def make(tmp_path):
    def made(*overrides: str):
        cfg = load("smoke", [f"out={tmp_path}", "seeds=[0, 1]", *overrides])
        stages = Stages(cfg, Reporter(cfg.folder, tensorboard=False))
        return cfg, stages, make_plan(cfg, stages)

    return made


def fake(plan, ran: list[str], monkeypatch) -> None:
    """Replace what tasks do: write each output, whose content says from what it was made."""

    def action(task: Task) -> None:
        ran.append(task.name)
        for pattern in task.stage.outputs:
            write_json(task.stage.folder / pattern.replace("*", "000000"), task.stage.key())

    monkeypatch.setattr("jobs.pipeline.runner.side_by_side", lambda *_: False)
    for task in itertools.chain(*plan):
        object.__setattr__(task, "action", lambda task=task: action(task))


def run(make, monkeypatch, *overrides: str, kinds=None) -> list[str]:
    cfg, stages, plan = make(*overrides)
    ran: list[str] = []
    fake(plan, ran, monkeypatch)
    run_plan(cfg, stages, plan, "code", kinds)
    return ran


@pytest.mark.parametrize(
    "overrides", [[ALL, "rounds=3"], ["rounds=0"], ["strategies=[confidence]"], ["strategies=[supervised]"]]
)
def test_every_input_is_made_by_an_earlier_group(make, overrides):
    _, _, plan = make(*overrides)
    made: set[Path] = set()
    for group in plan:
        for task in group:
            assert {path for path in task.stage.inputs.values() if path.name == DONE} <= made, task.name
        made |= {task.stage.record for task in group}


def test_no_two_stages_share_a_record_or_an_output(make):
    _, _, plan = make(ALL, "rounds=3")
    records = [task.stage.record for group in plan for task in group]
    outputs = [task.stage.folder / name for group in plan for task in group for name in task.stage.outputs]
    assert len(set(records)) == len(records)
    assert len(set(outputs)) == len(outputs)


def test_encoders_of_a_round_stand_side_by_side_and_only_where_they_are_needed(make):
    _, _, plan = make(ALL)
    pairs = [{task.stage.kind for task in group} for group in plan if len(group) == 2]
    assert pairs == [{"action_encoder", "frame_encoder"}] * 6  # round 0, verification, collaborative; two seeds
    _, _, plan = make("strategies=[supervised, confidence]")
    kinds = {task.stage.kind for group in plan for task in group}
    assert not kinds & {"pretrain", "frame_encoder", "scores"}


def test_every_strategy_trains_the_action_encoder_the_same_number_of_steps(make, monkeypatch):
    cfg, _, plan = make(ALL, "rounds=3", "seeds=[0]")
    steps: dict[str, int] = {}

    def fit(job, _):
        if job.loop.tags["stage"] == "action_encoder" and job.loop.tags["round"]:
            strategy = job.loop.tags["strategy"]
            steps[strategy] = steps.get(strategy, 0) + job.loop.train.steps

    monkeypatch.setattr("jobs.pipeline.stages.train_stages.fit", fit)
    monkeypatch.setattr(Stages, "_items", lambda *_: None)
    monkeypatch.setattr(Stages, "n_classes", lambda *_: 4)
    for task in itertools.chain(*plan):
        if task.stage.kind == "action_encoder":
            task.action()
    assert steps == dict.fromkeys(cfg.strategies, 3 * cfg.action_stage.self_train.steps)


def test_the_second_run_does_nothing(make, monkeypatch):
    first = run(make, monkeypatch)
    assert len(first) == len(set(first)) > 20
    assert run(make, monkeypatch) == []


@pytest.mark.parametrize(
    ("override", "undone", "kept"),
    [
        ("pseudo_labels.theta=0.4", {"seed-0/collaborative/round-01/action_encoder"}, {"seed-0/round-00/scores"}),
        ("frame_stage.train.steps=25", {"seed-0/round-00/frame_encoder"}, {"seed-0/round-00/action_encoder"}),
        ("evaluate.views=3", {"seed-1/collaborative/evaluation", "report"}, {"seed-0/collaborative/round-01"}),
        ("embed.gallery_per_class=2", {"seed-0/round-00/scores"}, {"seed-0/round-00/embeddings"}),
        ("shards.short_side=96", {"data", "seed-0/pretrain"}, set()),
    ],
)
def test_a_changed_key_undoes_what_depends_on_it(make, monkeypatch, override, undone, kept):
    everything = set(run(make, monkeypatch))
    ran = set(run(make, monkeypatch, override))
    assert undone <= ran
    assert not kept & ran
    assert kept <= everything


@pytest.mark.parametrize("override", ["resources.embed_actors=2", "pretrain.train.log_every=1", "reading.threads=2"])
def test_a_key_of_speed_undoes_nothing(make, monkeypatch, override):
    run(make, monkeypatch)
    assert run(make, monkeypatch, override) == []


def test_a_third_seed_leaves_the_others_done(make, monkeypatch):
    run(make, monkeypatch)
    ran = run(make, monkeypatch, "seeds=[0, 1, 2]")
    assert ran
    assert all("seed-2" in name or name == "report" for name in ran)


def test_a_stop_between_stages_is_obeyed_and_the_next_run_goes_on(make, monkeypatch):
    whole = run(make, monkeypatch)
    monkeypatch.undo()
    cfg, stages, plan = make("name=other")
    ran: list[str] = []
    fake(plan, ran, monkeypatch)
    calls = iter(range(100))
    monkeypatch.setattr("jobs.cluster.preempt.requested", lambda _: next(calls) == 4)
    with pytest.raises(Preempted):
        run_plan(cfg, stages, plan, "code")
    first = list(ran)
    run_plan(cfg, stages, plan, "code")
    assert first + ran[len(first) :] == ran == whole


def test_a_single_command_runs_its_kind_or_says_what_it_needs(make, monkeypatch):
    with pytest.raises(
        UserError, match=r"seed-0/pretrain: needs .*DONE.json, which is not there; run the stage before"
    ):
        run(make, monkeypatch, kinds=COMMANDS["pretrain"])
    assert run(make, monkeypatch, kinds=COMMANDS["write-shards"]) == ["data"]
    assert run(make, monkeypatch, kinds=COMMANDS["split"]) == ["split of seed-0", "split of seed-1"]
    assert run(make, monkeypatch, kinds=COMMANDS["pretrain"]) == ["seed-0/pretrain", "seed-1/pretrain"]


def test_a_started_stage_forgets_its_old_curve_only_when_it_starts_over(make, monkeypatch):
    _, stages, plan = make()
    fake(plan, [], monkeypatch)
    task = plan[2][0]
    stages.paths.root.mkdir()
    line = {**task.tags, "step": 3, "train/loss": 1.0}
    assert stages.reporter.scalars(line)
    assert not stages.reporter.scalars(line), "the same line is written once"
    stages.reporter.forget(task.tags)
    assert stages.reporter.scalars(line)


def listed(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a.mp4 0\n")
    return ["data.name=csv", f"data.root={folder}"]


def test_a_changed_annotation_file_undoes_the_data_stage(make, monkeypatch, tmp_path):
    lists = listed(tmp_path / "in", "a/list.txt", "b/list.txt")
    overrides = [*lists, "data.lists={train: a/list.txt, test: b/list.txt}"]
    assert "data" in run(make, monkeypatch, *overrides)
    assert run(make, monkeypatch, *overrides) == []
    (tmp_path / "in" / "b" / "list.txt").write_text("b.mp4 0\n")
    assert "data" in run(make, monkeypatch, *overrides)


def test_files_of_a_root_and_published_lists_count_too(make, monkeypatch, tmp_path):
    names = ("classInd.txt", "trainlist01.txt", "testlist01.txt")
    listed(tmp_path / "in", *names, "splits/train.csv")
    overrides = ["data.name=ucf101", f"data.root={tmp_path / 'in'}", "split.method=lists"]
    overrides += [f"split.lists={tmp_path / 'in' / 'splits'}"]
    whole = run(make, monkeypatch, *overrides)
    (tmp_path / "in" / "trainlist02.txt").write_text("of another split")
    assert run(make, monkeypatch, *overrides) == []
    (tmp_path / "in" / "trainlist01.txt").write_text("changed")
    assert run(make, monkeypatch, *overrides) == whole
    (tmp_path / "in" / "splits" / "train.csv").write_text("b.mp4 0\n")
    assert run(make, monkeypatch, *overrides) == [name for name in whole if name != "data"]


def test_missing_annotation_files_are_told_by_their_reader_and_undo_nothing(make, monkeypatch, tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    (root / "Diving48_train.json").write_text("[]")
    with pytest.raises(UserError, match=r"Diving48_train.json is Diving48 V1"):
        run(make, monkeypatch, "data.name=diving48", f"data.root={root}")
    lists = [*listed(root, "list.txt"), "data.lists.all=list.txt"]
    assert "data" in run(make, monkeypatch, *lists)
    (root / "list.txt").unlink()
    for kinds in (None, COMMANDS["write-shards"]):
        with pytest.raises(UserError, match=r"list .*list.txt does not exist"):
            run(make, monkeypatch, *lists, kinds=kinds)
    assert run(make, monkeypatch, *lists, kinds=COMMANDS["report"]) == []
    assert (make()[0].folder / "data" / "DONE.json").exists()


def test_done_is_judged_by_what_is_on_disk(make, monkeypatch):
    run(make, monkeypatch)
    _, _, plan = make()
    task = plan[0][0]
    assert is_done(task.stage)
    (task.stage.folder / "clips.parquet").unlink()
    assert not is_done(task.stage)
    begin(task.stage)
    for pattern in task.stage.outputs:
        write_json(task.stage.folder / pattern, task.stage.key())
    finish(task.stage, wall_s=0, code_version="y")
    assert is_done(task.stage)
