"""Plain mappings to typed dataclasses and back: no key is ignored, every refusal names key, value, rule, way out."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from shards.errors import UserError
from shards.settings import BadSetting, hints_of, shown

T = TypeVar("T")
Value = Any
"""What YAML can hold, or a type hint: not known before it is read."""

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path"}


def words(hint: Value) -> str:
    """Say a type in the words of a recipe: `a number or null`, `one of rgb, bgr`, `a list of a whole number each`."""
    origin: object = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if option is type(None) else words(option) for option in get_args(hint))
    if origin is Literal:
        options = [shown(option) for option in get_args(hint)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if origin in (dict, Mapping):
        return "a mapping {a: b}"
    if origin in (tuple, list, Sequence):
        inner = [arg for arg in get_args(hint) if arg is not Ellipsis]
        length = f"of {len(inner)}" if len(inner) > 1 else "[a, b]"
        return f"a list {length}, each {words(inner[0])}"
    return _WORDS.get(hint, "a section")


def nearest(name: str, known: Sequence[str], where: str = "") -> str:
    """Say which known name was probably meant, in full where it lies in a section, or list them all."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {_join(where, close[0])}?" if close else f"known: {', '.join(sorted(known))}"


def one_of(name: str, known: Sequence[str]) -> str:
    """Answer a name that is not there with those that are, the one that was probably meant first."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f"did you mean {close[0]}? " if close else "") + f"there are {', '.join(known)}"


def build(cls: type[T], values: Value, where: str = "") -> T:
    """Make a dataclass of a mapping; unknown keys, wrong types and broken rules raise `UserError`."""
    if not isinstance(values, Mapping):
        raise refusal(where or "recipe", values, "must be a section, a mapping of keys to values")
    types_of = hints_of(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for name in values:
        if old := getattr(cls, "OLD_KEYS", {}).get(name):
            raise UserError(f"{_join(where, str(name))} {old}")
        if name not in fields:
            meant = " or ".join(_join(where, path) for path in paths_to(str(name), cls))
            hint = f"did you mean {meant}?" if meant else nearest(str(name), list(fields), where)
            raise UserError(f"{_join(where, str(name))}: unknown key; {hint}")
    made = {name: convert(types_of[name], value, _join(where, name)) for name, value in values.items()}
    for name, field in fields.items():
        if name not in made and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{_join(where, name)}: a value is needed; set {_join(where, name)}=...")
    try:
        return cls(**made)
    except BadSetting as error:
        raise refusal(_join(where, error.key), error.value, error.rule) from error


def paths_to(name: str, cls: Value) -> list[str]:
    """List the keys of that name in the sections below a dataclass."""
    found = []
    for field, hint in hints_of(cls).items():
        if dataclasses.is_dataclass(hint):
            found += [f"{field}.{path}" for path in paths_to(name, hint)]
        elif field == name:
            found.append(field)
    return found


def refusal(key: str, value: Value, rule: str) -> UserError:
    """Refuse a value in the one way all are: `key = value: rule; what to do`."""
    return UserError(f"{key} = {shown(value)}: {rule}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def convert(hint: Value, value: Value, where: str) -> Value:
    """Turn a YAML value into what the field's type says."""
    origin: object = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(hint, value, where)
    if origin is Literal:
        if not any(value == option and type(value) is type(option) for option in get_args(hint)):  # True == 1 == 1.0
            raise refusal(where, value, f"must be {words(hint)}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else build(hint, value, where)
    if origin in (tuple, list, Sequence) or hint in (tuple, list):
        return _convert_sequence(hint, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise refusal(where, value, f"must be {words(hint)}")
        return {str(k): convert(get_args(hint)[1], v, _join(where, str(k))) for k, v in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_union(hint: Value, value: Value, where: str) -> Value:
    options = get_args(hint)
    if value is None and type(None) in options:
        return None
    refusals = []
    for option in options:
        if option is type(None):
            continue
        try:
            return convert(option, value, where)
        except UserError as error:
            refusals.append(error)
    if len(refusals) == 1:
        raise refusals[0]
    raise refusal(where, value, f"must be {words(hint)}")


def _convert_sequence(hint: Value, value: Value, where: str) -> Value:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise refusal(where, value, f"must be {words(hint)}")
    args = get_args(hint)
    make = tuple if tuple in (get_origin(hint), hint) else list
    if make is tuple and args and args[-1] is not Ellipsis:
        if len(args) != len(value):
            raise refusal(where, value, f"must be {words(hint)}")
        return tuple(convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    inner = args[0] if args else Any
    return make(convert(inner, v, f"{where}[{i}]") for i, v in enumerate(value))


def _convert_scalar(hint: Value, value: Value, where: str) -> Value:
    if hint is Any:
        return value
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-4 as a string
        except ValueError:
            pass
    elif hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    elif hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    elif hint is str and isinstance(value, (str, int, float, Path)) and not isinstance(value, bool):
        return str(value)
    elif isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    raise refusal(where, value, f"must be {words(hint)}")


def plain(value: Value) -> Value:
    """Turn dataclasses, tuples and paths into what YAML and JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, section by section; lists and scalars are replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def set_dotted(values: dict[str, Any], key: str, value: Value) -> None:
    """Set `a.b.c` in nested mappings, making the sections on the way."""
    *sections, last = key.split(".")
    for section in sections:
        inner = values.get(section)
        values[section] = dict(inner) if isinstance(inner, Mapping) else {}
        values = values[section]
    values[last] = value
