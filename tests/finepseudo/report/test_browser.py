"""The report in a real browser: it renders whole at two widths, asks for nothing and reports no error."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from finepseudo.report import write_report
from tests.finepseudo.report.run_folder_fixture import write_run_folder

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
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
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        reason = "Chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


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


def requested(browser):
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
