"""What a plan says it will undo: to the end of the chain, with what is removed and what it cost; nothing is changed."""

import json

import pytest

from finepseudo.run_folder.done import DONE
from jobs.cli.main import main
from jobs.pipeline.plan import COMMANDS
from jobs.pipeline.survey import SHOWN, bytes_text, duration, loss_lines, survey
from tests.jobs.pipeline.faked import make, run  # noqa: F401 - `make` is a fixture


def states_of(make, *overrides, kinds=None):  # noqa: F811
    found = survey(make(*overrides)[1], kinds)
    return {state.stage.name: state for group in found for state in group}


@pytest.fixture
def finished(make, monkeypatch):  # noqa: F811
    """A finished run whose stages took ten seconds each."""
    run(make, monkeypatch)
    monkeypatch.undo()
    root = make()[0].paths.root
    for path in root.rglob(DONE):
        path.write_text(json.dumps({**json.loads(path.read_text()), "wall_s": 10.0}))
    return root


def snapshot(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_a_new_run_is_all_to_do_and_a_finished_one_all_done(make, finished):  # noqa: F811
    assert {state.state for state in states_of(make, "name=other").values()} == {"to do"}
    states = states_of(make)
    assert {state.state for state in states.values()} == {"done"}
    assert states["pretrain"].wall_s == 10
    assert loss_lines([list(states.values())]) == []


def test_a_changed_key_is_followed_to_the_end_and_nothing_is_touched(make, finished):  # noqa: F811
    before = snapshot(finished)
    states = states_of(make, "method.finepseudo.theta=0.4")
    assert snapshot(finished) == before
    first = states["seed-0/finepseudo/round-00/pseudo_labels"]
    assert (first.state, first.because) == ("undone", ("method.finepseudo.theta was 0.3, is 0.4",))
    lost = {name for name, state in states.items() if state.lost}
    assert {n for n in lost if "seed-0" in n} == {n for n in states if n.startswith("seed-0/finepseudo")}
    assert "report" in lost
    assert states["seed-0/finepseudo/round-01/action_encoder"].state == "follows"
    # the labels of every round and seed read the key; the first round's are undone by it whatever the rest does
    undone = [state for state in states.values() if state.state == "undone"]
    lines = loss_lines([list(states.values())])
    assert lines[0].startswith(f"undoes {len(undone)} finished stages that took {duration(10 * len(undone))}; removes")


def test_a_record_made_again_with_the_same_accepted_labels_leaves_the_trainings_done(make, finished, monkeypatch):  # noqa: F811
    passes, training = "action_encoder.mc_passes=7", "seed-0/finepseudo/round-01/frame_encoder"
    before = states_of(make, passes)
    assert before["seed-0/round-00/embeddings"].state == "undone"
    assert (before[training].state, before[training].because) == ("follows", ("after pseudo_labels",))
    run(make, monkeypatch, passes, kinds={"embeddings", "scores", "pseudo_labels"})
    after = states_of(make, passes)
    assert {name for name, state in after.items() if state.state != "done"} == {"report"}
    assert after["report"].state == "undone", "it shows the record"


def test_labels_of_a_person_are_not_said_to_cost_the_pre_training(make, finished, monkeypatch, tmp_path):  # noqa: F811
    """What it reads, the split as drawn, is new in the plan; it comes out as it was, and so nothing is lost."""
    (tmp_path / "reviewed.csv").write_text("key,class\n")
    reviewed = f"split.reviewed={tmp_path / 'reviewed.csv'}"
    before = states_of(make, reviewed)
    assert before["split of seed-0 as drawn"].state == "to do"
    assert (before["pretrain"].state, before["pretrain"].because) == ("follows", ("after split",))
    assert "pretrain" not in run(make, monkeypatch, reviewed)
    both = states_of(make, reviewed.replace("reviewed.csv", "other.csv"), "pretrain.train.steps=5")
    assert both["pretrain"].state == "undone"


def test_what_is_removed_is_counted(make, finished):  # noqa: F811
    folder = finished / "data" / "shards"
    (folder / "shard-000000.tar").write_bytes(bytes(5000))
    data = states_of(make, "shards.short_side=96")["data"]
    assert data.state == "undone"
    assert folder in data.removes
    assert data.size >= 5000
    assert "[10 s, " in data.line()


def test_a_survey_and_the_run_after_it_agree(make, finished, monkeypatch):  # noqa: F811
    """What runs was announced; what was announced as undone runs."""
    override = "frame_stage.loss.gamma=0.01"
    states = states_of(make, override)
    ran = set(run(make, monkeypatch, override))
    assert ran <= {name for name, state in states.items() if state.state != "done"}
    assert {name for name, state in states.items() if state.state == "undone"} <= ran


def test_a_single_command_tells_its_own_stages_and_what_they_undo(make, finished):  # noqa: F811
    states = states_of(make, "pretrain.loss.tau=0.2", kinds=COMMANDS["pretrain"])
    assert states["pretrain"].state == "undone"
    assert states["seed-0/round-00/frame_encoder"].state == "follows"
    assert "split of seed-0" not in states


def test_records_of_another_version_and_missing_inputs_have_a_reason(make, finished):  # noqa: F811
    path = finished / "seed-0" / "finepseudo" / "round-00" / DONE
    record = json.loads(path.read_text())
    del record["config"]
    path.write_text(json.dumps({**record, "config_sha256": "0"}))
    (finished / "pretrain" / DONE).unlink()
    (finished / "seed-0" / "supervised" / "evaluation" / "metrics.json").unlink()
    states = states_of(make)
    assert states["seed-0/finepseudo/round-00/pseudo_labels"].because[0] == "the configuration changed"
    assert states["seed-0/supervised/evaluation"].because == ("files are missing",)
    assert states["seed-0/supervised/evaluation"].state == "goes on", "what is there stays"
    assert states["pretrain"].state == "to do"
    follows = states["seed-1/round-00/frame_encoder"]
    assert (follows.state, follows.because) == ("follows", ("after weights",)), "it stays where they come out the same"
    changed = states_of(make, "frame_stage.train.steps=5")["seed-1/round-00/frame_encoder"]
    assert (changed.state, changed.because[-1]) == ("undone", "weights is missing")
    (finished / "seed-1" / DONE).unlink()
    changed = states_of(make, "deterministic=false")["seed-1/round-00/frame_encoder"]
    assert changed.because == ("deterministic was true, is false", "split, weights are missing")


def test_a_file_that_a_changed_key_names_is_told_once(make, finished, tmp_path):  # noqa: F811
    reviewed = tmp_path / "reviewed.csv"
    reviewed.write_text("key,class\n")
    (why,) = states_of(make, f"split.reviewed={reviewed}")["split of seed-0"].because
    assert why.startswith("split.reviewed was ") and why.endswith(f", is {reviewed}")


def test_times_and_sizes_are_for_people():
    assert [duration(s) for s in (3, 90, 7300)] == ["3 s", "2 min", "2 h 02 min"]
    assert [bytes_text(n) for n in (12, 45_000, 3_400_000, 7.25e9)] == ["12 B", "45 kB", "3 MB", "7.2 GB"]


def test_a_stage_that_reads_many_other_keys_names_a_few(make, finished):  # noqa: F811
    path = finished / "pretrain" / DONE
    record = json.loads(path.read_text())
    config = dict.fromkeys(record["config"], "old")
    path.write_text(json.dumps({**record, "config": config, "config_sha256": "0"}))
    because = states_of(make)["pretrain"].because
    assert because[-1] == f"and {len(config) - SHOWN} more keys"
    assert len(because) == SHOWN + 1


def test_a_report_says_that_its_numbers_are_of_another_configuration(finished, capsys):
    """As a run leaves it that was stopped after it had begun with a changed key."""
    assert main(["report", f"out={finished.parent}"]) == 0
    assert "another configuration" not in capsys.readouterr().out
    config = finished / "config.yaml"
    config.write_text(config.read_text().replace("gamma: 0.001", "gamma: 0.002"))
    assert main(["report", f"out={finished.parent}"]) == 0
    said = capsys.readouterr().out
    assert "finished stages are of another configuration, first seed-0/round-00/frame_encoder: their numbers" in said
