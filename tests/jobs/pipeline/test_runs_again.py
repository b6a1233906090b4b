"""What runs again when a key, a file or the list of methods changes, and what stays. No Ray, no video."""

# ruff: noqa: F811 - tests take the fixture by its name

import itertools
from functools import partial
from pathlib import Path

import pytest

from finepseudo.run_folder.done import DONE, begin, finish, is_done
from finepseudo.run_folder.files import write_json
from jobs.cluster.preempt import Preempted
from jobs.pipeline.plan import COMMANDS
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.frame_encoder import FrameEncoderStage
from shards.errors import UserError
from tests.jobs.pipeline.faked import fake, make, run  # noqa: F401 - `make` is a fixture


def test_the_second_run_does_nothing(make, monkeypatch):
    first = run(make, monkeypatch)
    assert len(first) == len(set(first)) > 20
    assert run(make, monkeypatch) == []


@pytest.mark.parametrize(
    ("override", "undone", "kept"),
    [
        ("method.finepseudo.theta=0.4", {"seed-0/finepseudo/round-01/action_encoder"}, {"seed-0/round-00/scores"}),
        ("action_encoder.mc_passes=3", {"seed-0/round-00/embeddings"}, {"seed-0/round-00/action_encoder"}),
        (
            "frame_stage.train.optim.scorer_lr_factor=2",
            {"seed-0/round-00/frame_encoder"},
            {"seed-0/round-00/action_encoder", "pretrain"},
        ),
        ("frame_stage.train.steps=25", {"seed-0/round-00/frame_encoder"}, {"seed-0/round-00/action_encoder"}),
        ("evaluate.views=3", {"seed-1/finepseudo/evaluation", "report"}, {"seed-0/finepseudo/round-01/pseudo_labels"}),
        (
            "evaluate.votes=mean",
            {"seed-0/finepseudo/votes"},
            {"seed-0/finepseudo/evaluation", "seed-0/round-00/scores"},
        ),
        ("split.held_out=0.2", {"seed-0/round-00/embeddings", "seed-0/finepseudo/votes"}, {"data"}),
        ("embed.gallery_per_class=2", {"seed-0/round-00/scores"}, {"seed-0/round-00/embeddings"}),
        ("shards.short_side=96", {"data", "pretrain"}, set()),
        (
            "method.timebalance.unlabelled_weight=1",
            {"seed-0/timebalance/round-01/action_encoder"},
            {"seed-0/timebalance/round-01/invariant_pretrain", "seed-0/timebalance/round-01/similarity"},
        ),
        (
            "method.timebalance.global_local=false",
            {"seed-0/timebalance/round-01/distinctive", "seed-0/timebalance/round-01/action_encoder"},
            {"seed-0/timebalance/round-01/invariant", "seed-0/timebalance/round-01/similarity"},
        ),
    ],
)
def test_a_changed_key_undoes_what_depends_on_it(make, monkeypatch, override, undone, kept):
    make = partial(make, *(["methods=[timebalance]"] if "timebalance" in override else []))
    everything = set(run(make, monkeypatch))
    ran = set(run(make, monkeypatch, override))
    assert undone <= ran
    assert not kept & ran
    assert kept <= everything


@pytest.mark.parametrize(
    ("methods", "override", "labelled"),
    [
        (["finepseudo", "pseudo_label"], "action_encoder.mc_passes=7", True),
        (["verification"], "method.verification.tau=0.5", True),
        (["verification"], "method.verification.theta=0.4", False),
    ],
)
def test_a_key_that_changes_no_accepted_label_leaves_every_training_done(
    make, monkeypatch, methods, override, labelled
):
    two = [f"methods=[{', '.join(methods)}]", "rounds=2", "seeds=[0]"]
    trainings = {name for name in run(make, monkeypatch, *two) if name.endswith("_encoder")}
    assert any("round-02" in name for name in trainings)
    ran = set(run(make, monkeypatch, *two, override))
    tables = {f"seed-0/{name}/round-{number:02d}/pseudo_labels" for name in methods for number in range(3)}
    assert tables <= ran, "the record of the vote is made again, and with it the report"
    assert "report" in ran
    assert bool(trainings & ran) != labelled


@pytest.mark.parametrize(
    "override",
    [
        "resources.embed_actors=2",
        "pretrain.train.log_every=1",
        "reading.threads=2",
        # keys that belong to a method that does not run, or to an optimiser without f_S
        "method.ups.kappa=0.01",
        "method.pseudo_label.theta=0.1",
        "action_stage.train.optim.scorer_lr_factor=2",
        "action_stage.self_train.optim.scorer_lr_factor=2",
        "action_stage.train.optim.self_training_factor=0.3",
        "pretrain.train.optim.scorer_lr_factor=2",
    ],
)
def test_a_key_that_no_stage_reads_undoes_nothing(make, monkeypatch, override):
    run(make, monkeypatch)
    assert run(make, monkeypatch, override) == []


def test_changed_code_of_ones_own_network_undoes_what_it_trained(make, monkeypatch, tmp_path):
    code = tmp_path / "plan_nets.py"
    code.write_text("class Net:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = ["action_encoder.variant=plan_nets:Net", "seeds=[0]"]
    everything = set(run(make, monkeypatch, *mine))
    assert run(make, monkeypatch, *mine) == []
    code.write_text("class Net:\n    width = 3\n")
    ran = set(run(make, monkeypatch, *mine))
    assert "seed-0/round-00/embeddings" in ran
    assert {name for name in everything if name.endswith(("action_encoder", "evaluation"))} <= ran
    assert not ran & {"data", "split of seed-0", "pretrain", "seed-0/round-00/frame_encoder"}


def test_labels_of_a_person_leave_the_pre_training_done(make, monkeypatch, tmp_path):
    reviewed = tmp_path / "reviewed.csv"
    reviewed.write_text("key,class\n")
    everything = set(run(make, monkeypatch))
    ran = set(run(make, monkeypatch, f"split.reviewed={reviewed}"))
    drawn = {f"split of seed-{seed} as drawn" for seed in (0, 1)}
    assert everything - ran == {"data", "pretrain"}
    assert ran - everything == drawn
    reviewed.write_text("key,class\nx,\n")
    assert everything - set(run(make, monkeypatch, f"split.reviewed={reviewed}")) == {"data", "pretrain"}
    assert "pretrain" not in run(make, monkeypatch), "nor when the list is given up"


def test_a_third_seed_leaves_the_others_done(make, monkeypatch):
    run(make, monkeypatch)
    ran = run(make, monkeypatch, "seeds=[0, 1, 2]")
    assert ran
    assert all("seed-2" in name or name == "report" for name in ran)


def test_a_method_that_comes_or_goes_leaves_the_others_done(make, monkeypatch):
    run(make, monkeypatch, "methods=[supervised]")
    assert "seed-0/supervised/evaluation" not in run(make, monkeypatch, "methods=[supervised, pseudo_label]")
    ran = run(make, monkeypatch, "methods=[supervised, pseudo_label, ups]")
    assert ran and all("/ups/" in name or name == "report" for name in ran)
    assert run(make, monkeypatch, "methods=[supervised]") == ["report"]


def test_labels_that_are_not_asked_for_any_more_leave_the_report(make, monkeypatch):
    run(make, monkeypatch)
    votes = [f"seed-{seed}/finepseudo/votes" for seed in (0, 1)]  # f_A answers by the gallery of the round before
    assert run(make, monkeypatch, "embed.last_round=false") == [*votes, "report"]


def test_a_stop_between_stages_is_obeyed_and_the_next_run_goes_on(make, monkeypatch):
    whole = run(make, monkeypatch)
    monkeypatch.undo()
    made, plan = make("name=other")
    ran: list[str] = []
    fake(plan, ran, monkeypatch)
    calls = iter(range(100))
    monkeypatch.setattr("jobs.cluster.preempt.requested", lambda _: next(calls) == 4)
    with pytest.raises(Preempted):
        run_plan(made, plan, "code", write=True)
    first = list(ran)
    run_plan(made, plan, "code", write=True)
    assert first + ran[len(first) :] == ran == whole


def test_a_single_command_runs_its_kind_or_says_what_it_needs(make, monkeypatch):
    with pytest.raises(UserError, match=r"pretrain: needs .*DONE.json, which is missing or damaged; run the"):
        run(make, monkeypatch, kinds=COMMANDS["pretrain"])
    assert run(make, monkeypatch, kinds=COMMANDS["write-shards"]) == ["data"]
    assert run(make, monkeypatch, kinds=COMMANDS["split"]) == ["split of seed-0", "split of seed-1"]
    ready = [f"seed-{seed}/{name}/action_encoder" for seed in (0, 1) for name in ("round-00", "supervised/round-01")]
    assert run(make, monkeypatch, kinds=COMMANDS["train"]) == ready, "f_E waits for no pre-training of f_A"
    assert run(make, monkeypatch, kinds=COMMANDS["pretrain"]) == ["pretrain"]


@pytest.mark.parametrize("shared", [True, False])
def test_one_pre_training_serves_all_label_draws_unless_each_has_its_own(make, monkeypatch, shared):
    made = run(make, monkeypatch, f"pretrain.shared={shared}")
    own = ["seed-0/pretrain", "seed-1/pretrain"]
    assert [name for name in made if name.endswith("pretrain")] == (["pretrain"] if shared else own)
    _, plan = make(f"pretrain.shared={shared}")
    starts = {s.seed: s.before for s in itertools.chain(*plan) if isinstance(s, FrameEncoderStage) and not s.method}
    assert len(set(starts.values())) == (1 if shared else 2)


@pytest.mark.parametrize("shared", [True, False])
def test_f_e_is_pre_trained_where_the_videos_of_the_run_are_its_start(make, monkeypatch, shared):
    make = partial(make, "action_encoder.weights=tclr", f"pretrain.shared={shared}", "methods=[supervised]")
    made = run(make, monkeypatch)
    own = ["seed-0/pretrain/action_encoder", "seed-1/pretrain/action_encoder"]
    found = [name for name in made if name.endswith("pretrain/action_encoder")]
    assert found == (["pretrain/action_encoder"] if shared else own)
    assert made.index(found[0]) < made.index("seed-0/round-00/action_encoder")
    assert {*found, "seed-0/round-00/action_encoder", "report"} <= set(
        run(make, monkeypatch, "action_pretrain.loss.tau=0.2")
    )


def test_a_skipped_pre_training_reads_nothing_of_its_section(make, monkeypatch):
    run(make, monkeypatch, "pretrain.skip=true")
    assert run(make, monkeypatch, "pretrain.skip=true", "pretrain.loss.tau=0.2", "pretrain.train.steps=3") == []
    assert "pretrain" in run(make, monkeypatch, "pretrain.skip=false")


def test_a_started_stage_forgets_its_old_curve_only_when_it_starts_over(make, monkeypatch):
    made, plan = make()
    fake(plan, [], monkeypatch)
    stage = plan[2][0]
    made.paths.root.mkdir()
    line = {**stage.tags, "step": 3, "train/loss": 1.0}
    assert made.reporter.scalars(line)
    assert not made.reporter.scalars(line), "the same line is written once"
    made.reporter.forget(stage.tags)
    assert made.reporter.scalars(line)


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
    assert (make()[0].paths.data / DONE).exists()


def test_done_is_judged_by_what_is_on_disk(make, monkeypatch):
    run(make, monkeypatch)
    _, plan = make()
    stage = plan[0][0].identity
    assert is_done(stage)
    (stage.folder / "clips.parquet").unlink()
    assert not is_done(stage)
    begin(stage)
    for pattern in stage.outputs:
        write_json(stage.folder / pattern, stage.key())
    finish(stage, wall_s=0, code_version="y")
    assert is_done(stage)
