"""A report read back: its tables, tiles, warnings and notes; and what the tests of its parts share."""

from __future__ import annotations

import json
from collections import Counter
from html.parser import HTMLParser

import pyarrow.parquet as pq

from finepseudo.report import write_report

TITLES = {"supervised": "Supervised only", "pseudo_label": "Pseudo-label baseline", "finepseudo": "FinePseudo"}


SMALL = {"seeds": (3,), "n_classes": 4, "per_class": (2, 5, 3), "frames": 8, "steps": 8}
WIDE = {
    "seeds": (0,),
    "n_classes": 48,
    "per_class": (2, 30, 10),
    "methods": ("supervised", "finepseudo"),
    "steps": 5,
}
"""As many classes as Diving48 has, 2,016 clips."""


class Page(HTMLParser):
    """Tables by id as lists of cell texts (header first), tiles, warnings, notes; every href and src."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tiles, self.alarms, self.notes, self.links, self.tags = {}, [], [], [], [], Counter()
        self._stack, self._table, self._sink = [], None, None
        self.feed(text)

    def handle_starttag(self, name, attributes):
        about = dict(attributes)
        self.tags[name] += 1
        self.links += [about[a] for a in ("href", "src", "xlink:href") if a in about]
        kind = (about.get("class") or "").split()
        if name == "table":
            self._table = self.tables.setdefault(about["id"], [])
        elif name == "tr" and self._table is not None:
            self._table.append([])
        elif name in {"td", "th"} and self._table is not None:
            self._sink = self._table[-1]
            self._sink.append("")
        elif "tile" in kind:
            self.tiles.append("")
            self._sink = self.tiles
        elif name == "div" and "alarms" in kind:
            self._stack.append("alarms")
        elif name == "li" and self._stack:
            self.alarms.append("")
            self._sink = self.alarms
        elif name == "p" and "note" in kind:
            self.notes.append("")
            self._sink = self.notes

    def handle_endtag(self, name):
        if name in {"td", "th", "li"} or (name == "p" and self._sink is self.notes):
            self._sink = None
        if name == "main":
            self._stack.clear()
        if name == "ul":
            self._stack.clear()

    def handle_data(self, data):
        if self._sink is not None:
            self._sink[-1] = (self._sink[-1] + " " + data.strip()).strip()


def page_of(folder):
    return Page(write_report(folder).read_text(encoding="utf-8"))


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def change(path, **values):
    path.write_text(json.dumps(load(path) | values))


def classes_of(folder):
    return json.loads(pq.read_schema(folder / "data" / "clips.parquet").metadata[b"finepseudo"])["classes"]
