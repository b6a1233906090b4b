"""Run folders of drawn numbers for the tests of the report."""

from __future__ import annotations

import pytest

from tests.finepseudo.report.pages import SMALL
from tests.finepseudo.report.run_folder_fixture import write_run_folder


@pytest.fixture(scope="module", params=[0, 1])
def folder(request, tmp_path_factory):
    return write_run_folder(tmp_path_factory.mktemp("run") / "demo", rng_seed=request.param)


@pytest.fixture
def small(tmp_path):
    return write_run_folder(tmp_path / "small", **SMALL)
