"""The plan of a run: which stages there are, in which order, and what each reads. No Ray, no video."""

# ruff: noqa: F811 - tests take the fixture by its name

import itertools
from pathlib import Path

import pytest

from finepseudo.methods.base import MAIN
from finepseudo.methods.table import METHODS
from finepseudo.run_folder.done import DONE, record_of
from jobs.pipeline.stages.action_encoder import ActionEncoderStage
from jobs.pipeline.stages.votes import VotesStage
from tests.jobs.pipeline.faked import make  # noqa: F401 - `make` is a fixture

ALL = f"methods=[{', '.join(METHODS)}]"


@pytest.mark.parametrize(
    "overrides", [[ALL, "rounds=3"], ["rounds=0"], ["methods=[pseudo_label]"], ["methods=[supervised]"]]
)
def test_every_input_is_made_by_an_earlier_group(make, overrides):
    _, plan = make(*overrides)
    made: set[Path] = set()
    for group in plan:
        for stage in group:
            records = {record_of(given) for given in stage.inputs.values()}
            assert {path for path in records if path.name == DONE} <= made, stage.name
        made |= {stage.identity.record for stage in group}


def test_no_two_stages_share_a_record_or_an_output(make):
    _, plan = make(ALL, "rounds=3")
    records = [stage.identity.record for group in plan for stage in group]
    outputs = [stage.folder / name for group in plan for stage in group for name in stage.outputs]
    assert len(set(records)) == len(records)
    assert len(set(outputs)) == len(outputs)


def test_encoders_of_a_round_stand_side_by_side_and_only_where_they_are_needed(make):
    _, plan = make(ALL)
    pairs = [{stage.kind for stage in group} for group in plan if len(group) == 2]
    frames = [pair for pair in pairs if "frame_encoder" in pair]
    assert frames == [{"action_encoder", "frame_encoder"}] * 6  # round 0, verification, finepseudo; two seeds
    assert len(pairs) - len(frames) == 4, "the teachers of timebalance, before and on the labels"
    _, plan = make("methods=[supervised, pseudo_label]")
    kinds = {stage.kind for group in plan for stage in group}
    assert not kinds & {"pretrain", "frame_encoder", "scores"}


def test_every_method_trains_the_action_encoder_the_same_number_of_steps(make):
    made, plan = make(ALL, "rounds=3", "seeds=[0]")
    steps: dict[str, int] = {}
    for stage in itertools.chain(*plan):
        if isinstance(stage, ActionEncoderStage) and stage.method and stage.request.name == MAIN:
            steps[stage.method.name] = steps.get(stage.method.name, 0) + stage.schedule.train.steps
    assert steps == dict.fromkeys(made.cfg.methods, 3 * made.cfg.action_stage.self_train.steps)


def test_a_training_may_take_epochs_and_one_that_begins_anew_the_full_rate(make):
    made, plan = make(
        "methods=[supervised, ups]",
        "rounds=3",
        "seeds=[0]",
        "method.supervised.epochs=5",
        "method.ups.reinitialise=true",
        "action_stage.self_train.optim.self_training_factor=0.5",
    )
    found = [s for s in itertools.chain(*plan) if isinstance(s, ActionEncoderStage) and s.method]
    (alone,) = [s.schedule.train for s in found if s.method.name == "supervised"]
    assert (alone.steps, alone.epochs) == (None, 15)
    full = made.cfg.action_stage.self_train
    for stage in [s for s in found if s.method.name == "ups"]:
        assert (stage.schedule.part, stage.schedule.parts) == (0, 1) and stage.schedule.train == full
        assert "weights" not in stage.inputs and "pseudo_labels" in stage.inputs


def test_rounds_join_to_one_schedule(make):
    """Part i of n of each method, at the rate of self-training; round 0 at its own."""
    made, plan = make(ALL, "rounds=3", "seeds=[0]", "action_stage.self_train.optim.self_training_factor=0.5")
    parts: dict[str | None, list] = {}
    for stage in itertools.chain(*plan):
        if isinstance(stage, ActionEncoderStage) and stage.request.name == MAIN:
            name = stage.method.name if stage.method else None
            schedule = stage.schedule
            parts.setdefault(name, []).append((schedule.part, schedule.parts, schedule.train.optim.lr))
    full = made.cfg.action_stage.train.optim.lr
    half = made.cfg.action_stage.self_train.optim.lr / 2
    assert parts.pop(None) == [(0, 1, full)]
    for name in [name for name, method in METHODS.items() if method.vote is None]:
        assert parts.pop(name) == [(0, 1, half)]
    assert set(map(str, parts.values())) == {str([(i, 3, half) for i in range(3)])}


def test_a_teacher_is_trained_as_round_0_is_and_the_student_reads_it(make):
    made, plan = make("methods=[timebalance]", "rounds=2", "seeds=[0]", "action_stage.train.steps=21")
    stages = {s.folder.name: s for s in itertools.chain(*plan) if s.tags.get("method") == "timebalance"}
    assert list(stages) == [
        *("invariant_pretrain", "distinctive_pretrain", "invariant", "distinctive", "similarity", MAIN, "evaluation")
    ]
    for name in ("invariant", "distinctive"):
        before, teacher = stages[f"{name}_pretrain"], stages[name]
        assert teacher.inputs["weights"] == before.folder / DONE
        assert before.schedule.train.steps == teacher.schedule.train.steps == 21
        ((stream, reader),) = made.cfg.streams_of(before.method, before.request)
        assert (stream.role, [view.frames for view in reader.views]) == ("all", [64, 64])
    student = stages[MAIN]
    assert student.schedule.train.steps == 2 * made.cfg.action_stage.self_train.steps
    wanted = {stages[name].folder / DONE for name in ("invariant", "distinctive", "similarity")}
    assert wanted < set(student.inputs.values())


def test_alignability_of_round_0_is_all_that_finepseudo_sefar_adds(make):
    _, plan = make("methods=[finepseudo_sefar]", "seeds=[0]")
    names = [stage.name for stage in itertools.chain(*plan)]
    assert [name.removeprefix("seed-0/") for name in names[2:-1]] == [
        "pretrain",
        "round-00/action_encoder",
        "round-00/frame_encoder",
        "round-00/embeddings",
        "round-00/scores",
        "finepseudo_sefar/round-01/action_encoder",
        "finepseudo_sefar/evaluation",
        "finepseudo_sefar/votes",
    ]
    student = next(s for s in itertools.chain(*plan) if s.tags.get("method") and s.kind == "action_encoder")
    assert student.inputs["side 0"].parent.name == "scores"


def test_only_the_embedding_of_a_pool_reads_the_keys_of_mc_dropout(make):
    _, plan = make(ALL)
    reads = {s.kind for s in itertools.chain(*plan) if any(".mc_" in key for key in s.identity.config)}
    assert reads == {"embeddings"}


def test_f_a_is_asked_where_there_is_one_and_not_where_f_e_alone_is_wanted(make):
    for overrides, expected in (
        (["rounds=2"], [2]),
        (["rounds=2", "embed.last_round=false"], [1]),
        (["rounds=0"], [0]),
    ):
        _, plan = make("seeds=[0]", *overrides)
        votes = [stage for group in plan for stage in group if isinstance(stage, VotesStage)]
        assert [stage.frame for stage in votes] == expected, overrides
        assert {stage.name for stage in votes} == {"seed-0/finepseudo/votes"}
    for nothing in ("evaluate.votes=action", "methods=[supervised, pseudo_label]"):
        assert not [stage for group in make(nothing)[1] for stage in group if isinstance(stage, VotesStage)]
