"""Ours beside the published numbers, read from run folders whose files are written here."""

import csv
import io
import re
import statistics

import pytest

from finepseudo.report.table_text import markdown_lines
from finepseudo.run_folder.files import write_json
from finepseudo.run_folder.layout import METRICS, PSEUDO_METRICS, RunPaths
from jobs.paper.cells import Size, runs_of
from jobs.paper.measures import MEASURES, measure
from jobs.paper.result import as_csv, below_each_other, cells_of, notes_of, table_of, write_result
from jobs.paper.table import read_table
from shards.errors import UserError
from tests.jobs.paper.test_table import mine


@pytest.fixture
def made(tmp_path):
    """Two of three label draws of one run are tested."""
    size = Size(out=str(tmp_path), seeds=(0, 1, 2))
    table = mine()
    runs = runs_of(table, size)
    for seed, top1 in enumerate((0.5, 0.625)):
        write_json(RunPaths(runs[0].cfg.folder).evaluation(seed, "supervised") / METRICS, {"top1": top1})
    return table, size, runs


def test_a_cell_is_the_mean_over_label_draws_beside_the_number_of_the_paper(made):
    table, size, runs = made
    (first, *_), body = cells_of(table, runs), list(csv.DictReader(io.StringIO(as_csv(size, cells_of(table, runs)))))
    assert first.stat.mean == pytest.approx(56.25)
    ours, paper = body[0], body[-1]
    assert list(ours.values())[:6] == ["a", "5 %", "supervised", "5-percent", "0 1 2", "paper"]
    assert float(ours["std"]) == pytest.approx(statistics.stdev([50, 62.5]))
    assert (paper["row"], paper["run"], paper["mean"], paper["published"]) == ("d", "", "", "3.0")


def test_the_files_say_sources_and_what_is_not_there_yet(made):
    table, size, runs = made
    text, paths = write_result(table, size, runs)
    assert [path.name for path in paths] == [f"mine.{ending}" for ending in ("csv", "md", "tex", "html")]
    line = next(line for line in text.splitlines() if line.startswith("| a "))
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["a", "56.2 ± 8.8", "", "", ""]
    assert "Published: s." in text
    assert "Not whole yet: 5 of 5 cells" in text
    assert "Label draws: 0, 1, 2." in text
    assert r"\toprule" in paths[2].read_text()
    page = paths[3].read_text()
    assert "56.2 ± 8.8" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)


def test_what_is_made_small_says_that_its_numbers_mean_nothing(tmp_path):
    """In every file, and in the names of the columns: a table is copied without what stands below it."""
    size = Size(out=str(tmp_path), small=True)
    table = mine()
    text, paths = write_result(table, size, runs_of(table, size))
    lines, tex, page = paths[0].read_text().splitlines(), paths[2].read_text(), paths[3].read_text()
    assert all("the numbers mean nothing" in said for said in (text, tex, page))
    assert all("synthetic" in said and "ours" not in said.lower() for said in (text, tex, page))
    assert "No alarms." not in page
    assert {row["size"] for row in csv.DictReader(lines) if row["run"]} == {"synthetic"}


@pytest.mark.parametrize(
    ("name", "small", "said"),
    [("table02", True, True), ("table02", False, False), ("table07", True, True), ("sefar_passes", True, False)],
)
def test_equal_numbers_of_different_columns_have_their_reason(name, small, said, tmp_path):
    """At the small size, 5 % and 20 % of the labels are one run."""
    size = Size(out=str(tmp_path), small=small, seeds=(0,))
    table = read_table(name)
    notes = notes_of(table, size, cells_of(table, runs_of(table, size)))
    assert any("at the papers' size alone" in note for note in notes) == said


@pytest.mark.parametrize("name", ["table02", "table03", "table13", "sefar_table1"])
@pytest.mark.parametrize("width", [40, 100, 10_000])
def test_a_table_that_is_wider_than_the_terminal_is_cut_between_columns(name, width, tmp_path):
    size = Size(out=str(tmp_path), small=True, seeds=(0,))
    table = read_table(name)
    cells = cells_of(table, runs_of(table, size))
    tables = below_each_other(table, size, cells, width)
    grids = [[[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] for lines in tables]
    head, body = table_of(table, size, cells)
    assert [cell for grid in grids for cell in grid[0][1:]] == [cell.removeprefix("#") for cell in head[1:]]
    for i, row in enumerate(body, 2):
        assert [cell for grid in grids for cell in grid[i][1:]] == row[1:]
        assert {grid[i][0] for grid in grids} == {row[0]}
    assert all(len(lines[0]) <= width or len(grid[0]) <= 3 for lines, grid in zip(tables, grids, strict=True))
    assert (len(tables) == 1) == (len(markdown_lines(head, body)[0]) <= width)


@pytest.mark.parametrize(
    ("name", "number", "shown"),
    [
        ("top1", 38, "38.0"),
        ("top1", 43.02, "43.02"),
        ("accepted", 1234, "1,234"),
        ("tau", 0.9, "0.900"),
        ("top1", None, ""),
    ],
)
def test_a_published_number_has_its_decimals_and_no_fewer_than_ours(name, number, shown):
    assert MEASURES[name].printed(number) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("accepted", 1234, "1,234"), ("precision", 0.875, "87.5"), ("novel", 0.25, "25.0"), ("precision", None, "")],
)
def test_the_first_pseudo_labels_are_read_in_the_papers_units(name, value, shown, tmp_path):
    from finepseudo.report.summary import Stat

    how = MEASURES[name]
    run = RunPaths(tmp_path)
    assert how.read(run, 0, "ups") is None
    write_json(run.round(0, "ups", 0) / PSEUDO_METRICS, {how.path[-1]: value})
    assert how.shown(Stat.of([how.read(run, 0, "ups")])) == shown


def test_a_measure_that_is_none_is_answered_with_all():
    with pytest.raises(UserError, match="no measure is called top2; there are top1, "):
        measure("top2")


def test_a_pre_training_is_one_for_all_label_draws(tmp_path):
    """Its numbers have no deviation that only repeats them."""
    size = Size(out=str(tmp_path), seeds=(0, 1, 2))
    table = read_table("table13")
    (run,) = runs_of(table, size)
    write_json(run.cfg.folder / "phases.json", {"mean": {"tau": 0.5}, "actions": {"bowl": {"tau": 0.25}}})
    _, paths = write_result(table, size, [run])
    text = paths[1].read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    lines = {name: cells for name, *cells in rows}
    assert lines["FinePseudo"] == ["", "0.932", "0.500", "0.992", "", "0.911"]
    assert lines["bowl"] == ["", "", "0.250", "", "", ""]
    assert lines["GTA"] == ["", "", "", "0.748", "", ""]
    assert "Label draws: 0." in text


@pytest.mark.parametrize(("name", "word"), [("table08", "Protocol"), ("table07", "Published")])
def test_a_table_without_published_numbers_does_not_say_that_there_are_any(name, word, tmp_path):
    size = Size(out=str(tmp_path), seeds=(0,))
    table = read_table(name)
    assert notes_of(table, size, cells_of(table, runs_of(table, size)))[0].startswith(f"{word}: FinePseudo (ECCV 2024)")
