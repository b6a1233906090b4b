"""The numbers of a run in Weights & Biases or MLflow, beside metrics.jsonl and TensorBoard: key `tracker`.

Nothing leaves the machine unless the user's own environment says where to (WANDB_MODE, MLFLOW_TRACKING_URI): both write
into the run folder. Their packages are not needed until the key asks for one.
"""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from shards.errors import UserError


class Tracker(Protocol):
    """Takes the numbers of curves; a curve is one training, test or labelling."""

    def log(self, curve: str, values: dict[str, float], step: int) -> None:
        """Add one point to a curve."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


def make_tracker(name: str, run: Path) -> Tracker | None:
    """Make the tracker of a key, None for an empty one. UserError in one line where its package is not here."""
    if not name:
        return None
    if find_spec(name) is None:
        raise UserError(f"tracker = {name}: the package is not installed; pip install 'finepseudo[{name}]'")
    return WandbTracker(run) if name == "wandb" else MlflowTracker(run)


def curve_id(run: Path, curve: str) -> str:
    """Name a curve for good: a run that goes on adds to the same one."""
    return hashlib.sha256(f"{run.resolve()} {curve}".encode()).hexdigest()[:16]


class WandbTracker:
    """One W&B run for each curve, all of one group; offline unless WANDB_MODE says otherwise (`wandb sync` later)."""

    def __init__(self, run: Path) -> None:
        """Start nothing yet."""
        self._run, self._curves = run, dict[str, Any]()

    def log(self, curve: str, values: dict[str, float], step: int) -> None:
        """Add one point."""
        import wandb

        if curve not in self._curves:
            (self._run / "wandb").mkdir(parents=True, exist_ok=True)
            self._curves[curve] = wandb.init(
                project="finepseudo",
                group=self._run.name,
                name=curve,
                id=curve_id(self._run, curve),
                resume="allow",
                dir=str(self._run),
                mode=os.environ.get("WANDB_MODE", "offline"),
                reinit="create_new",
                settings=wandb.Settings(silent=True),
            )
        self._curves[curve].log({**values, "step": step})

    def close(self) -> None:
        """End the runs."""
        for made in self._curves.values():
            made.finish()


class MlflowTracker:
    """One MLflow run for each curve in an experiment of the run's name; a database in the run folder by default."""

    def __init__(self, run: Path) -> None:
        """Open nothing yet."""
        self._run, self._ids = run, dict[str, str]()
        self._client: Any = None

    def log(self, curve: str, values: dict[str, float], step: int) -> None:
        """Add one point."""
        if self._client is None:
            from mlflow import MlflowClient

            where = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{(self._run / 'mlflow.db').resolve()}")
            self._client = MlflowClient(tracking_uri=where)
        if curve not in self._ids:
            self._ids[curve] = self._found(curve)
        for key, value in values.items():
            self._client.log_metric(self._ids[curve], key, value, step=step)

    def _found(self, curve: str) -> str:
        """Find the MLflow run of a curve, or make it."""
        known = self._client.get_experiment_by_name(self._run.name)
        experiment = known.experiment_id if known else self._client.create_experiment(self._run.name)
        tag = curve_id(self._run, curve)
        there = self._client.search_runs([experiment], f"tags.curve = '{tag}'")
        made = there[0] if there else self._client.create_run(experiment, run_name=curve, tags={"curve": tag})
        return str(made.info.run_id)

    def close(self) -> None:
        """Mark the runs as finished."""
        for made in self._ids.values():
            self._client.set_terminated(made)
