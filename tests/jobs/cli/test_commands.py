"""The command line: one clear line for bad input, and what needs no Ray."""

import pytest
import yaml

from jobs.cli.data import data_section
from jobs.cli.main import main
from jobs.cluster.session import _attach
from jobs.config.recipes import load
from shards.errors import UserError


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "nme=x"], "nme: unknown key; did you mean name?"),
        (["run", "out=/proc/x"], "cannot write /proc/x/smoke: it is not there and cannot be made; choose another"),
        (["run", "--recipe", "smok"], "did you mean smoke?"),
        (["run", "--data", "csv:/nowhere/list.csv", "--dry-run"], "/nowhere/list.csv"),
        (["run", "--data", "json:x"], "write csv:LIST"),
        (["tune", "/nowhere.yaml"], "space /nowhere.yaml: no such file; give"),
        (["predict", "/nowhere.mp4"], "/nowhere.mp4"),
    ],
)
def test_bad_input_is_one_line_and_code_2(argv, message, capsys, tmp_path):
    assert main([argv[0], f"out={tmp_path}", *argv[1:]]) == 2
    said = capsys.readouterr()
    assert message in said.err + said.out
    assert said.err.count("\n") <= 1
    assert "Traceback" not in said.err


def lists(folder, **texts):
    folder.mkdir(exist_ok=True)
    for role, text in texts.items():
        (folder / f"{role}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return ["--data", f"csv:{folder}", f"out={folder / 'runs'}"]


ROLES = {"labelled": "a.mp4,0\nb.mp4,1\n", "unlabelled": "c.mp4\n", "test": "d.mp4,0\n"}


@pytest.mark.parametrize(
    ("texts", "overrides", "message"),
    [
        (
            {**ROLES, "test": "d.mp4,0\ne.mp4,2\n"},
            [],
            "1 class has clips but no labelled one: 2 2; raise split.ratio",
        ),
        ({**ROLES, "test": "d.mp4,0\ne.mp4,2\n"}, ["data.classes=classes.txt"], "classes.txt does not exist"),
        (
            {**ROLES, "classes": "x\ny\n", "test": "d.mp4,7\n"},
            ["data.classes={}/classes.csv"],
            "test.csv:1: 7; correct",
        ),
        ({**ROLES, "test": bytes(range(256))}, [], "test.csv:2 is not UTF-8 text"),
        ({**ROLES, "test": "d.mp4\n"}, [], "test.csv: 1 bad rows, first: line 1: 'd.mp4' has no class"),
        ({**ROLES, "test": ""}, [], "test.csv is empty"),
        ({**ROLES, "test": "a.mp4,0\n"}, [], "1 clip is listed twice, first: a.mp4 at"),
        (
            ROLES,
            ["split.method=stratified"],
            "split.method: stratified draws from training clips, but the data set brings",
        ),
        ({"test": "d.mp4,0\n"}, [], "the data set has no training clips to draw labelled ones from"),
    ],
)
@pytest.mark.parametrize("command", [["check"], ["run", "--dry-run"]])
def test_what_is_wrong_with_lists_is_said_before_a_run(command, texts, overrides, message, capsys, tmp_path):
    overrides = [text.format(tmp_path / "in") for text in overrides]
    assert main([*command, *lists(tmp_path / "in", **texts), *overrides]) == 2
    said = capsys.readouterr()
    (line,) = [line for line in said.out.splitlines() if message in line]
    assert line.startswith("PROBLEM ")
    assert said.err == ""
    assert not (tmp_path / "in" / "runs" / "smoke" / "config.yaml").exists(), "nothing is begun"


@pytest.mark.parametrize(
    ("texts", "message"),
    [({"all": "a.mp4,0\nb.mp4,1\n"}, "no clip is a test clip"), ({**ROLES, "test": ""}, "test.csv is empty")],
)
@pytest.mark.parametrize("command", ["run", "write-shards"])
def test_a_run_that_is_refused_leaves_no_folder(command, texts, message, capsys, tmp_path):
    assert main([command, *lists(tmp_path / "in", **texts)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "in" / "runs" / "smoke").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379"])
def test_a_ray_that_does_not_answer_is_refused_at_once(address, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=rf"RAY_ADDRESS={address}: nobody answers there; start Ray, or unset"):
        _attach(dashboard=False)


def test_print_config_is_yaml_that_runs_again(capsys, tmp_path):
    assert main(["run", "--recipe", "demo", "--print-config", "rounds=7", "--set", "split.ratio=0.2"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["rounds"] == 7
    assert values["split"]["ratio"] == 0.2
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    assert load(str(tmp_path / "mine.yaml")).rounds == 7


def test_lists_of_a_csv_data_set(tmp_path):
    (tmp_path / "labelled.txt").touch()
    (tmp_path / "test.csv").touch()
    (tmp_path / "classes.txt").touch()
    found = data_section(f"csv:{tmp_path}")
    assert found["data"]["lists"] == {"labelled": f"{tmp_path}/labelled.txt", "test": f"{tmp_path}/test.csv"}
    assert data_section("csv:a.csv")["data"]["lists"] == {"all": "a.csv"}
    assert data_section("csv:train=a.txt,test=b.txt")["data"]["lists"] == {"train": "a.txt", "test": "b.txt"}
    with pytest.raises(UserError, match="no list in it"):
        data_section(f"csv:{tmp_path.parent}")
