"""One Ray for the life of a command: attach to the cluster that is there, or start a local one and end it.

A local Ray gets its own short temporary folder and its own token, so that runs of several users or of one user on one
machine neither see nor stop each other.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any

from jobs.cluster.last_word import last_word
from jobs.cluster.ports import reserve
from jobs.cluster.preempt import Lost, Preempted
from jobs.cluster.ray_node import answers
from jobs.cluster.temp_folder import private_folder, ray_folder
from shards.errors import UserError

LOCAL_CPUS = 4
"""Logical CPUs of a local Ray at least: with 2, actors and read tasks of Ray Data can wait for each other forever."""

OBJECT_STORE_BYTES = 400_000_000
"""Object store of a local Ray; Ray's own default is 30 % of the memory."""

_QUIET = {
    # a thread of Ray Data that is still at work after the end of a session would start a Ray of its own
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # what its C++ writes past Python into the terminal; where it matters an exception says the same
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "PYTHON worker processes have been started",  # two encoders start at the same time
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}

STORE_SETTINGS = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "FSSPEC_S3_ENDPOINT_URL",
)
"""Where a remote store is, for workers of a cluster that was started without it. Secrets are not among them: Ray shows
these values to everybody who may look at the cluster, and the nodes have their own (role, profile, job environment)."""


def in_session() -> bool:
    """Tell whether this process has a Ray already."""
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


@contextmanager
def ray_session(*, dashboard: bool = False, cpus: int | None = None) -> Iterator[None]:
    """Give the block a running Ray; `RAY_ADDRESS` decides whether it is a cluster's or our own.

    Inside another such block it is that block's Ray.
    """
    if in_session():
        with _plain_refusals():
            yield
        return
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    paths = [str(Path(__file__).parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    with nullcontext() if os.environ.get("RAY_ADDRESS") else private_folder() as folder:
        try:
            _attach(dashboard) if folder is None else _start(folder, dashboard, cpus)
            _quiet_data()
            with nullcontext() if folder is None else last_word(folder), _plain_refusals():
                yield
        finally:
            if "ray" in sys.modules:
                sys.modules["ray"].shutdown()


@contextmanager
def _plain_refusals() -> Iterator[None]:
    """Raise what a task, actor or worker has refused as it was raised there, not as the trace that Ray makes of it.

    What dies of the cluster itself (an actor, a node, the controller of a training) is `Lost`.
    """
    try:
        yield
    except Exception as error:
        chain = list(_causes(error))
        refused = next((e for e in chain if isinstance(e, UserError) and not hasattr(e, "cause")), None)
        if refused is not None and refused is not error:
            raise refused from None
        lost = next((e for e in chain if _is_loss(e)), None)
        if refused is None and lost is not None:
            lines = [line.strip() for line in str(lost).splitlines() if line.strip()]
            raise Lost(f"a part of the cluster was lost ({type(lost).__name__}: {lines[0][:200]})") from error
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error to what caused it, as Ray wraps and as Python chains."""
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        inner = getattr(inner, "cause", None) or inner.__cause__


def _is_loss(error: BaseException) -> bool:
    """Tell whether Ray says that a process or a machine of the cluster has died."""
    from ray import exceptions

    kinds = (exceptions.RayActorError, exceptions.NodeDiedError, exceptions.WorkerCrashedError)
    return isinstance(error, (*kinds, exceptions.ObjectLostError, exceptions.LocalRayletDiedError))


def _runtime(address: str | None) -> dict[str, Any] | None:
    """Tell every process where remote stores are, for those of a cluster do not have our environment; and its address.

    Ray Train's cleaner looks the cluster up again when Ray Tune has stopped a trial. Where several Rays run on a
    machine it would give up, and the trial's CPUs would never be free again.
    """
    told = {name: os.environ[name] for name in STORE_SETTINGS if name in os.environ}
    told |= {"RAY_ADDRESS": address} if address else {}
    return {"env_vars": told} if told else None


@contextmanager
def _unheard() -> Iterator[None]:
    """Let nothing reach the terminal: Ray's C++ says there how much it will say."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _attach(dashboard: bool) -> None:
    address = os.environ["RAY_ADDRESS"]
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host and not answers(host, int(port)):
        raise UserError(  # Ray itself would try for minutes
            f"RAY_ADDRESS={address}: nobody answers there; start Ray, or unset RAY_ADDRESS for a local one"
        )
    import ray  # only now: Ray reads the mode of authentication when it is imported

    try:
        with _unheard():
            ray.init(runtime_env=_runtime(address if dashboard else None), logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"RAY_ADDRESS={address}: no Ray answers there ({str(error).splitlines()[0]}); "
            "start it, or unset RAY_ADDRESS for a local one"
        ) from error


@cache
def _secret() -> str:
    """Make the token of this process's local Rays: Ray keeps the first one that it reads as long as a process lives."""
    return secrets.token_urlsafe(24)


def local_cpus() -> int:
    """Count the CPUs that a local Ray may use: what Slurm or the scheduler gave this process, not what the host has."""
    granted = os.environ.get("SLURM_CPUS_ON_NODE")
    return max(LOCAL_CPUS, int(granted) if granted else len(os.sched_getaffinity(0)))


def _start(folder: Path, dashboard: bool, cpus: int | None) -> None:
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(_secret(), encoding="ascii")
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token))
    import ray  # only now, as above

    address, block = None, reserve(os.getpid()) if dashboard else None
    if block:
        os.environ["RAY_GCS_SERVER_PORT"] = str(block.head)
        address = f"{ray.util.get_node_ip_address()}:{block.head}"
    start = partial(
        ray.init,
        address="local",
        num_cpus=cpus or local_cpus(),
        include_dashboard=dashboard,
        object_store_memory=OBJECT_STORE_BYTES,
        runtime_env=_runtime(address),
        _temp_dir=str(ray_folder(folder)),
        logging_level="ERROR",
        log_to_driver=False,
    )
    try:
        with _unheard():
            try:
                start()
            except RuntimeError:  # one of its processes did not come up in time, as on a busy machine
                ray.shutdown()
                start()
    except SystemExit as stopped:  # Ray's own answer to SIGTERM
        raise Preempted from stopped
    except Exception as error:  # of many kinds; all of them mean that no Ray has come up
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"Ray does not start on this machine ({reason}); run the same command again") from error
    finally:
        os.environ.pop("RAY_GCS_SERVER_PORT", None)


def _quiet_data() -> None:
    import logging

    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
