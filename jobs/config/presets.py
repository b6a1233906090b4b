"""Presets of methods: `method.<name>.preset: paper` lays the keys of a paper's setting under what the recipe says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finepseudo.methods.table import METHODS
from jobs.config.build import merge, nearest, refusal, set_dotted

PRESET = "preset"
"""Key below a method's name in a recipe; what it stands for is written to the configuration in its place."""


def fill_presets(values: dict[str, Any]) -> None:
    """Lay presets under the keys of their methods, in place. UserError: there is no such preset."""
    sections = values.get("method")
    if not isinstance(sections, Mapping):
        return
    values["method"] = {name: _filled(str(name), section) for name, section in sections.items()}


def _filled(name: str, section: object) -> object:
    if not isinstance(section, Mapping) or PRESET not in section or name not in METHODS:
        return section
    given = {key: value for key, value in section.items() if key != PRESET}
    known, wanted = METHODS[name].presets, section[PRESET]
    if wanted is None:
        return given
    if wanted not in known:
        way_out = nearest(str(wanted), list(known)) if known else "it has none; leave the key out"
        raise refusal(f"method.{name}.{PRESET}", wanted, f"must be a preset of {name}; {way_out}")
    under: dict[str, Any] = {}
    for key, value in known[wanted].items():
        set_dotted(under, key, value)
    return merge(under, given)
