"""The comparison of some runs as files: `<prefix>.csv`, `.md`, `.tex` and a page of its own, `.html`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finepseudo.report import comparison_page as page
from finepseudo.report import side_by_side
from finepseudo.report.alarms import alarms
from finepseudo.report.blocks import Alarm, Page
from finepseudo.report.reading import read_run
from finepseudo.report.writing import render_page
from finepseudo.run_folder.files import write_text


def write_comparison(folders: Sequence[Path], prefix: Path) -> tuple[str, list[Path]]:
    """Write the files; return the Markdown table and the paths. UserError where a folder is no run."""
    runs = [read_run(folder) for folder in folders]
    found = page.comparison_of(runs)
    names = [run.root.resolve().name for run in runs]
    said = [Alarm(a.level, f"{name}: {a.text}") for name, run in zip(names, runs, strict=True) for a in alarms(run)]
    html = Page(
        ", ".join(names),
        "Comparison",
        tiles=[],
        alarms=said,
        sections=[page.part(found), side_by_side.section(runs)],
    )
    texts = {
        ".csv": page.as_csv(found),
        ".md": page.markdown(found),
        ".tex": page.latex(found),
        ".html": render_page(html),
    }
    prefix.parent.mkdir(parents=True, exist_ok=True)
    paths = [prefix.with_name(prefix.name + ending) for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return texts[".md"], paths
