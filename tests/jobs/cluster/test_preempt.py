"""A stop signal becomes a file that every process of the run can see."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jobs.cluster import preempt


@pytest.fixture(autouse=True)
def restore_handlers():
    before = {number: signal.getsignal(number) for number in preempt.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM])
def test_each_stop_signal_is_seen_and_can_be_cleared(tmp_path, number):
    run = tmp_path / "runs" / "a"
    preempt.install(run)
    assert not preempt.requested(run)
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
    assert preempt.requested(run)
    assert [p.name for p in run.iterdir()] == ["STOP"]  # no temporary name stays
    preempt.clear(run)
    preempt.clear(run)
    assert not preempt.requested(run)


def test_a_request_changes_what_a_file_holds_that_is_there_from_the_start(tmp_path):
    """A node that found no file may believe that for a minute; one that opens a file sees what it holds."""
    preempt.clear(tmp_path)
    preempt.install(tmp_path)
    before = (tmp_path / "STOP").stat().st_ino
    assert not preempt.requested(tmp_path)
    os.kill(os.getpid(), signal.SIGTERM)
    assert preempt.requested(tmp_path)
    preempt.clear(tmp_path)
    assert not preempt.requested(tmp_path)
    assert (tmp_path / "STOP").stat().st_ino == before


def test_nothing_is_requested_in_a_folder_that_does_not_exist(tmp_path):
    assert not preempt.requested(tmp_path / "nowhere")


def test_a_process_that_is_told_to_stop_finishes_its_step_and_exits_with_the_code_for_requeue(tmp_path):
    program = (
        "import sys, time\nfrom jobs.cluster import preempt\n"
        "preempt.install(sys.argv[1]); print('ready', flush=True)\n"
        "while not preempt.requested(sys.argv[1]): time.sleep(0.01)\n"
        "print('checkpoint', flush=True); sys.exit(preempt.EXIT_CODE)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.05)
    child.terminate()
    out, _ = child.communicate(timeout=20)
    assert (child.returncode, out) == (75, "checkpoint\n")


def test_signals_in_any_number_and_order_only_ask_to_stop(tmp_path):
    """Slurm's warning and preemption send USR1 and TERM at once: the second comes while the first is handled."""
    program = (
        "import os, sys\nfrom jobs.cluster import preempt\n"
        "preempt.install(sys.argv[1]); print('ready', flush=True)\n"
        "sys.stdin.readline(); sys.exit(preempt.EXIT_CODE if preempt.requested(sys.argv[1]) else 1)\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], **pipes)
    assert child.stdout.readline() == "ready\n"
    for _ in range(300):
        for number in (signal.SIGUSR1, signal.SIGTERM):
            child.send_signal(number)
    _, said = child.communicate("\n", timeout=20)
    assert (child.returncode, said) == (75, "")
    assert [path.name for path in tmp_path.iterdir()] == ["STOP"]
