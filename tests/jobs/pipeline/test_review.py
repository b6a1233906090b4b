"""`finepseudo review` from a run folder to a list that the split takes, driven in a real browser."""

import csv
import json
import re
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from finepseudo.run_folder.layout import RunPaths
from jobs.cli.main import main
from jobs.config.recipes import load, to_yaml
from jobs.pipeline.run_folder import read_config, refuse_other_data
from shards.annotations.base import read_clips
from shards.splits.config import SplitConfig
from shards.splits.label_split import draw_split, read_split
from tests.small_run import write_small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run, whose drawn labels are cut to the pool of its split."""
    folder = write_small_run(tmp_path_factory.mktemp("review") / "small")
    pool = pa.array(read_split(RunPaths(folder).split(0)).keys("unlabelled"))
    for path in folder.glob("seed-0/finepseudo/round-*/pseudo_labels.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.is_in(table["key"], pool)), path)
    return folder


def items(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1])["items"]


def test_the_page_asks_for_pool_clips_and_shows_labelled_ones(run, capsys):
    assert main(["review", str(run), "--count", "4"]) == 0
    said = capsys.readouterr().out
    assert "review.html: open it in a browser" in said
    assert f"finepseudo run --recipe {run}/config.yaml name={run.name} out={run.parent} split.reviewed=" in said
    split = read_split(RunPaths(run).split(0))
    asked = items(run / "review.html")
    assert len(asked) == 4
    assert {item["key"] for item in asked} <= set(split.keys("unlabelled"))
    truth = dict(zip(split.keys("labelled"), split.items("labelled").labels.tolist(), strict=True))
    for item in asked:
        scores = [near["score"] for near in item["near"]]
        assert scores == sorted(scores, reverse=True) and len(scores) == 4
        assert all(truth[near["key"]] == near["label"] for near in item["near"])


def test_what_the_run_was_told_before_is_saved_with_the_new_list(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    split = read_split(RunPaths(copy).split(0))
    named, rejected = split.keys("labelled")[0], "gone"
    (tmp_path / "before.csv").write_text(f"key,class\n{named},{split.classes[1]}\n{rejected},\n")
    cfg = read_config(copy)
    told = replace(cfg, split=replace(cfg.split, reviewed=str(tmp_path / "before.csv")))
    RunPaths(copy).config.write_text(to_yaml(told))
    assert main(["review", str(copy)]) == 0
    kept = json.loads(re.search(r'id="data">(.*?)</script>', (copy / "review.html").read_text(), re.S)[1])["before"]
    assert [row[:3] for row in kept] == [[named, split.classes[1], "before"], [rejected, "", "before"]]
    assert "The 2 of the list that the run has already" in (copy / "review.html").read_text()
    (tmp_path / "before.csv").unlink()
    assert main(["review", str(copy)]) == 2
    assert "before.csv: cannot be read" in capsys.readouterr().err


def test_without_embeddings_labelled_clips_of_the_likeliest_classes_are_shown(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(RunPaths(copy).embeddings(0, "finepseudo", 1))
    assert main(["review", str(copy), "--out", str(tmp_path / "x.html")]) == 0
    for item in items(tmp_path / "x.html"):
        assert item["near"][0]["label"] == item["choices"][0][0]
        assert item["near"][0]["score"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "supervised"], "no pseudo-labels of seed 0"),
        (["--method", "fixmatch"], "small: no method fixmatch; it has supervised, pseudo_label, finepseudo"),
        (["--seed", "9"], "small: no seed 9; it has 0"),
    ],
)
def test_a_run_without_these_labels_is_refused(run, capsys, words, message):
    assert main(["review", str(run), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_run_goes_on_with_reviewed_labels_and_with_no_other_split(tmp_path):
    cfg = load("smoke", [f"out={tmp_path}"])
    paths = RunPaths(cfg.folder)
    paths.seed(0).mkdir(parents=True)
    (paths.seed(0) / "DONE.json").write_text("{}")
    paths.config.write_text(to_yaml(cfg))
    changes = refuse_other_data(load("smoke", [f"out={tmp_path}", "split.reviewed=x.csv"]), force=False)
    assert [key for key, *_ in changes] == ["split.reviewed"]
    with pytest.raises(Exception, match=r"was made with split\.ratio"):
        refuse_other_data(load("smoke", [f"out={tmp_path}", "split.ratio=0.9"]), force=False)


@pytest.mark.browser
def test_keys_make_a_list_that_the_split_takes(run, browser, tmp_path):
    assert main(["review", str(run), "--count", "4"]) == 0
    asked = items(run / "review.html")
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.get((run / "review.html").as_uri())
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys("1", "2", "0", "3", "u")  # accept, change, reject; change the last one and undo that
    assert browser.find_element(By.ID, "count").text == "3 of 4 decided, clip 4"
    body.send_keys("u", "u")  # the reject and the change too
    assert browser.find_element(By.ID, "count").text == "1 of 4 decided, clip 2"
    body.send_keys("2", "0")
    count = (By.ID, "count")

    def kept(_):  # what a page stores may reach the next one a little later
        browser.refresh()
        return browser.find_element(*count).text == "3 of 4 decided, clip 4"

    WebDriverWait(browser, 20).until(kept)
    browser.find_element(By.ID, "save").click()
    path = tmp_path / "reviewed.csv"
    WebDriverWait(browser, 20).until(lambda _: path.exists() and path.stat().st_size)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    classes = read_split(RunPaths(run).split(0)).classes
    first, second = (item["choices"] for item in asked[:2])
    assert [(row["key"], row["class"], row["verdict"]) for row in rows] == [
        (asked[0]["key"], classes[first[0][0]], "accept"),
        (asked[1]["key"], classes[second[1][0]], "change"),
        (asked[2]["key"], "", "reject"),
    ]
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    before = read_split(RunPaths(run).split(0))
    after = draw_split(read_clips(RunPaths(run).clips), SplitConfig(ratio=0.4, reviewed=str(path)), 0)
    assert set(after.keys("labelled")) == set(before.keys("labelled")) | {asked[0]["key"], asked[1]["key"]}
    assert set(before.keys("unlabelled")) - set(after.keys("unlabelled")) == {item["key"] for item in asked[:3]}
    assert read_config(run).split.reviewed == ""
