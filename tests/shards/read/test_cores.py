"""Reading threads follow the cores that the process may use, and who else uses them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shards.read import cores
from shards.read.cores import available_cores, reading_threads


@pytest.mark.parametrize(
    ("affinity", "quota", "found"),
    [(16, "max 100000", 16), (16, "400000 100000", 4), (2, "400000 100000", 2), (8, "50000 100000", 1), (8, None, 8)],
)
def test_affinity_and_quota_both_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, affinity: int, quota: str | None, found: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(affinity), raising=False)
    monkeypatch.setattr(cores, "_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(cores, "_V1", (tmp_path / "none", tmp_path / "none"))
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    assert available_cores() == found


def test_the_older_control_group_is_read_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(cores, "_V2", tmp_path / "none")
    monkeypatch.setattr(cores, "_V1", (tmp_path / "quota", tmp_path / "period"))
    (tmp_path / "period").write_text("100000\n")
    for quota, found in (("-1", 8), ("300000", 3)):
        (tmp_path / "quota").write_text(quota + "\n")
        assert available_cores() == found


def test_the_share_less_one_for_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "available_cores", lambda: 16)
    assert [reading_threads("auto", sharers) for sharers in (1, 2, 8, 16, 99)] == [15, 7, 1, 1, 1]
    assert reading_threads(4, 99) == 4
