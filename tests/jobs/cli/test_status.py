"""Where a run stands, told from its files: before, while and after; nothing is written."""

import json

import pytest

from finepseudo.run_folder.layout import CHECKPOINTS, LOG, REPORT
from jobs.cli.main import main
from jobs.config.recipes import load, to_yaml
from jobs.pipeline.plan import COMMANDS, make_plan
from jobs.pipeline.run_folder import locked
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter

SMALL = ["data.synthetic.train_per_class=3", "data.synthetic.test_per_class=1", "resources.write_tasks=0"]


@pytest.fixture
def folder(tmp_path):
    """A run whose data and splits are there."""
    cfg = load("smoke", [f"out={tmp_path}", *SMALL])
    with Reporter(cfg.folder, tensorboard=False) as reporter:
        run = Run(cfg, reporter)
        run_plan(run, make_plan(run), "code", COMMANDS["write-shards"] | COMMANDS["split"], write=True)
    return cfg.folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_says_what_is_done_what_is_next_and_how_to_go_on(folder, capsys):
    before = contents(folder)
    training = folder / "pretrain"
    (training / CHECKPOINTS).mkdir(parents=True)
    (training / "STARTED.json").touch()
    line = {"time": 1.0, "stage": "pretrain", "step": 3, "train/loss": 0.123456}
    (folder / REPORT).touch()
    (training / LOG).write_text(json.dumps(line) + "\n" + json.dumps(line)[:9])  # the last line is being written
    assert main(["status", f"out={folder.parent}"]) == 0
    said = capsys.readouterr().out
    assert f"{folder}: no command works in it" in said
    assert "stages      2 of " in said
    assert "  to do    pretrain" in said or "  goes on  pretrain" in said
    assert f"report      {folder / REPORT}\n" in said
    assert f"to go on    finepseudo run --name smoke out={folder.parent}" in said
    assert before.items() <= contents(folder).items()
    (folder / REPORT).unlink()
    assert main(["status", f"out={folder.parent}"]) == 0
    assert "report  " not in capsys.readouterr().out.replace("to do    report", "")


def test_it_sees_a_command_at_work_and_lists_every_run(folder, capsys):
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "config.yaml").write_text("strategies: [confidence]\n")
    with locked(folder):
        assert main(["status", "--all", f"out={folder.parent}", "name=other"]) == 0
    one, two = sorted(capsys.readouterr().out.splitlines())
    assert "strategies: is called methods now" in one
    assert "2 of " in two
    assert "a command works in it, next pretrain" in two


def test_what_will_be_undone_is_said(folder, capsys):
    cfg = load("smoke", [f"out={folder.parent}", *SMALL])
    text = to_yaml(cfg).replace("min_per_class: 1", "min_per_class: 0")
    (folder / "config.yaml").write_text(text)
    assert main(["status", f"out={folder.parent}"]) == 0
    said = capsys.readouterr().out
    assert "undone   split of seed-0  (split.min_per_class was 1, is 0)" in said


def test_a_run_is_named_by_its_folder_or_by_its_name(folder, capsys):
    said = []
    for line in (["status", str(folder)], ["status", folder.name, f"out={folder.parent}"]):
        assert main(line) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert said[0].startswith(f"run         {folder}: ")


def test_no_run_is_one_line(tmp_path, capsys):
    for line in (["status"], ["status", "--all"]):
        assert main([*line, f"out={tmp_path}"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: status: ")
        assert said.count("\n") == 1
        assert not list(tmp_path.iterdir())


def test_a_run_that_is_not_there_is_answered_with_those_that_are(folder, capsys):
    assert main(["status", "--name", "smokey", f"out={folder.parent}"]) == 2
    assert f"smokey: no such run; {folder.parent} holds smoke; name one" in capsys.readouterr().err
