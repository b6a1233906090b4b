"""YAML of recipes, space files and run folders: how all of it is read and written.

A date stays the text that it is: names and versions may look like one. What is written reads back the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_LINE_ENDS = frozenset("\x85\u2028\u2029")
"""Characters that YAML takes for the end of a line, so that they have to be escaped."""


class NoYaml(ValueError):  # noqa: N818 -- the name says what is wrong
    """A text or a file that is no YAML; the reason stands in one line."""


class _Loader(yaml.SafeLoader):
    """Plain values alone, without dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":timestamp")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str) -> Any:  # noqa: ANN401 -- what YAML can hold
    """Read one document; None where there is nothing in it. Raises NoYaml."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 -- a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # cut, a value that does not exist, nested too deep
        raise NoYaml(" ".join(str(error).split())) from error


def read_yaml(path: Path) -> Any:  # noqa: ANN401
    """Read a file. Raises NoYaml, also for a file that is not there, may not be read or is not UTF-8."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise NoYaml(" ".join(str(error).split())) from error
    return parse_yaml(text)


def yaml_text(value: object, *, flow: bool = False, width: int = 120) -> str:
    """Write plain values in the order they have; `flow`: in braces and brackets."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=width)
    if _LINE_ENDS & set(text):
        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, default_flow_style=flow, width=width)
    return text
