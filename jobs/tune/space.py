"""What a space file may say: keys of metric learning with the values that are searched."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finepseudo.run_folder.files import sha256_json
from finepseudo.run_folder.yaml_text import NoYaml, read_yaml
from jobs.config.build import build, merge, plain, set_dotted
from jobs.config.run import RunConfig, flat_part
from shards.errors import UserError
from shards.settings import BadSetting, Settings, needed, setting

SEARCHES = ("uniform", "loguniform", "quniform", "randint", "choice", "grid_search")
ENCODER_KEYS = ("frame_stage.", "frame_encoder.dropout", "frame_input.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceConfig(Settings):
    """One space file."""

    space: Mapping[str, Any] = needed("dotted key of the configuration -> {search: [arguments]}, or a value")
    samples: int = setting(8, "trials drawn from the space", at_least=1)
    seed: int = setting(0, "seed of the draw", at_least=0)
    holdout: float = setting(0.34, "share of each class's labelled clips held out", above=0, below=1)
    reports: int = setting(4, "reports of a trial", at_least=1)
    grace: int = setting(1, "reports before ASHA may stop a trial", at_least=1)
    reduction: int = setting(2, "ASHA keeps one of so many", at_least=2)
    concurrent: int | None = setting(None, "trials at the same time; null = what the cluster holds", at_least=1)

    def check(self) -> None:
        """Refuse spaces that cannot be searched."""
        for key, value in self.space.items():
            if not key.startswith(ENCODER_KEYS):
                rule = f"is not searched here; keys begin with {' or '.join(ENCODER_KEYS)}"
                raise BadSetting(f"space.{key}", value, rule)
            if isinstance(value, Mapping) and (len(value) != 1 or next(iter(value)) not in SEARCHES):
                raise BadSetting(f"space.{key}", value, f"must be {{search: [..]}}, one of {', '.join(SEARCHES)}")

    def trials(self) -> int:
        """Count the trials: `samples` draws, each of every value of a grid."""
        grids = [value["grid_search"] for value in self.space.values() if _is_grid(value)]
        return self.samples * math.prod(len(grid) for grid in grids)


def _is_grid(value: object) -> bool:
    return isinstance(value, Mapping) and "grid_search" in value


def read_space(path: Path) -> SpaceConfig:
    """Read a space file."""
    try:
        values = read_yaml(path)
    except NoYaml as error:
        raise UserError(f"space {path}: cannot be read ({error})") from error
    try:
        return build(SpaceConfig, values)
    except UserError as error:
        raise UserError(f"space {path}: {error}") from error


def sweep_folder(cfg: RunConfig, path: Path, space: SpaceConfig) -> Path:
    """Name the folder of a sweep by what it searches and from where: another space is another sweep."""
    parts = flat_part(cfg, ("data", "split", "frame_encoder", "frame_input", "pretrain", "frame_stage", "seeds"))
    searched = {name: value for name, value in plain(space).items() if name != "concurrent"}  # it changes speed alone
    return cfg.folder / "tune" / f"{path.stem}-{sha256_json([searched, parts])[:8]}"


def first_value(value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Take one value of a search, to see whether the key exists and takes it."""
    if not isinstance(value, Mapping):
        return value
    arguments = next(iter(value.values()))
    return arguments[0] if arguments else None


def with_values(cfg: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Lay dotted values over a configuration; a value may be a mapping of keys that are searched together."""
    over: dict[str, Any] = {}
    for key, value in sorted(values.items()):  # a section before its keys
        set_dotted(over, key, value)
    return build(RunConfig, merge(plain(cfg), over))


def to_space(space: SpaceConfig) -> dict[str, Any]:
    """Turn the space file into Ray Tune's words."""
    from ray import tune as ray_tune

    made: dict[str, Any] = {}
    for key, value in space.space.items():
        if not isinstance(value, Mapping):
            made[key] = value
            continue
        search, arguments = next(iter(value.items()))
        call: Callable[..., Any] = getattr(ray_tune, search)
        made[key] = call(arguments) if search in ("choice", "grid_search") else call(*arguments)
    return made
