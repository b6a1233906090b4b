"""The command line: one clear line for bad input, and what needs no Ray."""

import subprocess
import sys

import pytest
import yaml

from jobs.__main__ import main, split_overrides
from jobs.commands import data_section, locked, prepare_folder
from jobs.config import load
from shards.types import UserError


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "nme=x"], "unknown key 'nme'; did you mean 'name'?"),
        (["run", "--recipe", "smok"], "did you mean 'smoke'?"),
        (["run", "--data", "csv:/nowhere/list.csv", "--dry-run"], "/nowhere/list.csv"),
        (["run", "--data", "json:x"], "write csv:LIST"),
        (["tune", "/nowhere.yaml"], "space /nowhere.yaml: cannot be read"),
        (["predict", "/nowhere.mp4"], "/nowhere.mp4"),
    ],
)
def test_bad_input_is_one_line_and_code_2(argv, message, capsys, tmp_path):
    assert main([*argv, f"out={tmp_path}"]) == 2
    said = capsys.readouterr()
    assert message in said.err + said.out
    assert said.err.count("\n") <= 1
    assert "Traceback" not in said.err


def test_print_config_is_yaml_that_runs_again(capsys, tmp_path):
    assert main(["run", "--recipe", "demo", "--print-config", "rounds=7", "--set", "split.ratio=0.2"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["rounds"] == 7
    assert values["split"]["ratio"] == 0.2
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    assert load(str(tmp_path / "mine.yaml")).rounds == 7


def test_overrides_may_stand_anywhere():
    rest, overrides = split_overrides(["run", "a.b=1", "--recipe", "smoke", "c=2", "--set", "d=3"])
    assert rest == ["run", "--recipe", "smoke", "--set", "d=3"]
    assert overrides == ["a.b=1", "c=2"]


@pytest.mark.parametrize("recipe", ["smoke", "demo", "diving48", "kinetics400"])
def test_a_dry_run_prints_the_plan_without_data_or_ray(recipe, capsys, tmp_path):
    assert main(["run", "--recipe", recipe, f"out={tmp_path}", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "seed-0/collaborative/round-01/action_encoder" in said
    assert "training" in said
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_a_dry_run_names_weights_that_are_not_there(capsys, tmp_path):
    weights = ["frame_encoder.init=byol", "frame_encoder.weights=/nowhere.pt"]
    assert main(["run", "--recipe", "diving48", f"out={tmp_path}", "--dry-run", *weights]) == 2
    assert "frame_encoder.weights: /nowhere.pt is not there" in capsys.readouterr().out


def test_a_run_folder_belongs_to_one_data_set_and_split(tmp_path):
    made = load("smoke", [f"out={tmp_path}"])
    prepare_folder(made, force=False)
    prepare_folder(load("smoke", [f"out={tmp_path}", "rounds=2"]), force=False)
    for override, message in [
        ("split.ratio=0.9", r"smoke was made with split.ratio=0.4, now it is 0.9; use another --name, or --force"),
        ("data.synthetic.seed=5", "made with data.synthetic.seed=0, now it is 5"),
    ]:
        with pytest.raises(UserError, match=message):
            prepare_folder(load("smoke", [f"out={tmp_path}", override]), force=False)
    prepare_folder(load("smoke", [f"out={tmp_path}", "split.ratio=0.9"]), force=True)
    assert "split.ratio" in (tmp_path / "smoke" / "forced.json").read_text()


def test_two_commands_do_not_work_in_one_folder(tmp_path):
    with locked(tmp_path):
        code = "import sys, pathlib; from jobs.commands import locked\nwith locked(pathlib.Path(sys.argv[1])): pass"
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "another command works in it" in done.stderr
    with locked(tmp_path):
        pass


def test_lists_of_a_csv_data_set(tmp_path):
    (tmp_path / "labelled.txt").touch()
    (tmp_path / "test.csv").touch()
    (tmp_path / "classes.txt").touch()
    found = data_section(f"csv:{tmp_path}")
    assert found["data"]["lists"] == {"labelled": f"{tmp_path}/labelled.txt", "test": f"{tmp_path}/test.csv"}
    assert found["split.method"] == "lists"
    assert data_section("csv:a.csv")["data"]["lists"] == {"all": "a.csv"}
    assert data_section("csv:train=a.txt,test=b.txt")["data"]["lists"] == {"train": "a.txt", "test": "b.txt"}
    with pytest.raises(UserError, match="no list in it"):
        data_section(f"csv:{tmp_path.parent}")
