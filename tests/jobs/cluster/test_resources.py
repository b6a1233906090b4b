"""What a Ray cluster can hold, asked before anything waits for it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from jobs.cluster.resources import check_room, share_of_gpus, uses_gpu
from jobs.config.sections import ResourcesConfig
from shards.errors import UserError


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the cluster has. Ray itself stays out: it reads its settings when it is imported, for all tests after."""
    have: dict[str, float] = {}
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(cluster_resources=lambda: have))
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
    said = share_of_gpus(ResourcesConfig(workers=16, embed_actors=8))
    assert said.startswith("32 GPUs here")
    assert said.endswith("resources.workers=16, resources.embed_actors=8, resources.score_actors=1")
