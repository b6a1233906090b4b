"""One Ray for the life of a command: attach to the cluster that is there, or start a local one and end it.

A local Ray gets its own short temporary folder and its own token, so that runs of several users or of one user on one
machine neither see nor stop each other.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shards.types import UserError

LOCAL_CPUS = 4
"""Logical CPUs of a local Ray at least: with 2, actors and read tasks of Ray Data can wait for each other for ever."""

OBJECT_STORE_BYTES = 400_000_000
"""Object store of a local Ray; Ray's own default is 30 % of the memory."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_maximum_startup_concurrency": "16",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}


@contextmanager
def ray_session(*, dashboard: bool = False, cpus: int | None = None) -> Iterator[None]:
    """Give the block a running Ray; `RAY_ADDRESS` decides whether it is a cluster's or our own.

    Inside another such block it is that block's Ray.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield
        return
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    paths = [str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    folder = None if os.environ.get("RAY_ADDRESS") else _make_folder()
    import ray  # only now: Ray reads the mode of authentication when it is imported

    try:
        _attach() if folder is None else _start(folder, dashboard, cpus)
        _quiet_data()
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> Path:
    """Make a short folder for Ray's sockets (paths end at 107 bytes) with this cluster's token in it."""
    folder = Path(tempfile.mkdtemp(prefix="fp-", dir="/tmp"))
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_urlsafe(24))
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    return folder


def _attach() -> None:
    import ray

    try:
        ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: no Ray answers there ({str(error).splitlines()[0]}); "
            "start it, or unset RAY_ADDRESS for a local one"
        ) from error


def _start(folder: Path, dashboard: bool, cpus: int | None) -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=cpus or max(LOCAL_CPUS, os.cpu_count() or 1),
        include_dashboard=dashboard,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(folder),
        _node_ip_address="127.0.0.1",
        logging_level="ERROR",
        log_to_driver=False,
    )


def _quiet_data() -> None:
    import logging

    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
