"""Overrides among the arguments, and errors that end as one line."""

import errno

import pytest

from jobs.cli.main import main, split_overrides


def test_a_disk_that_fills_up_anywhere_is_one_line(capsys, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/runs/smoke/metrics.jsonl")

    monkeypatch.setattr("jobs.cli.commands.dispatch", full)
    assert main(["report", f"out={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert said == "error: /runs/smoke/metrics.jsonl cannot be written: No space left on device; make room\n"


def test_overrides_may_stand_anywhere():
    rest, overrides = split_overrides(["run", "a.b=1", "--recipe", "smoke", "c=2", "--set", "d=3"])
    assert rest == ["run", "--recipe", "smoke", "--set", "d=3"]
    assert overrides == ["a.b=1", "c=2"]


def test_commands_without_a_run_take_no_keys(capsys):
    assert main(["weights", "epoch=3-step=100.ckpt"]) == 2
    assert "epoch=3-step=100.ckpt: no such file" in capsys.readouterr().err
    for line in (["schema", "rounds=3"], ["init", ".", "rounds=3"]):
        with pytest.raises(SystemExit):
            main(line)
        assert "unrecognized arguments: rounds=3" in capsys.readouterr().err
