"""What a Ray cluster can hold, asked before anything waits for it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cluster.resources import actors_of, check_room, most_that_divide, share_of_gpus, uses_gpu, workers_of
from jobs.config.sections import ResourcesConfig
from shards.errors import UserError


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the cluster has. Ray itself stays out: it reads its settings when it is imported, for all tests after."""
    have: dict[str, float] = {}
    nodes = [{"Alive": True, "Resources": have}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(cluster_resources=lambda: have, nodes=lambda: nodes))
    return have


@pytest.mark.parametrize(
    ("have", "wanted", "refusal"),
    [
        ({"CPU": 2.0}, {"workers": 4}, "4 workers x 1 cpus_per_worker do not fit into this cluster of 2 CPUs"),
        ({"CPU": 8.0, "GPU": 1.0}, {"workers": 2}, "2 workers need a GPU each .* use resources.workers=1"),
        ({"CPU": 8.0}, {"device": "gpu"}, "no GPU; use resources.device=auto"),
        ({"CPU": 8.0, "GPU": 1.0}, {"workers": 2, "device": "cpu"}, None),
        ({"CPU": 8.0, "GPU": 2.0}, {"workers": 2, "device": "gpu"}, None),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    cluster: dict[str, float], have: dict[str, float], wanted: dict[str, object], refusal: str | None
) -> None:
    cluster.update(have)
    resources = ResourcesConfig(**wanted)  # type: ignore[arg-type]
    if refusal is None:
        check_room(resources, uses_gpu(resources))
        return
    with pytest.raises(UserError, match=refusal):
        check_room(resources, uses_gpu(resources))


def test_a_run_says_how_many_gpus_it_takes_of_how_many(cluster: dict[str, float]) -> None:
    cluster.update(CPU=64.0, GPU=32.0)
    said = share_of_gpus(ResourcesConfig(workers=16, embed_actors=8), [96])
    assert said.startswith("32 GPUs here")
    assert said.endswith("resources.workers=16, resources.embed_actors=8, resources.score_actors=1")
    said = share_of_gpus(ResourcesConfig(workers="auto", embed_actors="auto", score_actors=40), [96, 36])
    assert said.endswith("resources.workers=12 (auto), resources.embed_actors=32 (auto), resources.score_actors=32")


@pytest.mark.parametrize(
    ("have", "wanted", "batches", "workers", "actors"),
    [
        ({"CPU": 64.0, "GPU": 8.0}, {}, [96, 32], 8, 8),
        ({"CPU": 64.0, "GPU": 6.0}, {}, [96, 32], 4, 6),
        ({"CPU": 64.0, "GPU": 6.0}, {}, [96, 48], 6, 6),
        ({"CPU": 64.0, "GPU": 64.0}, {}, [96, 32], 32, 64),
        ({"CPU": 16.0, "GPU": 8.0}, {"cpus_per_worker": 4.0}, [96, 32], 4, 8),
        ({"CPU": 2.0, "GPU": 8.0}, {"cpus_per_worker": 4.0}, [96, 32], 1, 8),
        ({"CPU": 64.0, "GPU": 8.0}, {"device": "cpu"}, [96, 32], 1, 1),
        ({"CPU": 64.0}, {}, [96, 32], 1, 1),
    ],
)
def test_left_open_all_gpus_are_taken_that_can_share_every_batch(
    cluster: dict[str, float],
    have: dict[str, float],
    wanted: dict[str, object],
    batches: list[int],
    workers: int,
    actors: int,
) -> None:
    cluster.update(have)
    resources = ResourcesConfig(workers="auto", **wanted)  # type: ignore[arg-type]
    assert workers_of(resources, batches) == workers
    assert actors_of("auto", resources) == actors
    assert workers_of(ResourcesConfig(workers=3), batches) == 3, "what is typed stands"


def test_the_cpus_of_a_worker_are_those_of_its_own_node(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 10.0, "GPU": 3.0}}] * 2 + [{"Alive": True, "Resources": {"CPU": 8.0}}]
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 28.0, "GPU": 6.0}, nodes=lambda: nodes)
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert workers_of(ResourcesConfig(workers="auto", cpus_per_worker=4.0), [60]) == 4


@given(st.integers(-1, 40), st.lists(st.integers(1, 200), min_size=1, max_size=4))
def test_no_larger_number_divides_every_batch(most: int, batches: list[int]) -> None:
    found = most_that_divide(most, batches)
    assert found == max(n for n in range(1, 201) if (n <= most or n == 1) and not any(size % n for size in batches))
