"""Small charts as inline SVG text. Colours come from the page's CSS classes, so they follow light, dark and print.

`hue-<name>` classes set the colour, `line`, `fill`, `dot` ... say how it is used. Every figure carries a spoken
description (`role="img"`, `aria-label`); marks carry a `<title>` that a browser shows when the pointer rests on them.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
import numpy.typing as npt


def short(value: float) -> str:
    """Write a tick: 4 digits at most, thousands as k, millions as M."""
    for limit, unit in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e6 if unit == 'M' else 1e3):.4g}{unit}"
    return f"{value:.4g}"


def percent(value: float) -> str:
    """Write a fraction as whole percent."""
    return f"{100 * value:.4g}"


def ticks(lo: float, hi: float, count: int = 5) -> list[float]:
    """Choose round numbers within [lo, hi], about `count` of them, steps of 1, 2, 2.5 or 5 times a power of ten."""
    if not hi > lo:
        return [lo]
    raw = (hi - lo) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(lo / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(hi / step + 1e-9) + 1)]


def bounds(values: Sequence[float], *, pad: float = 0.05, floor: float | None = None) -> tuple[float, float]:
    """Span finite values with a margin on both sides; (0, 1) without values."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return (0.0, 1.0)
    lo, hi = min(finite), max(finite)
    margin = pad * (hi - lo) if hi > lo else max(abs(hi) * 0.1, 0.01)
    lo, hi = lo - margin, hi + margin
    return (lo if floor is None else max(lo, floor), hi)


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """Write an element; `class_` stands for class, underscores for dashes, numbers get two decimals."""
    text = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_number(v) if isinstance(v, int | float) else escape(str(v))}"'
        for key, v in attributes.items()
        if v is not None
    )
    return f"<{name}{text}/>" if not content else f"<{name}{text}>{content}</{name}>"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def text(x: float, y: float, content: str, *, anchor: str = "start", class_: str = "", rotate: float = 0) -> str:
    """Write text at (x, y); `rotate` in degrees about that point."""
    turn = f"rotate({_number(rotate)} {_number(x)} {_number(y)})" if rotate else None
    return tag("text", escape(content), x=x, y=y, text_anchor=anchor, class_=class_ or None, transform=turn)


def svg(width: float, height: float, parts: Sequence[str], alt: str, class_: str = "chart") -> str:
    """Close a drawing of `width` x `height` units with its spoken description."""
    box = f"0 0 {_number(width)} {_number(height)}"
    size = f"--w:{_number(width)}px"
    return tag("svg", "".join(parts), viewBox=box, class_=class_, role="img", aria_label=alt, style=size)


class Plot:
    """Axes with x and y ranges; marks are added in data units and drawn in the order they come."""

    def __init__(
        self,
        *,
        x: tuple[float, float],
        y: tuple[float, float],
        size: tuple[float, float] = (360, 220),
        margin: tuple[float, float, float, float] = (24, 10, 36, 42),
        x_label: str = "",
        y_label: str = "",
        x_ticks: Sequence[float] | None = None,
        y_ticks: Sequence[float] | None = None,
        x_format: Callable[[float], str] = short,
        y_format: Callable[[float], str] = short,
    ) -> None:
        """Set the ranges; `size` and `margin` (top, right, bottom, left) are in pixels."""
        self.x0, self.x1 = x if x[1] > x[0] else (x[0] - 0.5, x[0] + 0.5)
        self.y0, self.y1 = y if y[1] > y[0] else (y[0] - 0.5, y[0] + 0.5)
        self.width, self.height = size
        self.top, self.right, self.bottom, self.left = margin
        self.parts: list[str] = []
        self._rows([(v, y_format(v)) for v in (ticks(self.y0, self.y1) if y_ticks is None else y_ticks)], y_label)
        self._columns([(v, x_format(v)) for v in (ticks(self.x0, self.x1) if x_ticks is None else x_ticks)], x_label)

    def px(self, x: float) -> float:
        """Map x to pixels."""
        return self.left + (x - self.x0) / (self.x1 - self.x0) * (self.width - self.left - self.right)

    def py(self, y: float) -> float:
        """Map y to pixels, upwards."""
        inner = self.height - self.top - self.bottom
        return self.height - self.bottom - (y - self.y0) / (self.y1 - self.y0) * inner

    def _rows(self, marks: Sequence[tuple[float, str]], label: str) -> None:
        left, right = self.left, self.width - self.right
        for value, written in marks:
            y = self.py(value)
            self.parts.append(tag("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
            self.parts.append(text(left - 6, y + 3.5, written, anchor="end", class_="tick"))
        self.parts.append(text(0, 11, label, class_="label"))

    def _columns(self, marks: Sequence[tuple[float, str]], label: str) -> None:
        left, right, base = self.left, self.width - self.right, self.height - self.bottom
        self.parts += [text(self.px(v), base + 15, written, anchor="middle", class_="tick") for v, written in marks]
        self.parts.append(tag("line", x1=left, x2=right, y1=base, y2=base, class_="axis"))
        self.parts.append(text((left + right) / 2, self.height - 4, label, anchor="middle", class_="label"))

    def line(self, xs: Sequence[float], ys: Sequence[float], class_: str, title: str = "") -> None:
        """Draw a polyline; a point that is not finite leaves a gap."""
        path, pen = [], "M"
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(x) and math.isfinite(y):
                path.append(f"{pen}{_number(self.px(x))} {_number(self.py(y))}")
                pen = "L"
            else:
                pen = "M"
        if path:
            self.parts.append(tag("path", _title(title), d="".join(path), class_=f"line {class_}"))

    def dot(self, x: float, y: float, class_: str, title: str = "", radius: float = 3.2) -> None:
        """Draw a point."""
        if math.isfinite(x) and math.isfinite(y):
            self.parts.append(
                tag("circle", _title(title), cx=self.px(x), cy=self.py(y), r=radius, class_=f"dot {class_}")
            )

    def box(self, x: tuple[float, float], y: tuple[float, float], class_: str, title: str = "", gap: float = 0) -> None:
        """Fill a rectangle; `gap` pixels stay free on its right."""
        left, right, top, base = self.px(x[0]), self.px(x[1]) - gap, self.py(max(y)), self.py(min(y))
        self.parts.append(
            tag(
                "rect",
                _title(title),
                x=left,
                y=top,
                width=max(right - left, 0.5),
                height=base - top,
                class_=f"fill {class_}",
            )
        )

    def vline(self, x: float, label: str = "") -> None:
        """Mark a value of x."""
        at = self.px(x)
        self.parts.append(tag("line", x1=at, x2=at, y1=self.top, y2=self.height - self.bottom, class_="mark"))
        self.parts.append(text(at + 3, self.top + 8, label, class_="tick"))

    def hline(self, y: float) -> None:
        """Mark a value of y."""
        at = self.py(y)
        self.parts.append(tag("line", x1=self.left, x2=self.width - self.right, y1=at, y2=at, class_="axis"))

    def draw(self, alt: str) -> str:
        """Return the SVG element."""
        return svg(self.width, self.height, self.parts, alt)


def _title(content: str) -> str:
    return tag("title", escape(content)) if content else ""


def png(pixels: npt.NDArray[np.uint8]) -> str:
    """Encode uint8 [H, W, 3] as a PNG data URI; the same pixels give the same bytes."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()
