"""Recipes: YAML files, and what is laid over them, to the configuration of a run and back.

`base:` names the recipe a file differs from; `a.b=c` on the command line lays one value over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finepseudo.methods.own import KEY, sections, take
from finepseudo.run_folder.yaml_text import NoYaml, parse_yaml, read_yaml, yaml_text
from jobs.config.build import Value, build, merge, one_of, plain, refusal, set_dotted
from jobs.config.expected_input import fill_inputs
from jobs.config.old_words import refuse_old_words
from jobs.config.presets import fill_presets
from jobs.config.run import RunConfig
from shards.errors import UserError
from shards.settings import BadSetting

RECIPES = Path(__file__).parents[2] / "finepseudo" / "recipes"


def read_recipe(name: str, *, chain: tuple[Path, ...] = (), beside: Path | None = None) -> dict[str, Any]:
    """Read a recipe by name or path and lay it over its `base:`; a chain of bases may not come back to itself."""
    path = _find_recipe(name, beside)
    if path in chain:
        raise UserError(
            f"recipe {path}: its `base:` comes back to itself: {' -> '.join(p.stem for p in (*chain, path))}"
        )
    try:
        values = read_yaml(path) or {}
    except NoYaml as error:
        raise UserError(f"recipe {path}: cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"recipe {path}: a mapping of keys is needed, got {type(values).__name__}")
    base = values.pop("base", None)
    if base is None:
        return values
    return merge(read_recipe(str(base), chain=(*chain, path), beside=path.parent), values)


def _find_recipe(name: str, beside: Path | None) -> Path:
    known = {path.stem: path for path in RECIPES.glob("*.yaml")}
    if name in known:
        return known[name].resolve()
    for path in (Path(name), *([beside / name] if beside else [])):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path.resolve()
    mine = sorted(path.name for path in Path().glob("*.y*ml"))
    raise UserError(f"recipe {name!r}: neither a recipe nor a YAML file; {one_of(name, [*mine, *sorted(known)])}")


def parse_override(text: str) -> tuple[str, Any]:
    """Split `a.b=c`; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"override {text!r}: write it as section.key=value")
    try:
        return key, parse_yaml(value) if value else None
    except NoYaml as error:
        raise UserError(f"override {text!r}: the value is no YAML: {error}") from error


def load(recipe: str, overrides: Sequence[str] = (), extra: Mapping[str, Any] | None = None) -> RunConfig:
    """Make the configuration of a recipe with `extra` values and then the command line's overrides laid over it."""
    values = {"name": Path(recipe).stem, **read_recipe(recipe)}
    for key, value in (extra or {}).items():
        set_dotted(values, key, value)
    for text in overrides:
        set_dotted(values, *parse_override(text))
    refuse_old_words(values)
    take_own_methods(values)
    fill_presets(values)
    fill_inputs(values)
    return build_run(values)


def build_run(values: Value) -> RunConfig:
    """Make the configuration of its values; methods of the user's own join the table first."""
    values = dict(values) if isinstance(values, Mapping) else values
    if isinstance(values, dict) and (own := take_own_methods(values)):
        values["method"] = build(sections(own), values.get("method") or {}, "method")
    return build(RunConfig, values)


def take_own_methods(values: dict[str, Any]) -> list[str]:
    """Move `module:NAME` among the methods to `own_methods`, in place, and import them; names stay."""
    listed, named = values.get(KEY) or [], values.get("methods") or []
    if not isinstance(listed, (list, tuple)) or not isinstance(named, (list, tuple)):
        return []  # refused with the other types
    asked = [name for name in named if isinstance(name, str) and ":" in name]
    if not (paths := list(dict.fromkeys([*map(str, listed), *asked]))):
        return []
    try:
        names = dict(zip(paths, (method.name for method in take(paths)), strict=True))
    except BadSetting as error:
        key = "methods" if error.value in asked else KEY
        raise refusal(key, error.value, error.rule) from error
    values[KEY] = paths
    if named:
        values["methods"] = [names.get(name, name) if isinstance(name, str) else name for name in named]
    return paths


def to_yaml(cfg: RunConfig) -> str:
    """Write the resolved configuration: every key with its value."""
    return yaml_text(plain(cfg))


def from_yaml(path: Path) -> RunConfig:
    """Read back the configuration of a run folder; the caller says which file it was in its error.

    Raises NoYaml or UserError.
    """
    values = read_yaml(path)
    refuse_old_words(values)
    return build_run(values)
