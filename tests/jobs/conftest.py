"""One local Ray for every test that needs one."""

import signal
from collections.abc import Iterator

import pytest

from jobs.cluster import preempt


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    from jobs.cluster.session import ray_session

    before = {number: signal.getsignal(number) for number in preempt.SIGNALS}
    with ray_session():
        yield
    for number, handler in before.items():
        signal.signal(number, handler)
