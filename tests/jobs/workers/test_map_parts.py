"""A job over parts without Ray: who shares what, which parts are missing, how it ends."""

import time

import pyarrow as pa
import pytest

from jobs.cluster.preempt import Preempted
from jobs.config.recipes import load
from jobs.workers.map_parts import Pool, _missing, device_of, plan_pool, refusing, stream
from jobs.workers.part_files import write_part
from shards.errors import UserError


@pytest.mark.parametrize(
    ("have", "nodes", "wanted", "expected"),
    [
        ({"CPU": 5}, 1, 2, Pool(actors=2, cpus=1.0, gpu=False, sharers=2)),
        ({"CPU": 2}, 1, 4, Pool(actors=4, cpus=0.25, gpu=False, sharers=4)),
        ({"CPU": 1}, 1, 1, Pool(actors=1, cpus=0.5, gpu=False, sharers=1)),
        ({"CPU": 64, "GPU": 4}, 2, 8, Pool(actors=4, cpus=1.0, gpu=True, sharers=2)),
        ({"CPU": 64, "GPU": 4}, 4, 3, Pool(actors=3, cpus=1.0, gpu=True, sharers=1)),
    ],
)
def test_actors_share_the_cluster_and_leave_a_cpu_for_those_who_feed_them(monkeypatch, have, nodes, wanted, expected):
    monkeypatch.setattr("ray.cluster_resources", lambda: have)
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True}] * nodes + [{"Alive": False}])
    pool = plan_pool(wanted, load("smoke").resources)
    assert pool == expected
    assert device_of(pool).type == ("cuda" if expected.gpu else "cpu")


def test_what_is_refused_is_a_row_and_other_errors_are_errors():
    @refusing
    def answer(error: Exception | None) -> dict[str, object]:
        if error:
            raise error
        return {"part": "a"}

    assert answer(None) == {"part": "a"}
    assert answer(UserError("full")) == {"refused": "full"}
    with pytest.raises(ZeroDivisionError):
        answer(ZeroDivisionError())


def test_only_parts_that_are_not_there_whole_are_made(tmp_path, capsys):
    rows = [{"part": f"part-{number}.parquet"} for number in range(3)]
    for row in rows[:2]:
        write_part(tmp_path / row["part"], pa.table({"key": ["a"]}))
    damaged = tmp_path / "part-1.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert _missing(tmp_path, rows) == rows[1:]
    assert "part-1.parquet was damaged; it is made again" in capsys.readouterr().err
    assert not damaged.exists()


def test_rows_come_as_they_are_finished_and_a_refusal_ends_it(tmp_path):
    rows = [{"part": "a"}, {"part": "b"}, {"refused": "clip x is in no shard"}]
    found = stream(lambda: iter(rows), 60, tmp_path)
    assert [next(found), next(found)] == rows[:2]
    with pytest.raises(UserError, match="clip x is in no shard"):
        next(found)
    assert list(stream(lambda: iter(rows[:2]), 60, tmp_path)) == rows[:2]


def test_errors_of_the_job_a_stop_and_a_job_that_waits_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.workers.map_parts.POLL_S", 0.01)

    def broken():
        yield {"part": "a"}
        raise ZeroDivisionError

    found = stream(broken, 60, tmp_path)
    next(found)
    with pytest.raises(ZeroDivisionError):
        next(found)
    with pytest.raises(UserError, match="has finished no part for 0 minutes; give the cluster more CPUs"):
        next(stream(lambda: (time.sleep(9) for _ in range(1)), 0, tmp_path))
    monkeypatch.setattr("jobs.cluster.preempt.requested", lambda _: True)
    with pytest.raises(Preempted):
        next(stream(lambda: iter([{"part": "a"}]), 60, tmp_path))
