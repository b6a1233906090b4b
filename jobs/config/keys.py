"""Every key of a configuration with all that is declared of it, for `keys`, `--print-config` and the schema."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

from finepseudo.run_folder.yaml_text import yaml_text
from jobs.config.build import plain, words
from jobs.config.run import RunConfig
from shards.errors import UserError
from shards.settings import Declaration, Settings, declared, hints_of, shown

_WIDTH = 120
_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key: dotted name, type in words, what is declared of it, value and default (MISSING where it has none)."""

    name: str
    type: str
    declaration: Declaration
    value: Any
    default: Any

    @property
    def is_section(self) -> bool:
        """Tell a section from a setting."""
        return isinstance(self.value, Settings)

    def facts(self) -> str:
        """Write type, range, default and source of a setting as one line."""
        default = "no default" if self.default is MISSING else f"default {shown(self.default)}"
        limits = str(self.declaration.range)
        source = f"source: {self.declaration.source}" if self.declaration.source else ""
        return "; ".join(fact for fact in (f"{self.type}, {limits}" if limits else self.type, default, source) if fact)


def all_keys(cfg: Settings, default: object = None, above: str = "") -> Iterator[Key]:
    """Give each section and after it its keys, in the order they are declared."""
    hints = hints_of(type(cfg))
    for field in fields(cfg):
        name = f"{above}.{field.name}" if above else field.name
        usual, value = default_of(field, default), getattr(cfg, field.name)
        said = declared(field)
        kind = f"one of {', '.join(said.known)}, or module:Class" if said.known else words(hints[field.name])
        yield Key(name=name, type=kind, declaration=said, value=value, default=usual)
        if isinstance(value, Settings):
            yield from all_keys(value, None if usual is MISSING else usual, name)


def default_of(field: Field[Any], parent: object) -> Any:  # noqa: ANN401 -- whatever the field holds
    """Give the default of a field: what the default of its section holds there, else its own; MISSING for neither."""
    if parent is not None and hasattr(parent, field.name):  # the section of an own method is in no default
        return getattr(parent, field.name)
    return field.default if field.default_factory is MISSING else field.default_factory()


def described(cfg: RunConfig, section: str = "") -> str:
    """Write value, help, type, default and source of each key of a section, or of one key; all keys without a name.

    UserError: there is no such key.
    """
    found = list(all_keys(cfg))
    wanted = [key for key in found if not section or f"{key.name}.".startswith(f"{section}.")]
    if not wanted:
        raise UserError(f"keys: {section}: no such key or section; {_meant(section, [key.name for key in found])}")
    return "".join(_block(key) for key in wanted)


def _meant(text: str, names: Sequence[str]) -> str:
    """Say which keys hold a part of a name, or the one that is nearest in its last word; else the sections."""
    if holding := [name for name in names if text in name]:
        rest = f" and {len(holding) - _SHOWN} more" if len(holding) > _SHOWN else ""
        return f"in {', '.join(holding[:_SHOWN])}{rest}"
    last = {name.rpartition(".")[2]: name for name in reversed(names)}
    for known in (names, list(last)):
        if close := difflib.get_close_matches(text, known, n=1, cutoff=0.6):
            return f"did you mean {last.get(close[0], close[0])}?"
    return f"sections: {', '.join(name for name in names if '.' not in name)}"


def _block(key: Key) -> str:
    head = key.name if key.is_section else f"{key.name} = {shown(key.value)}"
    lines = [key.declaration.text] if key.is_section else [key.declaration.text, key.facts()]
    indented = (textwrap.fill(line, _WIDTH, initial_indent="    ", subsequent_indent="      ") for line in lines)
    return "\n".join([head, *indented]) + "\n"


def explained_yaml(cfg: RunConfig) -> str:
    """Write the resolved configuration as YAML that runs again, with help, type, default and source as comments."""
    lines: list[str] = []
    for key in all_keys(cfg):
        indent = "  " * key.name.count(".")
        comment = f"{indent}# "
        for text in [key.declaration.text] if key.is_section else [key.declaration.text, key.facts()]:
            lines.append(textwrap.fill(text, _WIDTH, initial_indent=comment, subsequent_indent=comment + "  "))
        value = "" if key.is_section and fields(key.value) else " " + _flow(key.value)
        lines.append(f"{indent}{key.name.rpartition('.')[2]}:{value}")
    return "\n".join(lines) + "\n"


def _flow(value: object) -> str:
    """Write a value on one line of YAML."""
    return yaml_text(plain(value), flow=True, width=10**6).removesuffix("\n").removesuffix("\n...")
