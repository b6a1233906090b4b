"""What Slurm says of a chain: from dag.json, squeue and scontrol, or from the files alone."""

import json
import os

import pytest

from jobs.cli.main import main
from jobs.config.recipes import load
from jobs.pipeline.run_folder import write_config
from jobs.submit.states import UNKNOWN, chain_lines, job_states, squeue

LINE = "finepseudo submit --recipe smoke --name r"
DONE = {"shards": True, "manifest": True}


@pytest.fixture
def folder(tmp_path):
    jobs = {"manifest": "2", "seed-0": "3_0", "seed-7": "3_1"}
    dag = {name: {"job": job, "needs": [], "arguments": [], "line": LINE} for name, job in jobs.items()}
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "dag.json").write_text(json.dumps(dag))
    return tmp_path / "r"


def lines(folder, said, done=DONE):
    return list(chain_lines(done, job_states(folder, said.__getitem__)))


def test_jobs_on_their_way_are_named_and_nothing_has_died(folder):
    said = {"2": "", "3_0": "RUNNING 1:00 of 1-00:00:00", "3_1": "PENDING (Priority)"}
    assert lines(folder, said) == [
        "job         seed-0     job 3_0: RUNNING 1:00 of 1-00:00:00",
        "            seed-7     job 3_1: PENDING (Priority)",
    ]


@pytest.mark.parametrize("how", ["", "PENDING (DependencyNeverSatisfied)"])
def test_a_chain_that_has_died_says_where_and_which_line_goes_on(folder, how, monkeypatch):
    monkeypatch.setattr("jobs.submit.states.how_it_ended", lambda _: "TIMEOUT")
    found = lines(folder, {"2": "", "3_0": "RUNNING 1:00 of 2:00", "3_1": how})
    assert found[-2:] == [
        "            the chain has died at seed-7; nothing waits for it any more",
        f"to go on    {LINE}",
    ]
    assert how or "seed-7     job 3_1: ended (TIMEOUT)" in found[1]


def test_what_is_done_needs_no_job(folder, monkeypatch):
    monkeypatch.setattr("jobs.submit.states.how_it_ended", lambda _: "COMPLETED")
    assert lines(folder, dict.fromkeys(("2", "3_0", "3_1"), ""), {**DONE, "seed-0": True, "seed-7": True}) == []


def test_without_squeue_the_files_say_what_they_know(folder, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = lines(folder, dict.fromkeys(("2", "3_0", "3_1"), squeue("3_0")))
    assert found[0] == f"job         seed-0     job 3_0: {UNKNOWN}, its state is not known"
    assert not any("died" in line for line in found)


@pytest.mark.parametrize(
    ("out", "code", "said"),
    [
        ("RUNNING|1:02|2:00|None", 0, "RUNNING 1:02 of 2:00"),
        ("PENDING|0:00|2:00|Resources", 0, "PENDING (Resources)"),
        ("", 0, ""),
        ("slurm_load_jobs error: Invalid job id specified", 1, ""),
        ("Unable to contact slurm controller", 1, UNKNOWN),
    ],
)
def test_squeue_is_read(out, code, said, tmp_path, monkeypatch):
    tool = tmp_path / "squeue"
    tool.write_text(f"#!/bin/bash\necho -n '{out}' {'>&2' if code else ''}\nexit {code}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert squeue("3_0") == said


def test_status_shows_the_jobs_before_and_while_a_run_is_there(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jobs.submit.states.squeue", lambda _: "PENDING (Priority)")
    where = ["status", "--name", "r", f"out={tmp_path}"]
    assert main([*where, "--recipe", "smoke", "seeds=[0, 7]"]) == 0
    said = capsys.readouterr().out
    assert f"{folder}: submitted" in said
    assert "job         manifest   job 2: PENDING (Priority)" in said
    write_config(load("smoke", [f"out={tmp_path}", "seeds=[0, 7]"], {"name": "r"}))
    assert main(where) == 0
    said = capsys.readouterr().out
    assert "seed-7     job 3_1: PENDING (Priority)" in said
    assert "finepseudo run" not in said, "the queue goes on by itself"
