"""Shards of numbered clips: those of `read_clips`, or of the LENGTHS that a file has of its own."""

from __future__ import annotations

import pytest

from shards.storage.manifest import Manifest
from tests.shards.numbered import write
from tests.shards.read import read_clips


def _written(request: pytest.FixtureRequest, folders: pytest.TempPathFactory, profile: str) -> Manifest:
    return write(folders.mktemp(profile), getattr(request.module, "LENGTHS", read_clips.LENGTHS), profile)


@pytest.fixture(scope="module")
def h264(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return _written(request, tmp_path_factory, "h264")


@pytest.fixture(scope="module")
def vp9(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return _written(request, tmp_path_factory, "vp9")


@pytest.fixture(params=["h264", "vp9"])
def manifest(request: pytest.FixtureRequest) -> Manifest:
    """Read once through PyAV, once through DALI's own decoder."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]
