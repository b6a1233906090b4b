"""Recipes: YAML files, and what is laid over them, to the configuration of a run and back.

`base:` names the recipe a file differs from; `a.b=c` on the command line lays one value over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finepseudo.run_folder.yaml_text import NoYaml, parse_yaml, read_yaml, yaml_text
from jobs.config.build import build, merge, one_of, plain, set_dotted
from jobs.config.expected_input import fill_inputs
from jobs.config.old_words import refuse_old_words
from jobs.config.presets import fill_presets
from jobs.config.run import RunConfig
from shards.errors import UserError

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
    fill_presets(values)
    fill_inputs(values)
    return build(RunConfig, values)


def to_yaml(cfg: RunConfig) -> str:
    """Write the resolved configuration: every key with its value."""
    return yaml_text(plain(cfg))


def from_yaml(path: Path) -> RunConfig:
    """Read back the configuration of a run folder; the caller says which file it was in its error.

    Raises NoYaml or UserError.
    """
    values = read_yaml(path)
    refuse_old_words(values)
    return build(RunConfig, values)
