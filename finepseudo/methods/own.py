"""Methods of a user's own: `module:NAME` of a `Method` on PYTHONPATH joins the table under its own name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, make_dataclass
from functools import cache
from typing import Any, get_args

from finepseudo.encoders.contract import imported
from finepseudo.methods.base import AnyMethod, Hue, Method, MethodConfig, Request, Stream, TrainAction, flat
from finepseudo.methods.table import METHODS, MethodsConfig
from shards.errors import UserError
from shards.read.config import ViewConfig
from shards.settings import BadSetting, section

KEY = "own_methods"
_PROJECT = frozenset(METHODS)
"""Names that are taken for good."""


def take(paths: Sequence[str]) -> list[AnyMethod]:
    """Import methods and lay them into the table of this process. Raises BadSetting of `own_methods`."""
    found = [_checked(path) for path in paths]
    names = [method.name for method in found]
    for path, name in zip(paths, names, strict=True):
        if names.count(name) > 1:
            raise BadSetting(KEY, path, f"is the second one with the name {name}; give each a `name` of its own")
    METHODS.update(zip(names, found, strict=True))
    return found


def take_those_there(paths: object) -> str:
    """Lay the own methods of a finished run into the table, for their titles; say which is missing."""
    missing = ""
    for path in paths if isinstance(paths, list) else []:
        try:
            take([str(path)])
        except BadSetting as error:
            missing = str(error)
    return missing


def sections(paths: Sequence[str]) -> type[MethodsConfig]:
    """Make the class of the section `method` that has those of own methods too; alike for alike methods."""
    found = take(paths)
    return _sections(tuple(paths), tuple((m.name, m.config, f"{m.title}: {m.paper}") for m in found))


@cache
def _sections(paths: tuple[str, ...], own: tuple[tuple[str, type[MethodConfig], str], ...]) -> type[MethodsConfig]:
    def reduce(self: MethodsConfig) -> tuple[object, ...]:
        return _again, (paths, {key.name: getattr(self, key.name) for key in fields(self)})

    made: type[MethodsConfig] = make_dataclass(
        "MethodsConfig",
        [(name, config, section(config, text)) for name, config, text in own],
        bases=(MethodsConfig,),
        frozen=True,
        kw_only=True,
        slots=True,
        namespace={"__reduce__": reduce, "__module__": __name__, "__doc__": MethodsConfig.__doc__},
    )
    return made


def _again(paths: Sequence[str], values: Mapping[str, Any]) -> MethodsConfig:
    """Unpickle the section in another process, which imports the methods first."""
    return sections(paths)(**values)


def _checked(path: str) -> AnyMethod:
    """Import one method and refuse what recipes, folders and tables could not use."""
    try:
        found = imported(path)
    except UserError as error:
        raise BadSetting(KEY, path, str(error).removeprefix(f"{path}: ")) from error
    if not isinstance(found, Method):
        raise BadSetting(KEY, path, f"is no Method but {_kind(found)}; name the Method that puts its parts together")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", found.name):
        rule = f"its name is {found.name!r}; take small letters, digits and _, a folder and a section are called so"
        raise BadSetting(KEY, path, rule)
    if found.name in _PROJECT:
        raise BadSetting(KEY, path, f"its name, {found.name}, is that of a method of this project; take another")
    if METHODS.get(found.name) is found:  # looked at already: a configuration is made in several steps
        return found
    if found.hue not in get_args(Hue):
        raise BadSetting(KEY, path, f"its hue is {found.hue}; one of {', '.join(get_args(Hue))}")
    _check_config(path, found.config)
    _check_plan(path, found)
    return found


def _kind(found: object) -> str:
    return "a class" if isinstance(found, type) else type(found).__name__


def _check_config(path: str, config: object) -> None:
    """Refuse a class of keys that no recipe could leave out or nobody could be told of."""
    what = getattr(config, "__name__", str(config))
    if not (isinstance(config, type) and issubclass(config, MethodConfig) and is_dataclass(config)):
        raise BadSetting(KEY, path, f"config {what} must be a subclass of MethodConfig, a frozen dataclass")
    for key in fields(config):
        if "setting" not in key.metadata:
            rule = f"{what}.{key.name} is not declared; write {key.name}: <type> = setting(<default>, '<help>')"
            raise BadSetting(KEY, path, rule)
        if key.default is MISSING and key.default_factory is MISSING:
            raise BadSetting(KEY, path, f"{what}.{key.name} has no default; every key of a method needs one")
    try:
        config()
    except Exception as error:  # the class is the user's: making it may raise anything
        raise BadSetting(KEY, path, f"the defaults of {what} are refused: {error}") from error


def _check_plan(path: str, method: AnyMethod) -> None:
    """Ask for the plan of two rounds and the streams of its trainings: the run itself asks for them late."""
    try:
        requests = flat(method.plan(method.config(), 2, True))
        if odd := [request for request in requests if not isinstance(request, get_args(Request))]:
            raise ValueError(f"{odd[0]!r} is no request such as TrainAction")
        for request in requests:
            if isinstance(request, TrainAction):
                _check_streams(method.trained_streams(method.config(), request, ViewConfig()))
    except Exception as error:  # the functions are the user's: calling them may raise anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise BadSetting(KEY, path, f"its plan, or the streams of a training in it, cannot be used: {said}") from error


def _check_streams(streams: object) -> None:
    if not (isinstance(streams, tuple) and streams and all(isinstance(stream, Stream) for stream in streams)):
        raise ValueError("streams have to be a tuple of Stream")
