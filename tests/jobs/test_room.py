"""What a Ray cluster can hold, asked before anything waits for it."""

from __future__ import annotations

import pytest
import ray

from jobs.config import ResourcesConfig
from jobs.train import check_room, uses_gpu
from shards.types import UserError


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
    monkeypatch: pytest.MonkeyPatch, have: dict[str, float], wanted: dict[str, object], refusal: str | None
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: have)
    resources = ResourcesConfig(**wanted)  # type: ignore[arg-type]
    if refusal is None:
        check_room(resources, uses_gpu(resources))
        return
    with pytest.raises(UserError, match=refusal):
        check_room(resources, uses_gpu(resources))
