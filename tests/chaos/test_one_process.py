"""The stand-in for Ray: rows one after another, ranks with a group, started again as often as Ray Train would."""

import os
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from jobs.bench.chaos.commands import CHILDREN
from jobs.bench.chaos.one_process import COLLECTIVES, Failed, stand_in
from jobs.bench.chaos.points import PLACE


def rank(told):
    """Sum over ranks; rank 1 dies as often as it is told to."""
    import ray.train

    context = ray.train.get_context()
    deaths = told["folder"] / "deaths"
    if context.get_world_rank() == 1 and len(deaths.read_text()) < told["deaths"]:
        deaths.write_text(deaths.read_text() + "x")
        os._exit(1)
    value = torch.tensor(context.get_world_rank() + 1)
    dist.all_reduce(value)
    return f"{PLACE.role}: {int(value)} of {context.get_world_size()}"


def train(folder, deaths, answer):
    stand_in()
    import ray.train.torch

    (folder / "deaths").write_text("")
    run = SimpleNamespace(storage_path=str(folder / "ray"), failure_config=SimpleNamespace(max_failures=2))
    told = {"train_loop_config": {"folder": folder, "deaths": deaths}, "run_config": run}
    trainer = ray.train.torch.TorchTrainer(rank, scaling_config=SimpleNamespace(num_workers=2), **told)
    try:
        answer.send(trainer.fit().return_value)
    except Failed as error:
        answer.send(f"failed: {error}")


@pytest.mark.parametrize(("deaths", "ends_well"), [(0, True), (2, True), (3, False)])
def test_ranks_are_started_again_as_often_as_it_may_fail(tmp_path, deaths, ends_well):
    here, there = CHILDREN.Pipe(duplex=False)
    child = CHILDREN.Process(target=train, args=(tmp_path, deaths, there))
    child.start()
    answer = here.recv()
    child.join(60)
    assert child.exitcode == 0
    assert answer in ("rank 0: 3 of 2", "rank 1: 3 of 2") if ends_well else answer.startswith("failed: ")
    assert not list((tmp_path / "ray").iterdir())


def test_rows_are_mapped_by_a_function_or_by_what_a_class_makes(monkeypatch):
    before = {name: module for name, module in sys.modules.items() if name == "ray" or name.startswith("ray.")}
    collectives = {name: getattr(dist, name) for name in COLLECTIVES}
    try:
        stand_in()
        import ray

        class Adder:
            def __init__(self, more):
                self.more = more

            def __call__(self, row):
                return row + self.more

        rows = ray.data.from_items([1, 2], override_num_blocks=2)
        assert list(rows.map(Adder, fn_constructor_args=(5,), num_cpus=1).iter_rows()) == [6, 7]
        assert list(rows.map(hex).iter_rows()) == ["0x1", "0x2"]
        assert ray.is_initialized()
    finally:
        for name in [name for name in sys.modules if name == "ray" or name.startswith("ray.")]:
            del sys.modules[name]
        sys.modules.update(before)
        for name, call in collectives.items():
            setattr(dist, name, call)
