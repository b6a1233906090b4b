"""Who is there: tasks come, say something, go or are killed; strangers are not let in."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.cluster.roll import Roll, join, proof

REPOSITORY = Path(__file__).parents[3]
TASK = """
import json, sys, threading
from jobs.cluster.roll import join
line = join(("127.0.0.1", int(sys.argv[1])), "secret", 1)
print(json.dumps(line is not None), flush=True)
input()
"""


@pytest.fixture
def roll():
    guard = socket.create_server(("127.0.0.1", 0))
    guard_port = guard.getsockname()[1]
    made = Roll(guard, "secret", (1, 2))
    made.port = guard_port
    yield made
    made.close()


def until(roll, condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        roll.look()
        time.sleep(0.01)


def task(port):
    line = [sys.executable, "-c", TASK, str(port)]
    return subprocess.Popen(line, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_task_that_is_killed_is_missed_at_once(roll):
    with task(roll.port) as process:
        until(roll, lambda: 1 in roll.present)
        assert json.loads(process.stdout.readline())
        roll.look()
        assert roll.gone == {}
        process.kill()
        until(roll, lambda: roll.gone == {1: "its task was killed"})
    assert roll.present == {}


def in_thread(roll, *arguments):
    """Join while the other side looks."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        future = pool.submit(join, ("127.0.0.1", roll.port), *arguments)
        until(roll, future.done)
        return future.result()


def test_lines_go_both_ways_and_late_comers_hear_what_was_said(roll):
    roll.tell("join 1.2.3.4:5")
    line = in_thread(roll, "secret", 2)
    roll.tell("started")
    heard = []
    until(roll, lambda: heard.extend(line.heard()) or len(heard) == 2)
    assert heard == ["join 1.2.3.4:5", "started"]
    line.say("Ray ended:\n no space")
    until(roll, lambda: roll.gone == {2: "Ray ended: no space"})
    roll.close()
    until(roll, lambda: line.heard() == [] and line.closed)


@pytest.mark.parametrize(("token", "rank"), [("guess", 1), ("secret", 7)])
def test_who_does_not_know_the_token_is_turned_away(roll, token, rank):
    assert in_thread(roll, token, rank) is None
    assert roll.present == {}
    assert roll.gone == {}


def test_a_first_task_that_does_not_know_the_token_is_not_joined():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = task(port)
        stranger, _ = server.accept()
        assert stranger.recv(200).startswith(b"1 " + proof("secret", "task 1").encode())
        stranger.sendall(proof("guess", "first 1").encode() + b"\n")
        assert process.stdout.readline() == "false\n"
        process.communicate("")
    assert join(("127.0.0.1", port), "secret", 1) is None  # nobody answers
