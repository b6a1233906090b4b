"""Put the page together and write it: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from finepseudo.report import classes, clips, comparison_page, confidence, provenance, results
from finepseudo.report.alarms import alarms
from finepseudo.report.blocks import Page
from finepseudo.report.reading import RunFolder, read_run
from finepseudo.report.summary import summary_table
from finepseudo.run_folder.files import write_text


def write_report(run_dir: Path, thumbnails: Mapping[str, str] | None = None) -> Path:
    """Write `report.html` into a run folder from the files in it, and return its path.

    thumbnails: a strip of six square frames of a clip as a data URI, by key; `gallery_keys` says which are wanted.

    A stage that has not run leaves a one-line note. The file replaces an older report in one step; the same files
    give the same bytes. UserError when the folder is no run or cannot be written.
    """
    run = read_run(Path(run_dir))
    path = run.root / "report.html"
    write_text(path, render_page(build_page(run, thumbnails)))
    return path


def render_page(page: Page) -> str:
    """Write a page as one self-contained HTML text."""
    template = Environment(
        loader=PackageLoader("finepseudo"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    return template.render(page=page)


def build_page(run: RunFolder, thumbnails: Mapping[str, str] | None = None) -> Page:
    """Compute every part; problems met on the way end among the alarms."""
    rows = summary_table(run)
    parts = [
        results.headline(rows, run.main_method(), comparison_page.beside_results(run)),
        results.pseudo_labels(run, rows),
        confidence.scores(run),
        classes.classes(run),
        clips.section(run, thumbnails or {}),
        classes.alignment(run),
        provenance.training(run),
        provenance.data(run),
        provenance.wall_time(run),
        provenance.provenance(run),
    ]
    finished = max((d.finished_at for d in run.done), default="")
    about = [
        run.dataset,
        _count(len(run.seeds), "seed"),
        f"last stage finished {finished[:16].replace('T', ' ')}" if finished else "",
    ]
    return Page(
        title=run.root.resolve().name,
        subtitle=" · ".join(a for a in about if a),
        tiles=results.tiles(run, rows, provenance.total_wall(run.done)),
        alarms=alarms(run),
        sections=parts,
    )


def _count(n: int, name: str) -> str:
    return f"{n} {name}" if n == 1 else f"{n} {name}s"
