"""The report in a real browser: it renders whole at two widths, asks for nothing and reports no error."""

from __future__ import annotations

import csv
import io
import json

import pyarrow.parquet as pq
import pytest

from finepseudo.report import write_report
from tests.finepseudo.report.run_folder_fixture import class_names, write_run_folder

FIGURES = """
return [...document.querySelectorAll('svg')].map(s => {
  const box = s.getBoundingClientRect();
  return [s.getAttribute('aria-label') || '', box.width, box.height, box.right, !!s.closest('.wide')];
});"""
IMAGES = """
const done = arguments[arguments.length - 1];
Promise.all([...document.querySelectorAll('image')].map(i => {
  const image = new Image();
  image.src = i.getAttribute('href');
  return image.decode().then(() => image.naturalWidth, () => 0);
})).then(done);"""
OVERLAPS = """
return [...document.querySelectorAll('svg')].flatMap(s => {
  const frame = s.getBoundingClientRect();
  return [...s.querySelectorAll('text')].filter(t => t.textContent).map(t => [t.textContent, t.getBoundingClientRect()])
    .filter(([, b]) => b.left < frame.left - 2 || b.right > frame.right + 2 || b.bottom > frame.bottom + 2)
    .map(([text]) => text);
});"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(write_run_folder(tmp_path_factory.mktemp("run") / "demo"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_renders_whole(browser, report, width, scheme):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    browser.get_log("performance")
    browser.get(report.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")

    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert [url for url in requested(browser) if not url.startswith("data:")] == [report.as_uri()]
    figures = browser.execute_script(FIGURES)
    assert len(figures) > 20
    for label, shown_width, height, right, scrolls in figures:
        assert label
        assert shown_width > 100, label
        assert height > 60, label
        assert scrolls or right <= width + 1, label
    images = browser.execute_async_script(IMAGES)
    assert len(images) == 36
    assert min(images) > 0
    assert browser.execute_script(OVERLAPS) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(int(v) for v in paper[4:-1].split(",")) < 3 * 64) == (scheme == "dark")


@pytest.fixture
def desk(browser, report):
    """The report on a desk, without a filter; what it downloads is kept as text."""
    size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(report.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.execute_script(KEEP)
    return browser


KEEP = """
window.kept = [];
const make = URL.createObjectURL;
URL.createObjectURL = blob => { window.kept.push(blob.text()); return make(blob); };"""
KEPT = "const done = arguments[arguments.length - 1]; Promise.all(window.kept).then(texts => done(texts.at(-1)));"
COLUMN = """return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].filter(r => !r.hidden)
  .map(r => r.cells[arguments[1]].textContent.trim());"""
HEAD = "document.querySelectorAll(`#${arguments[0]} thead th`)[arguments[1]].click()"
TYPE = """const bar = document.getElementById(arguments[0]).closest('.scroll').previousElementSibling;
bar.querySelector('input').value = arguments[1];
bar.querySelector('input').dispatchEvent(new Event('input'));"""
SAVE = "document.getElementById(arguments[0]).closest('.scroll').previousElementSibling.querySelector('button').click()"


def test_tables_sort_filter_and_download(desk):
    desk.execute_script(HEAD, "per-class", 2)
    shares = [float(text) for text in desk.execute_script(COLUMN, "per-class", 2)]
    assert shares == sorted(shares, reverse=True)
    desk.execute_script(HEAD, "per-class", 2)
    assert [float(text) for text in desk.execute_script(COLUMN, "per-class", 2)] == sorted(shares)
    desk.execute_script(TYPE, "per-class", "back")
    names = desk.execute_script(COLUMN, "per-class", 0)
    assert names and all(name.startswith("Back") for name in names)
    desk.execute_script(SAVE, "per-class")
    rows = list(csv.reader(io.StringIO(desk.execute_async_script(KEPT))))
    assert rows[0][:2] == ["Class", "Test clips"]
    assert [row[0] for row in rows[1:]] == names


def test_the_table_of_clips_sorts_filters_and_downloads_all_rows(desk, report):
    tested = pq.read_table(report.parent / "seed-0/finepseudo/evaluation/predictions.parquet").to_pylist()
    select = "const s = document.querySelector(`select[aria-label='${arguments[0]}']`); s.value = arguments[1];"
    desk.execute_script(select + "s.dispatchEvent(new Event('change'))", "right or wrong", "wrong")
    desk.execute_script(select + "s.dispatchEvent(new Event('change'))", "any role", "test")
    wrong = {row["key"] for row in tested if row["label"] != row["prediction"]}
    assert set(desk.execute_script(COLUMN, "all-clips", 0)) == wrong
    desk.execute_script(HEAD, "all-clips", 5)
    sure = [float(text) for text in desk.execute_script(COLUMN, "all-clips", 5)]
    assert sure == sorted(sure, reverse=True)
    desk.execute_script(SAVE, "all-clips")
    rows = list(csv.DictReader(io.StringIO(desk.execute_async_script(KEPT))))
    assert {row["Clip"] for row in rows} == wrong
    assert all(row["File"].endswith(f"{row['Clip']}.mp4") for row in rows)


def test_a_cell_and_a_class_lead_to_their_clips(desk, report):
    tested = pq.read_table(report.parent / "seed-0/finepseudo/evaluation/predictions.parquet").to_pylist()
    desk.execute_script("document.querySelector('#confusions tbody button').click()")
    truth, said = (desk.execute_script(COLUMN, "confusions", place)[0] for place in (0, 1))
    found = desk.execute_script(COLUMN, "all-clips", 0)
    names = class_names(8)
    assert set(found) == {
        row["key"] for row in tested if (names[row["label"]], names[row["prediction"]]) == (truth, said)
    }
    square = """document.querySelector(`rect[data-truth='${arguments[0]}'][data-said='${arguments[0]}']`)
      .dispatchEvent(new MouseEvent('click'))"""
    desk.execute_script(square, names[0])
    assert set(desk.execute_script(COLUMN, "all-clips", 0)) == {
        row["key"] for row in tested if row["label"] == row["prediction"] == 0
    }


def requested(browser):
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
