"""Overrides among the arguments, and errors that end as one line."""

import errno
import os
import sys

import pytest

from jobs.cli.main import main, split_overrides


@pytest.mark.parametrize(
    ("number", "todo"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "see that you may write there"),
        (errno.EIO, "look at the disk or its server"),
        (errno.EISDIR, "move that folder away, a file belongs there"),
        (errno.ELOOP, "remove the symbolic link that leads to itself"),
    ],
)
def test_a_disk_that_fills_up_or_fails_anywhere_is_one_line(capsys, monkeypatch, tmp_path, number, todo):
    def fails(*_):
        raise OSError(number, os.strerror(number), "/runs/smoke/metrics.jsonl")

    monkeypatch.setattr("jobs.cli.commands.dispatch", fails)
    assert main(["report", f"out={tmp_path}"]) == 2
    said = f"error: /runs/smoke/metrics.jsonl: {os.strerror(number)}; {todo} and type the same command again\n"
    assert capsys.readouterr().err == said


def test_errors_of_the_program_keep_their_trace(monkeypatch, tmp_path):
    def wrong(*_):
        raise FileNotFoundError(errno.ENOENT, "No such file", "weights")

    monkeypatch.setattr("jobs.cli.commands.dispatch", wrong)
    with pytest.raises(FileNotFoundError):
        main(["report", f"out={tmp_path}"])


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_is_closed_takes_nothing_and_stops_nothing(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, name, None)
    assert main(["methods", "sefar"]) == 0
    assert main(["methods", "no_such"]) == 2
    said = capsys.readouterr()
    assert bool(said.out) == (name == "stderr") and bool(said.err) == (name == "stdout")


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
