"""A setting is declared once: type, default, help, source and the numbers it allows, all at its dataclass field.

    @dataclass(frozen=True, kw_only=True, slots=True)
    class OptimConfig(Settings):
        lr: float = setting(1e-4, "learning rate of Adam", source="open in the paper; as CARL", above=0)

`Settings` checks ranges and choices whenever an object is made. What several fields say together is refused by `check`.
Type checkers see the field's type and default; `declared` gives the rest to whoever prints keys or writes a schema.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from shards.errors import UserError, visible

T = TypeVar("T")
_METADATA = "setting"


class BadSetting(UserError, ValueError):  # noqa: N818 -- the name says what is wrong
    """A value that is refused: `key` relative to the settings object, the rule it breaks and what to do.

    One line for who types it, a ValueError for who calls from Python.
    """

    def __init__(self, key: str, value: object, rule: str) -> None:
        """Refuse `value` of `key`; `rule` is `rule; what to do`."""
        super().__init__(f"{key} = {shown(value)}: {rule}")
        self.key, self.value, self.rule = key, value, rule

    def __reduce__(self) -> tuple[type[BadSetting], tuple[str, object, str]]:
        """Survive the way from a worker to the driver."""
        return type(self), (self.key, self.value, self.rule)


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """The numbers a setting allows; None = no bound. Every number of a list has to lie in it."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def holds(self, number: float) -> bool:
        """Tell whether a number is allowed; NaN and infinity never are."""
        return (
            math.isfinite(number)
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        """Write the range as a rule's words: `at least 1`, `in (0, 1]`; empty without a bound."""
        low = self.above if self.at_least is None else self.at_least
        high = self.below if self.at_most is None else self.at_most
        if low is not None and high is not None:
            start, end = "(" if self.at_least is None else "[", ")" if self.at_most is None else "]"
            return f"in {start}{low:g}, {high:g}{end}"
        if low is not None:
            return f"{'above' if self.at_least is None else 'at least'} {low:g}"
        return "" if high is None else f"{'below' if self.at_most is None else 'at most'} {high:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """What a field says of itself: help, where its value comes from, its range and the names that it knows.

    A field that knows names takes another text as well, of the form `module:Class`.
    """

    text: str
    source: str = ""
    range: Range = Range()
    known: tuple[str, ...] = ()


def setting(
    default: T,
    text: str,
    *,
    source: str = "",
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    known: Iterable[str] = (),
) -> T:
    """Declare a setting: default, help, source in the paper (or what else it follows), range and known names."""
    bounds = Range(at_least=at_least, above=above, at_most=at_most, below=below)
    made: T = dataclasses.field(default=default, metadata=_declare(text, source, bounds, known))
    return made


def section(make: Callable[[], T], text: str, *, source: str = "") -> T:
    """Declare a section, or another default that has to be made for each object."""
    made: T = dataclasses.field(default_factory=make, metadata=_declare(text, source))
    return made


def needed(text: str) -> Any:  # noqa: ANN401 -- whatever the field's type is
    """Declare a setting without a default."""
    return dataclasses.field(metadata=_declare(text))


def _declare(
    text: str, source: str = "", bounds: Range | None = None, known: Iterable[str] = ()
) -> Mapping[str, Declaration]:
    return {_METADATA: Declaration(text=text, source=source, range=bounds or Range(), known=tuple(known))}


def declared(field: dataclasses.Field[Any]) -> Declaration:
    """Give a field's declaration."""
    made: Declaration = field.metadata[_METADATA]
    return made


_hints = cache(get_type_hints)


def hints_of(cls: type) -> Mapping[str, Any]:
    """Give the type of each field of a config dataclass; Python compiles every hint again, so it is asked once."""
    known: Any = cls  # mypy takes what instances are hashed by for the class's own
    return _hints(known)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Base of every config dataclass: refuses numbers out of range, unknown choices and what `check` refuses."""

    def __post_init__(self) -> None:
        """Check each field by itself, then all together."""
        hints = hints_of(type(self))
        for field in dataclasses.fields(self):
            _check_field(field, hints[field.name], getattr(self, field.name))
        self.check()

    def check(self) -> None:
        """Refuse what fields say together: raise `BadSetting`."""


def _check_field(field: dataclasses.Field[Any], hint: object, value: object) -> None:
    bounds = declared(field).range
    if any(not bounds.holds(number) for number in _numbers(value)):
        rule = f"must be {bounds}" if str(bounds) else "must be a finite number"
        raise BadSetting(field.name, value, rule + _way_out(field))
    options = get_args(hint) if get_origin(hint) is Literal else ()
    if options and value not in options:
        raise BadSetting(field.name, value, f"must be one of {', '.join(map(shown, options))}")


def _way_out(field: dataclasses.Field[Any]) -> str:
    return "" if field.default is dataclasses.MISSING else f"; the default is {shown(field.default)}"


def _numbers(value: object) -> Iterator[float]:
    """Give the numbers of a value: itself, or those of a list."""
    if isinstance(value, (tuple, list)):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def shown(value: object) -> str:
    """Write a value as a user types it in a recipe."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    return visible(str(value)) or "''"
