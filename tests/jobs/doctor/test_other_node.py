"""What runs on another node, run here: it waits for a file, and sums with its neighbours."""

import json
import threading

import pytest
from torch import distributed

from jobs.cluster.ports import reserve
from jobs.doctor import other_node, storage
from jobs.doctor.checks import run_checks
from shards.errors import UserError


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """An allocation of two nodes: a function that says what srun and scontrol do."""

    def made(srun="true", scontrol="printf 'n1\\nn2\\n'"):
        for name, body in (("srun", srun), ("scontrol", scontrol)):
            (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
        for name, value in (("SLURM_JOB_ID", "7"), ("SLURM_JOB_NODELIST", "n[1-2]"), ("SLURMD_NODENAME", "n1")):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(other_node, "node_address", lambda _: "127.0.0.1")

    return made


def watched(path, capsys, act=lambda: None):
    thread = threading.Thread(target=other_node.watch, args=(path,))
    thread.start()
    said = []
    while not said:
        said = capsys.readouterr().out.split("\n")[:-1]
    act()
    thread.join()
    return said + capsys.readouterr().out.split("\n")[:-1]


def test_it_looks_in_vain_and_then_sees_the_file(tmp_path, capsys):
    assert watched(tmp_path / "new", capsys, (tmp_path / "new").touch) == ["looked", "seen"]
    assert watched(tmp_path / "new", capsys)[0] == "too late", "a look that was not in vain proves nothing"


def test_a_file_that_never_comes_is_not_waited_for_for_ever(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(other_node, "WATCH_S", 0.05)
    assert watched(tmp_path / "never", capsys)[-1] == "not seen"


@pytest.mark.parametrize(
    ("srun", "state", "words"),
    [
        ("exit 1", "skip", "n2 does not run a step"),
        ("echo too late", "skip", "n2 does not run a step"),
        ("exec sleep 30", "skip", "n2 does not run a step"),
        ("echo looked; echo not seen", "fail", "n2 does not see a new file"),
        ("echo looked", "fail", "n2 does not see a new file"),
        ("echo looked; exec sleep 30", "fail", "n2 does not see a new file"),
        ("echo looked; echo seen", "ok", "n2 sees a new file after 0.0 s"),
    ],
)
def test_a_step_on_the_other_node_that_breaks_or_says_nothing(tools, tmp_path, monkeypatch, srun, state, words):
    tools(srun)
    monkeypatch.setattr(other_node, "WATCH_S", 0.2)
    found = storage.negative_cache(tmp_path / "runs")
    assert (found.state, words in found.found) == (state, True), found


@pytest.mark.parametrize(
    ("srun", "words"),
    [
        ("exec sleep 30", "2 nodes did not sum a tensor in 0.2 s"),
        ("exit 3", "srun ended without a word"),
        ("echo noise; exit 0", "srun ended without a word"),
        ("echo '  ' >&2; echo 'NCCL WARN no route' >&2; echo >&2; exit 1", "NCCL WARN no route"),
    ],
)
def test_a_sum_over_nodes_that_does_not_come_says_what_to_set(tools, monkeypatch, srun, words):
    tools(srun)
    monkeypatch.setattr(other_node, "REDUCE_S", 0.2)
    found = other_node.collective()
    assert (found.state, found.found) == ("fail", words)
    assert "NCCL_SOCKET_IFNAME" in found.todo


def test_a_slurm_that_does_not_know_its_nodes_fails_one_check(tools):
    tools(scontrol="echo 'slurm_load_node: down' >&2; exit 1")
    with pytest.raises(UserError, match="slurm_load_node"):
        other_node.collective()
    (result,) = run_checks([("nodes", other_node.collective)])
    assert result.finding.state == "fail"
    assert "slurm_load_node: down" in result.line()


@pytest.mark.parametrize("right", [True, False])
def test_the_first_task_says_how_fast_a_right_sum_was(monkeypatch, capsys, right):
    monkeypatch.setattr(other_node, "MEGABYTES", 1)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    if not right:
        real = distributed.all_reduce
        monkeypatch.setattr(distributed, "all_reduce", lambda values: real(values.add_(1)))
    block = reserve(4711)
    port = str(block.head)
    block.guard.close()
    if not right:
        with pytest.raises(SystemExit, match="gloo: the sum over 1 nodes is wrong"):
            other_node.reduce("127.0.0.1", port)
    else:
        other_node.reduce("127.0.0.1", port)
        said = json.loads(capsys.readouterr().out)
        assert said["backend"] == "gloo"
        assert said["gigabytes_per_s"] > 0
    assert not distributed.is_initialized()
