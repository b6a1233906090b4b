"""What `--dry-run` and `check` find without running anything."""

import pytest

from jobs.cli.main import main
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from tests.jobs.cli.test_commands import ROLES, lists


def test_check_lists_the_missing_files(capsys, tmp_path):
    assert main(["check", *lists(tmp_path / "in", **ROLES)]) == 2
    assert "PROBLEM 4 paths are missing: " in capsys.readouterr().out
    listed = (tmp_path / "in" / "runs" / "smoke" / "missing.txt").read_text()
    assert listed == "".join(f"{tmp_path}/in/{name}.mp4\n" for name in "abcd")


@pytest.mark.parametrize("recipe", ["smoke", "demo", "diving48", "kinetics400"])
def test_a_dry_run_prints_the_plan_without_data_or_ray(recipe, capsys, tmp_path):
    assert main(["run", "--recipe", recipe, f"out={tmp_path}", "--dry-run", *starts(recipe)]) == 0
    said = capsys.readouterr().out
    assert "seed-0/finepseudo/round-01/action_encoder" in said
    assert "training" in said
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def starts(recipe):
    """What a recipe at the paper's scale has to be told."""
    return [] if recipe in ("smoke", "demo") else ["frame_encoder.weights=random", "action_encoder.weights=random"]


def test_a_dry_run_names_weights_that_are_not_there(capsys, tmp_path):
    weights = ["frame_encoder.weights=byol:/nowhere.pt"]
    assert main(["run", "--recipe", "diving48", f"out={tmp_path}", "--dry-run", *weights]) == 2
    said = capsys.readouterr().out
    assert "PROBLEM frame_encoder.weights: /nowhere.pt is not there" in said
    assert "PROBLEM action_encoder.weights: variant r2plus1d_18 needs kinetics_sup:FILE or tclr:FILE; write" in said


@pytest.mark.parametrize("command", ["run", "submit"])
def test_nothing_begins_without_the_weights_it_starts_from(command, capsys, tmp_path):
    given = [command, "--recipe", "diving48", f"out={tmp_path}", "frame_encoder.weights=random"]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: action_encoder.weights: variant r2plus1d_18 needs kinetics_sup:FILE or tclr:FILE")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_shards_need_no_weights(capsys, tmp_path):
    assert main(["write-shards", "--recipe", "diving48", f"out={tmp_path}", "--dry-run"]) == 0
    assert "PROBLEM" not in capsys.readouterr().out


def test_a_method_without_f_a_needs_no_weights_of_it(capsys, tmp_path):
    given = ["methods=[supervised]", "action_encoder.weights=random"]
    assert main(["run", "--recipe", "diving48", f"out={tmp_path}", "--dry-run", *given]) == 0
    assert "PROBLEM" not in capsys.readouterr().out


def test_a_dry_run_names_shards_that_would_be_lost(capsys, tmp_path):
    small = ["data.synthetic.train_per_class=3", "data.synthetic.test_per_class=1", "resources.write_tasks=0"]
    line = ["--recipe", "smoke", f"out={tmp_path}", *small]
    assert main(["write-shards", "--part", "0/1", *line]) == 0
    run = Run(load("smoke", [f"out={tmp_path}", *small]), Reporter(tmp_path / "smoke", tensorboard=False))
    assert run_plan(run, make_plan(run), "code", {"data"}, write=True) == 1
    capsys.readouterr()
    assert main(["run", *line, "shards.short_side=96", "--dry-run"]) == 2
    said = capsys.readouterr().out
    assert "undone   data  (shards.short_side was 128, is 96)" in said
    assert "undoes 1 finished stages" in said
    assert "PROBLEM" in said and "use another --name, or --force" in said
    assert main(["run", *line, "shards.short_side=96", "--dry-run", "--force"]) == 0
