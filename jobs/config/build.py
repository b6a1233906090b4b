"""Plain mappings to typed dataclasses and back: no key is ignored, every refusal names key, value, rule, way out."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from shards.errors import UserError

T = TypeVar("T")
Value = Any
"""What YAML can hold, or a type hint: only looked at here."""


def nearest(name: str, known: Sequence[str]) -> str:
    """Say which known name was probably meant, or list them all."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def build(cls: type[T], values: Value, where: str = "") -> T:
    """Make a dataclass of a mapping; unknown keys, wrong types and broken rules raise `UserError`."""
    if not isinstance(values, Mapping):
        raise UserError(f"{where or 'config'}: a mapping is needed, got {values!r}")
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for name in values:
        if old := getattr(cls, "OLD_KEYS", {}).get(name):
            raise UserError(f"{_join(where, str(name))} {old}")
        if name not in fields:
            raise UserError(f"unknown key {_join(where, str(name))!r}; {nearest(str(name), list(fields))}")
    made = {name: convert(hints[name], value, _join(where, name)) for name, value in values.items()}
    for name, field in fields.items():
        if name not in made and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{_join(where, name)}: a value is needed; set {_join(where, name)}=...")
    try:
        return cls(**made)
    except ValueError as error:
        raise UserError(f"{where or 'config'}: {error}") from error


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def convert(hint: Value, value: Value, where: str) -> Value:
    """Turn a YAML value into what the field's type says."""
    origin: object = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise UserError(f"{where}: {value!r} is not one of {', '.join(map(repr, get_args(hint)))}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else build(hint, value, where)
    if origin in (tuple, list, Sequence) or hint in (tuple, list):
        return _convert_sequence(hint, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: a mapping is needed, got {value!r}")
        return {str(k): convert(get_args(hint)[1], v, _join(where, str(k))) for k, v in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_union(options: tuple[Any, ...], value: Value, where: str) -> Value:
    if value is None and type(None) in options:
        return None
    refusals = []
    for option in options:
        if option is type(None):
            continue
        try:
            return convert(option, value, where)
        except UserError as error:
            refusals.append(str(error))
    raise UserError(refusals[0])


def _convert_sequence(hint: Value, value: Value, where: str) -> Value:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UserError(f"{where}: a list is needed, got {value!r}; write [a, b]")
    args = get_args(hint)
    make = tuple if tuple in (get_origin(hint), hint) else list
    if make is tuple and args and args[-1] is not Ellipsis:
        if len(args) != len(value):
            raise UserError(f"{where}: {len(args)} values are needed, got {list(value)!r}")
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
    raise UserError(f"{where}: {getattr(hint, '__name__', hint)} is needed, got {value!r}")


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
