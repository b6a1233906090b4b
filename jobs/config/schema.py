"""The JSON schema of recipes (draft 2020-12), so that an editor completes keys, shows their help and checks them."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, Literal, Union, get_args, get_origin

from finepseudo.methods.table import METHODS
from jobs.config.build import plain
from jobs.config.keys import default_of
from jobs.config.presets import PRESET
from jobs.config.run import RunConfig
from shards.settings import Range, Settings, declared, hints_of

_SIMPLE: dict[object, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": ["string", "number"]},  # `subset: 307` is read as a text
    type(None): {"type": "null"},
    Any: {},
}
_BOUNDS = {"at_least": "minimum", "above": "exclusiveMinimum", "at_most": "maximum", "below": "exclusiveMaximum"}


def recipe_schema() -> dict[str, Any]:
    """Make the schema. No key is required: a recipe may leave any to its base or to the defaults."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "FinePseudo recipe"}
    made = schema | _section(RunConfig, None)
    base = {"type": "string", "description": "recipe that this one differs from: a name, or a path beside this file"}
    made["properties"] = {"base": base, **made["properties"]}
    for name, method in METHODS.items():
        if method.presets:
            said = {"enum": [*method.presets, None], "description": "lays a setting of the paper under these keys"}
            made["properties"]["method"]["properties"][name]["properties"][PRESET] = said
    return made


def _section(cls: type[Settings], default: object) -> dict[str, Any]:
    """Describe a section; `default` is what the recipe's defaults hold in its place."""
    hints, properties = hints_of(cls), {}
    for field in fields(cls):
        said, usual = declared(field), default_of(field, default)
        made = _named(said.known) or _value(hints[field.name], said.range, None if usual is MISSING else usual)
        made["description"] = said.text + (f" (source: {said.source})" if said.source else "")
        if usual is not MISSING and not isinstance(usual, Settings):
            made["default"] = plain(usual)
        properties[field.name] = made
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _named(known: Sequence[str]) -> dict[str, Any]:
    """Describe a name that is known, or `module:Class`; {} where no names are."""
    return {"anyOf": [{"enum": list(known)}, {"type": "string", "pattern": ":"}]} if known else {}


def _value(hint: Any, bounds: Range, default: object) -> dict[str, Any]:  # noqa: ANN401 -- a type of any kind
    """Describe what a type allows, its numbers within `bounds`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_value(option, bounds, default) for option in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (tuple, list, Sequence):
        items = {"type": "array", "items": _value(args[0], bounds, None)}
        fixed = origin is tuple and args[-1] is not Ellipsis
        return items | ({"minItems": len(args), "maxItems": len(args)} if fixed else {})
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _value(args[1], bounds, None)}
    if isinstance(hint, type) and issubclass(hint, Settings):
        return _section(hint, default)
    limits = {word: getattr(bounds, name) for name, word in _BOUNDS.items()} if hint in (int, float) else {}
    return _SIMPLE[hint] | {word: limit for word, limit in limits.items() if limit is not None}
