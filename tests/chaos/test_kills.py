"""Kills over a real Ray, in small: who is found, who is struck, what is left. Ray itself is `bench chaos --kills`."""

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from jobs.bench.chaos import kills
from jobs.bench.chaos.commands import Ended
from jobs.bench.chaos.kills import VICTIMS, Blow, Victim, below, judge

WORKER = Victim("worker", "sleep 61")
DRIVER, JOB = Victim("driver"), Victim("whole job", job=True)


@pytest.fixture
def command():
    """A shell whose children are two of the kind that is struck, and one that is not."""
    line = ["sh", "-c", "sleep 61 & (sleep 61; true) & sleep 62 & wait"]
    with subprocess.Popen(line, start_new_session=True) as process:
        yield process
        for pid in below(process.pid):
            with suppress(ProcessLookupError):  # the shell's end took it along
                os.kill(pid, 9)
        process.kill()


def states(process):
    """What `ps` says of a command and of what is below it: state, command line."""
    pids = ",".join(map(str, [process.pid, *below(process.pid)]))
    said = subprocess.run(["ps", "-o", "state=,args=", "-p", pids], capture_output=True, text=True, check=False).stdout
    return sorted(line for line in said.splitlines() if "sleep 6" in line and line[0] != "Z")


def until(true):
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_children_of_children_are_found_and_nobody_else(command):
    assert until(lambda: sum("sleep 6" in title for title in below(command.pid).values()) == 4)
    assert command.pid not in below(command.pid)
    assert os.getpid() not in below(command.pid)
    assert set(below(command.pid)) < set(below(os.getpid()))


@pytest.mark.parametrize(("victim", "left"), [(WORKER, 4), (DRIVER, 0), (JOB, 0)])
def test_a_blow_falls_on_one_process_or_on_all(command, victim, left):
    assert until(lambda: len(states(command)) == 5)
    blow = Blow(victim, "kill", "sleep 62", 0.0, random.Random(0))
    blow.fall(command)
    assert blow.fallen
    assert until(lambda: len(states(command)) <= left + 1 if left else command.poll() == -9)
    if left:
        assert [line for line in states(command) if "sleep 62" in line and "sh -c" not in line]


def test_who_is_stopped_goes_on(command, monkeypatch):
    seen = []
    monkeypatch.setattr(kills, "STOPPED_S", 0.0)
    monkeypatch.setattr(kills.time, "sleep", lambda _: seen.append([line[0] for line in states(command)]))
    assert until(lambda: len(states(command)) == 5)
    seen.clear()
    Blow(JOB, "stop", "sleep 62", 0.0, random.Random(0)).fall(command)
    assert "T" in seen[-1]
    assert until(lambda: not any(line.startswith("T") for line in states(command)))


def test_a_command_that_ends_before_is_not_struck():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        blow = Blow(DRIVER, "kill", "a worker", 0.0, random.Random(0))
        blow.fall(process)
    assert not blow.fallen


def test_what_a_command_leaves_is_listed_and_ended(tmp_path: Path, monkeypatch):
    (tmp_path / "jobs.py").write_text(
        "import subprocess, sys\nsubprocess.Popen(['sleep', '63'])\nsys.stderr.write('said')\nsys.exit(75)\n"
    )
    monkeypatch.setattr(kills, "LEFT_S", 0.1)
    monkeypatch.setattr(kills, "ROOT", tmp_path)
    ended = kills.call(["run"], tmp_path)
    assert (ended.code, ended.err, len(ended.left)) == (75, "said", 1)
    assert until(lambda: "sleep 63" not in " ".join(below(os.getpid()).values()))


@pytest.mark.parametrize(
    ("victim", "how", "code", "err", "fine"),
    [
        ("raylet", "kill", 75, "error: a part of the cluster was lost (..)", True),
        ("raylet", "kill", 2, "error: Ray does not start on this machine", True),
        ("raylet", "kill", 2, "", False),
        ("raylet", "kill", 1, "", False),
        ("raylet", "kill", -9, "", False),
        ("driver", "kill", -9, "", True),
        ("driver", "stop", -9, "", False),
        ("whole job", "kill", 0, "", True),
        ("GCS", "stop", 0, "", True),
        ("GCS", "stop", 75, "Traceback (most recent call last):", False),
    ],
)
def test_a_struck_command_ends_well_or_says_why_in_a_line(victim, how, code, err, fine):
    who = next(one for one in VICTIMS if one.name == victim)
    assert (judge(who, how, Ended(code, "", err, 1.0)) == []) == fine
    assert judge(who, how, Ended(0, "", "", 1.0, left=(7,)))


def test_stages_have_the_processes_that_work_there():
    there = {v.name for v in VICTIMS if v.can_be_in("seed-0/finepseudo/round-01/scores")}
    assert there == {"actor of Ray Data", "raylet", "GCS", "driver", "whole job"}
    assert {v.name for v in VICTIMS if v.can_be_in("seed-0/round-00/action_encoder")} == {v.name for v in VICTIMS} - {
        "actor of Ray Data"
    }
    assert not any(v.can_be_in("data") for v in VICTIMS)
