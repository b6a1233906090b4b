"""What a page is made of; the template knows how to write each `kind`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup

NOT_YET = "Not there yet: "
"""How a note on a missing part begins."""


@dataclass(frozen=True, slots=True)
class Table:
    """Text cells, one list a row. Columns whose header starts with `#` hold numbers; row `strong` stands out."""

    id: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    strong: int = -1
    kind: ClassVar[str] = "table"


@dataclass(frozen=True, slots=True)
class Figure:
    """An SVG drawing with a title above and a remark below it. A wide one scrolls inside its own box."""

    svg: str
    title: str
    remark: str = ""
    wide: bool = False
    kind: ClassVar[str] = "figure"

    def markup(self) -> Markup:
        """Hand the drawing to the template unescaped: every text in it is escaped where it is drawn."""
        return Markup(self.svg)  # noqa: S704


@dataclass(frozen=True, slots=True)
class Grid:
    """Figures side by side under one legend of (hue, name)."""

    figures: Sequence[Figure]
    legend: Sequence[tuple[str, str]] = ()
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True, slots=True)
class Note:
    """One line: what is not there yet, or how to read what follows."""

    text: str
    kind: ClassVar[str] = "note"


@dataclass(frozen=True, slots=True)
class Pre:
    """Text as it stands in a file."""

    text: str
    kind: ClassVar[str] = "pre"


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks behind a title that opens."""

    title: str
    blocks: Sequence[Block]
    opened: bool = False
    kind: ClassVar[str] = "fold"


@dataclass(frozen=True, slots=True)
class Columns:
    """Blocks beside each other where there is room."""

    blocks: Sequence[Block]
    kind: ClassVar[str] = "columns"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A clip: a strip of frames side by side as a data URI, empty for none; what is said of it; a way to its file."""

    key: str
    strip: str
    words: str
    truth: str = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Clips under a title."""

    title: str
    thumbnails: Sequence[Thumbnail]
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True, slots=True)
class ClipTable:
    """Every clip, as JSON that the page's script lays out: sorted, filtered, a page at a time."""

    data: str
    kind: ClassVar[str] = "clips"

    def markup(self) -> Markup:
        """Hand the JSON to a script element: nothing in it can end the element."""
        return Markup(self.data.replace("<", "\\u003c"))  # noqa: S704


Block = Table | Figure | Grid | Note | Pre | Fold | Columns | Gallery | ClipTable


@dataclass(frozen=True, slots=True)
class Section:
    """A headed part of the page."""

    id: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """One number a reader takes away."""

    value: str
    unit: str
    name: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that makes the numbers mean less than they seem. level: `alarm` or `note`."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """The whole report."""

    title: str
    subtitle: str
    tiles: Sequence[Tile]
    alarms: Sequence[Alarm]
    sections: Sequence[Section] = field(default_factory=list)
