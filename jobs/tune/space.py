"""What a space file may say: keys of metric learning with the values that are searched."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finepseudo.methods.table import METHODS
from finepseudo.run_folder.files import sha256_json
from finepseudo.run_folder.yaml_text import NoYaml, read_yaml
from jobs.config.build import build, merge, plain, set_dotted
from jobs.config.recipes import build_run
from jobs.config.run import RunConfig, flat_part
from shards.errors import UserError
from shards.settings import BadSetting, Settings, needed, setting

PRETRAIN = "pretrain."
RANGES = {"uniform": 2, "loguniform": 2, "quniform": 3, "randint": 2}
"""Search of a range -> the numbers that it takes: its ends and, of quniform, the step."""
SEARCHES = (*RANGES, "choice", "grid_search")
Trains = Literal["frame_encoder", "action_encoder", "votes"]
KEYS: Mapping[Trains, tuple[str, ...]] = {
    "frame_encoder": ("frame_stage.", "frame_encoder.dropout", "frame_input.", PRETRAIN),
    "action_encoder": ("action_stage.", "action_encoder.dropout", "action_input."),
    "votes": ("embed.gallery_per_class",),
}
"""What a trial trains -> beginnings of keys that may be searched; where a space names a method, its keys are added."""
JUDGED: Mapping[Trains, str] = {"frame_encoder": "pair AP", "action_encoder": "top-1", "votes": "net right"}
"""What a trial trains -> what it is judged by, on held-out labelled clips. net right: clips accepted with the right
label less those with a wrong one, of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceConfig(Settings):
    """One space file."""

    trains: Trains = setting(
        "frame_encoder",
        "what a trial trains: f_A, f_E, or nothing but the votes of a method on f_A and f_E that are trained once",
    )
    method: str = setting("", "whose keys are searched, where f_E is trained or votes are cast; empty = plain f_E")
    draws: int = setting(1, "label draws of a trial, the first of `seeds`; their mean is its objective", at_least=1)
    scheduler: Literal["asha", "none"] = setting(
        "asha",
        "asha: stop the weak trials early | none: let all end; no population based training: a trial would go on from "
        "another one's checkpoint, and of a Ray Train run Ray Tune has none to copy",
    )
    search: Literal["random", "optuna"] = setting(
        "random", "random: draws and grids | optuna: TPE, needs finepseudo[search]"
    )
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
        self._check_method()
        for key, value in self.space.items():
            if not key.startswith(self.keys):
                rule = f"is not searched here; keys begin with {' or '.join(self.keys)}"
                raise BadSetting(f"space.{key}", value, rule)
            if self.search == "optuna" and _is_grid(value):
                raise BadSetting(f"space.{key}", value, "is a grid, which optuna does not walk through; use choice")
            if isinstance(value, Mapping) and (len(value) != 1 or next(iter(value)) not in SEARCHES):
                raise BadSetting(f"space.{key}", value, f"must be {{search: [..]}}, one of {', '.join(SEARCHES)}")
            if isinstance(value, Mapping) and (rule := _problem(*next(iter(value.items())))):
                raise BadSetting(f"space.{key}", value, rule)

    def _check_method(self) -> None:
        known = {
            "frame_encoder": [""],
            "action_encoder": ["", *(name for name, method in METHODS.items() if method.vote is None)],
            "votes": [name for name, method in METHODS.items() if method.vote is not None],
        }[self.trains]
        if self.method not in known:
            names = ", ".join(name or "empty" for name in known)
            raise BadSetting("method", self.method, f"goes not with trains: {self.trains}; one of {names}")

    @property
    def keys(self) -> tuple[str, ...]:
        """Beginnings of the keys that may be searched."""
        return (*KEYS[self.trains], *((f"method.{self.method}.",) if self.method else ()))

    @property
    def pretrains(self) -> bool:
        """Tell whether every trial pre-trains f_A itself."""
        return any(key.startswith(PRETRAIN) for key in self.space)

    @property
    def length(self) -> int:
        """Reports of a trial that ends: while its one draw trains, or one for each draw."""
        return self.reports if self.draws == 1 and self.trains != "votes" else self.draws

    def trials(self) -> int:
        """Count the trials: `samples` draws, each of every value of a grid."""
        grids = [value["grid_search"] for value in self.space.values() if _is_grid(value)]
        return self.samples * math.prod(len(grid) for grid in grids)


def _problem(search: str, arguments: Any) -> str:  # noqa: ANN401 - whatever YAML holds
    """Say what is wrong with what a search is given; empty where nothing is."""
    count = RANGES.get(search, 0)
    if not isinstance(arguments, list) or not arguments or (count and len(arguments) != count):
        return f"must be a list of {count or 'one or more'} {'numbers' if count else 'values'}"
    if not count:
        return ""
    kind = int if search == "randint" else (int, float)
    if not all(isinstance(number, kind) and math.isfinite(number) for number in arguments):
        return f"must be {'whole ' if search == 'randint' else ''}numbers"
    low, high, *step = arguments
    if not low < high or (search == "loguniform" and low <= 0):
        return f"must be two numbers{' above 0' if search == 'loguniform' else ''}, the smaller one first"
    if step and not (step[0] > 0 and all(math.isclose(end / step[0], round(end / step[0])) for end in (low, high))):
        return "must have a step above 0 of which both ends are multiples"
    return ""


def _is_grid(value: object) -> bool:
    return isinstance(value, Mapping) and "grid_search" in value


def read_space(path: Path) -> SpaceConfig:
    """Read a space file."""
    if not path.is_file():
        raise UserError(f"space {path}: no such file; {_others(path)}")
    try:
        values = read_yaml(path)
    except NoYaml as error:
        raise UserError(f"space {path}: cannot be read ({error})") from error
    try:
        return build(SpaceConfig, values)
    except UserError as error:
        raise UserError(f"space {path}: {error}") from error


def _others(path: Path) -> str:
    """Say which space files lie where one was looked for."""
    there = sorted(one.name for one in path.parent.glob("*.yaml"))
    held = f"{path.parent} holds {', '.join(there)}"
    return held if there else "give a YAML file such as tune_spaces/alignability.yaml"


def sweep_folder(cfg: RunConfig, path: Path, space: SpaceConfig) -> Path:
    """Name the folder of a sweep by what it searches and from where: another space is another sweep."""
    sections = ["data", "split", "frame_encoder", "frame_input", "pretrain", "frame_stage", "seeds"]
    if space.trains != "frame_encoder":
        sections += ["action_encoder", "action_input", "action_stage", "embed.gallery_per_class", "rounds"]
        sections += ["action_pretrain"] if cfg.action_encoder.pretrains else []
        sections += [f"method.{space.method}"] if space.method else []
    parts = flat_part(cfg, sections)
    searched = {name: value for name, value in plain(space).items() if name != "concurrent"}  # it changes speed alone
    return cfg.folder / "tune" / f"{path.stem}-{sha256_json([searched, parts])[:8]}"


def first_value(value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Take one value of a search."""
    return values_to_try(value)[0]


def values_to_try(value: Any) -> list[Any]:  # noqa: ANN401
    """List values of a search that a key has to take: all that it chooses from, both ends of a range."""
    if not isinstance(value, Mapping):
        return [value]
    search, arguments = next(iter(value.items()))
    if search not in RANGES:
        return list(arguments)
    low, high = arguments[:2]
    last = {"randint": high - 1, "quniform": high}.get(search, math.nextafter(high, low))  # the end itself is not drawn
    return [low, last]


def check_values(cfg: RunConfig, space: SpaceConfig, path: Path) -> None:
    """Refuse keys and values that a run does not take, before anything is made for them."""
    first = {key: first_value(value) for key, value in space.space.items()}
    try:
        with_values(cfg, first)
        for key, value in space.space.items():
            for one in values_to_try(value)[1:]:
                with_values(cfg, first | {key: one})
    except UserError as error:
        raise UserError(f"space {path}: {error}") from error


def with_values(cfg: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Lay dotted values over a configuration; a value may be a mapping of keys that are searched together."""
    over: dict[str, Any] = {}
    for key, value in sorted(values.items()):  # a section before its keys
        set_dotted(over, key, value)
    return build_run(merge(plain(cfg), over))


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
