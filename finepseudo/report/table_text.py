"""A table as text: Markdown with aligned columns, LaTeX with booktabs. A head that begins with `#` is of numbers."""

from __future__ import annotations

from collections.abc import Sequence

ESCAPES = {"\\": r"\textbackslash{}", **{c: f"\\{c}" for c in "&%$#_{}"}, "~": r"\textasciitilde{}"}
ESCAPES |= {"^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "|": r"$|$"}


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]], lead: str, notes: Sequence[str]) -> str:
    """Write the table, then how to read it, then the notes."""
    return markdown_page([markdown_lines(head, body)], lead, notes)


def markdown_page(tables: Sequence[Sequence[str]], lead: str, notes: Sequence[str]) -> str:
    """Write tables below each other, then how to read them, then the notes."""
    lines = [line for table in tables for line in (*table, "")]
    return "\n".join([*lines, lead, "", *(f"- {note}" for note in notes), ""])


def markdown_lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Write the lines of the table alone, all of one width."""
    lines = [[text.replace("|", r"\|") for text in line] for line in ([h.removeprefix("#") for h in head], *body)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    rules = [("-" * (w - 1) + ":") if h.startswith("#") else "-" * w for h, w in zip(head, widths, strict=True)]

    def row(line: Sequence[str]) -> str:
        texts = [
            text.rjust(w) if h.startswith("#") else text.ljust(w) for text, h, w in zip(line, head, widths, strict=True)
        ]
        return f"| {' | '.join(texts)} |"

    return [row(lines[0]), row(rules), *map(row, lines[1:])]


def latex_table(head: Sequence[str], body: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """Write the table, with the notes as comments above it."""
    columns = "".join("r" if name.startswith("#") else "l" for name in head)
    lines = [r"\begin{tabular}{" + columns + "}", r"\toprule", _tex_row([name.removeprefix("#") for name in head])]
    lines += [r"\midrule", *map(_tex_row, body), r"\bottomrule", r"\end{tabular}"]
    return "\n".join([r"% \usepackage{booktabs}", *(f"% {' '.join(note.split())}" for note in notes), *lines, ""])


def _tex_row(texts: Sequence[str]) -> str:
    return " & ".join("".join(ESCAPES.get(c, c) for c in text) for text in texts) + r" \\"
