"""`--data`: a list, a folder of lists or a folder of videos, as the section `data` of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shards.annotations.roles import LIST_ROLES
from shards.errors import UserError

LIST_SUFFIXES = (".csv", ".tsv", ".txt")
LIST_NAMES = ("all", *LIST_ROLES)


def data_section(text: str) -> dict[str, Any]:
    """Read `--data csv:...`: one list, a folder of lists named by role, or `role=list` pairs; or `folder:DIR`."""
    kind, _, rest = text.partition(":")
    if kind not in ("csv", "folder") or not rest:
        raise UserError(
            f"--data {text!r}: write csv:LIST, csv:FOLDER, csv:labelled=LIST,unlabelled=LIST,test=LIST, or folder:DIR "
            "where each class has a folder of videos"
        )
    if kind == "folder":
        return {"data": {"name": "folder", "root": rest}}
    data: dict[str, Any] = {"name": "csv"}
    if "=" in rest:
        data["lists"] = {role: path for role, _, path in (pair.partition("=") for pair in rest.split(","))}
    elif Path(rest).is_dir():
        data |= _folder_of_lists(Path(rest))
    else:
        data["lists"] = {"all": rest}
    data["lists"] = {role: str(Path(data.get("root", "")) / path) for role, path in data["lists"].items()}
    data.pop("root", None)
    return {"data": data}


def _folder_of_lists(folder: Path) -> dict[str, Any]:
    lists = {}
    for role in LIST_NAMES:
        found = [folder / (role + suffix) for suffix in LIST_SUFFIXES if (folder / (role + suffix)).is_file()]
        if found:
            lists[role] = found[0].name
    if not lists:
        raise UserError(
            f"--data csv:{folder}: no list in it; name one of them {', '.join(LIST_NAMES[:8])} with .csv or .txt"
        )
    classes = {"classes": str(folder / "classes.txt")} if (folder / "classes.txt").is_file() else {}
    return {"root": str(folder), "lists": lists, **classes}
