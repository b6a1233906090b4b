"""`finepseudo methods`: every method with where it comes from, what it needs and its keys."""

from __future__ import annotations

import textwrap

from finepseudo.encoders.config import ActionEncoderConfig
from finepseudo.encoders.table import ACTION
from finepseudo.methods.base import AnyMethod
from finepseudo.methods.own import take
from finepseudo.methods.table import METHODS
from jobs.config.build import one_of
from jobs.config.keys import all_keys
from shards.errors import UserError
from shards.settings import BadSetting, shown

_WIDTH = 120


def described(name: str = "") -> str:
    """Write where each method comes from and what it needs; of one that is named, or module:NAME, all that is known.

    UserError: there is no such method.
    """
    if ":" in name:
        return _paragraph(take([name])[0])
    if name and name not in METHODS:
        raise UserError(f"methods: no method is called {name}; {one_of(name, list(METHODS))}")
    if name:
        return _paragraph(METHODS[name])
    listed = "".join(f"{method.name}: {method.title}\n    {_origin(method)}\n" for method in METHODS.values())
    return listed + "finepseudo methods NAME says its keys, with defaults and sources\n"


def needs(method: AnyMethod) -> str:
    """Say what a method takes beside labelled clips."""
    found = [
        "unlabelled clips" if method.pool else "",
        "the alignability encoder" if method.aligns else "",
        "its own network around the action encoder" if method.network is not None else "",
        method.needs,
    ]
    return ", ".join(text for text in found if text) or "nothing but labelled clips"


def encoders(method: AnyMethod) -> str:
    """Say which encoders f_E may be, by the method's defaults."""
    refused = []
    for variant in ACTION:
        try:
            if method.fits is not None:
                method.fits(method.config(), ActionEncoderConfig(variant=variant))
        except BadSetting:
            refused.append(variant)
    return f"all but {', '.join(refused)}" if refused else "all"


def _preset(name: str, method: AnyMethod) -> str:
    said = ", ".join(f"{key} {shown(value)}" for key, value in method.presets[name].items())
    text = f"preset {name}: {said}"
    return textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="      ")


def _origin(method: AnyMethod) -> str:
    return f"{method.paper}\n    needs: {needs(method)}"


def _paragraph(method: AnyMethod) -> str:
    lines = [f"{method.name}: {method.title}", f"    {_origin(method)}", f"    encoders: {encoders(method)}"]
    lines += [_preset(name, method) for name in method.presets]
    default = method.config()
    for key in all_keys(default, default, f"method.{method.name}"):
        if not key.is_section:
            facts = f"{key.name} = {key.declaration.text}; {key.facts()}"
            lines.append(textwrap.fill(facts, _WIDTH, initial_indent="    ", subsequent_indent="      "))
    return "\n".join(lines) + "\n"
