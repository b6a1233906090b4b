"""The first task and the others, without a Ray: how a job ends, and how a node finds the head."""

import signal
from types import SimpleNamespace

import pytest

from jobs.cluster import follower
from jobs.cluster.allocation import Allocation
from jobs.cluster.follower import Follower
from jobs.cluster.leader import Leader
from jobs.cluster.preempt import EXIT_CODE
from jobs.cluster.restarts import MOST
from jobs.cluster.task import HEAD, TOKEN, ClusterConfig
from shards.errors import UserError


def allocation(rank: int = 0, attempt: int = 0) -> Allocation:
    names = ("n1", "n2")
    return Allocation(
        job="7",
        step="0",
        attempt=str(attempt),
        rank=rank,
        node=names[rank],
        nodes=names,
        cpus=1,
        gpus=0,
        memory_bytes=None,
    )


@pytest.mark.parametrize(
    ("options", "rule"),
    [({"deadline_s": 0.0}, "deadline_s 0.0: must be positive"), ({"object_store_mb": 79}, "Ray needs at least 80")],
)
def test_what_ray_cannot_start_with_is_refused(tmp_path, options, rule):
    with pytest.raises(ValueError, match=rule):
        ClusterConfig(folder=tmp_path, **options)


@pytest.mark.parametrize("code", [0, 1, EXIT_CODE])
def test_only_restarts_that_bring_nothing_end_a_job(tmp_path, capsys, code):
    codes = []
    for attempt in range(MOST + 1):
        leader = Leader(allocation(attempt=attempt), ClusterConfig(folder=tmp_path))
        leader.stop = signal.SIGTERM
        codes.append(leader._settle(code, "Ray ended"))
    assert codes == ([EXIT_CODE] * MOST + [1] if code == EXIT_CODE else [code] * (MOST + 1))
    said = capsys.readouterr().out
    assert said.count("\n") == (code == EXIT_CODE)
    assert code != EXIT_CODE or "made no step in between; the last time: SIGTERM came after" in said
    assert not list(tmp_path.glob("*.restarts.json")), "the next job of this number begins anew"


def test_a_good_end_forgets_the_restarts_before_it(tmp_path):
    settle = [
        Leader(allocation(), ClusterConfig(folder=tmp_path))._settle(code, "") for code in (75, 75, 0, 75, 75, 75)
    ]
    assert settle == [75, 75, 0, 75, 75, 75]


HEADS = {
    "nothing": None,
    "half a line": '{"first": "10.0.',
    "another form": "[1]",
    "no such key": '{"head": "10.0.0.1:5"}',
    "no port": '{"first": "10.0.0.1"}',
    "good": '{"first": "10.0.0.1:5000"}',
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("token", ["secret", None, "a folder"])
def test_a_head_is_found_once_both_files_are_whole(tmp_path, monkeypatch, head, token):
    asked = []
    monkeypatch.setattr(follower, "join", lambda *of: asked.append(of) or "line")
    task = Follower(allocation(1), ClusterConfig(folder=tmp_path))
    if HEADS[head] is not None:
        (task.shared / HEAD).write_text(HEADS[head])
    if token == "a folder":
        (task.shared / TOKEN).mkdir()  # stands for any failure of a network file system
    elif token:
        (task.shared / TOKEN).write_text(token)
    found = task._connect()
    ready = head == "good" and token == "secret"
    assert (found, asked) == (("line", [(("10.0.0.1", 5000), "secret", 1)]) if ready else (None, []))


def test_without_a_head_the_deadline_names_the_folder_and_a_stop_ends_the_search(tmp_path):
    task = Follower(allocation(1), ClusterConfig(folder=tmp_path, deadline_s=1e-6))
    with pytest.raises(UserError, match=rf"node n2: no head after .*is {task.shared} the same folder"):
        task._find_first()
    task.stop = signal.SIGTERM
    assert task._find_first() is None


def test_a_follower_does_what_the_first_task_says(tmp_path, monkeypatch):
    task = Follower(allocation(1), ClusterConfig(folder=tmp_path))
    joined = []
    monkeypatch.setattr(task, "_join", lambda: joined.append(task.address))
    task._obey("join", "10.0.0.1:6379")
    assert joined == [], "without a folder of its own it cannot"
    task.temporary, task.tries = tmp_path, 2
    task._obey("join", "10.0.0.1:6379")
    assert (joined, task.tries) == (["10.0.0.1:6379"], 0)
    task._obey("started")
    task._obey("over", "75")
    assert (task.program_runs, task.code) == (True, 75)


def test_ray_is_started_again_on_a_node_until_the_program_runs(tmp_path, monkeypatch, capsys):
    said = []
    line = SimpleNamespace(say=said.append)
    task = Follower(allocation(1), ClusterConfig(folder=tmp_path))
    monkeypatch.setattr(task, "ray_ended", lambda: "Address already in use")
    monkeypatch.setattr(task, "start_ray", lambda ip, options: None)
    task.address = "127.0.0.1:6379"
    task.tries = 1
    task._look_after_ray(line)
    task._look_after_ray(line)
    assert (task.tries, said) == (3, [])
    assert capsys.readouterr().out.count("it is started again") == 2
    task._look_after_ray(line)
    assert said == [f"Ray ended: Address already in use (all of it: {task.log})"]
    task.tries, task.program_runs = 0, True
    task._look_after_ray(line)
    assert len(said) == 2, "a program that runs has lost this node"
