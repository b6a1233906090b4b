import os

import pytest

from tests.slurm import lab as slurm_lab


@pytest.fixture(scope="session")
def lab():
    """The running lab. Where there can be none the test skips with the reason; the gate (CI=true) does not let it."""
    if reason := slurm_lab.unusable():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the Slurm tests must run here: {reason}")
        pytest.skip(f"no Slurm lab: {reason}")
    with slurm_lab.running() as running:
        yield running
