"""The comparison: its numbers against numpy written another way, what is blank, what pairs, and the files of it."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.methods.table import METHODS
from finepseudo.report.comparison import Result, compare, remarks
from finepseudo.report.comparison_files import write_comparison
from finepseudo.report.comparison_page import as_csv, beside_results, cells, comparison_of, latex, markdown, part
from finepseudo.report.comparison_reading import read_results
from finepseudo.report.published import beside, read_published
from finepseudo.report.reading import read_run
from shards.errors import UserError
from tests.finepseudo.report.run_folder_fixture import write_run_folder

SMALL = {"n_classes": 4, "per_class": (2, 5, 3), "frames": 8, "steps": 8}
NAMES = ("supervised", "fixmatch", "sefar")


def result(method, seed, top1, *, variant="", draw=None, protocol="p", **more):
    draw = f"draw {seed}" if draw is None else draw
    known = {"title": method, "mean_class": top1, **more}
    return Result(method=method, variant=variant, seed=seed, draw=draw, protocol=protocol, top1=top1, **known)


fractions = st.sampled_from([None, 0.0, 0.25, 0.75])  # few, so that equal ones meet
places = [(name, seed) for name in NAMES for seed in range(5)]
tables = st.fixed_dictionaries({}, optional=dict.fromkeys(places, fractions))


def results_of(table):
    return [result(method, seed, top1) for (method, seed), top1 in table.items()]


@given(tables)
def test_means_spreads_and_paired_differences_are_those_of_a_matrix(table):
    """The oracle: a matrix [method, seed] with NaN for what is not known."""
    matrix = np.full((3, 5), np.nan)
    for (method, seed), top1 in table.items():
        matrix[NAMES.index(method), seed] = np.nan if top1 is None else top1
    for row in compare(results_of(table), "supervised"):
        mine = matrix[NAMES.index(row.method)]
        known = mine[~np.isnan(mine)]
        assert row.top1.mean == (pytest.approx(np.mean(known)) if known.size else None)
        assert row.top1.std == (pytest.approx(np.std(known, ddof=1)) if known.size > 1 else None)
        gap = mine - matrix[0] if row.method != "supervised" else np.full(5, np.nan)
        seeds = np.flatnonzero(~np.isnan(gap))
        assert [seed for seed, _ in row.gains] == seeds.tolist()
        assert [value for _, value in row.gains] == pytest.approx(gap[seeds].tolist())
        assert row.signs == tuple(int(np.nansum(np.sign(gap) == sign)) for sign in (1, -1, 0))


@given(tables, st.randoms())
def test_the_order_of_the_results_does_not_change_a_row(table, random):
    results = results_of(table)
    mixed = random.sample(results, len(results))
    by_name = {row.method: row for row in compare(mixed, "supervised")}
    assert by_name == {row.method: row for row in compare(results, "supervised")}


@given(tables, st.integers(-20, 20))
def test_differences_do_not_see_what_is_added_to_all_methods(table, shift):
    moved = {key: None if top1 is None else top1 + shift / 4 for key, top1 in table.items()}
    for one, other in zip(*(compare(results_of(t), "supervised") for t in (table, moved)), strict=True):
        assert [v for _, v in one.gains] == pytest.approx([v for _, v in other.gains], abs=1e-9)


@pytest.mark.parametrize("change", [{"draw": "another"}, {"protocol": "another"}])
def test_nothing_is_paired_across_labels_or_settings(change):
    rows = compare([result("supervised", 0, 0.5), result("sefar", 0, 0.7, **change)], "supervised")
    assert rows[1].gains == ()
    said = "Gains, where supervised was tested on the same labels and settings: sefar on 0 of 1 seeds."
    assert said in list(remarks(rows, "supervised"))


def test_of_several_references_the_one_with_default_keys_counts():
    long = result("supervised", 0, 0.9, variant="epochs=5", plain=False)
    some = [long, result("supervised", 0, 0.5), result("sefar", 0, 0.75)]
    for order in itertools.permutations(some):
        rows = {(row.method, row.variant): row.gain.mean for row in compare(order, "supervised")}
        assert rows == {("supervised", "epochs=5"): 0.4, ("supervised", ""): None, ("sefar", ""): 0.25}
    assert compare([long, some[2]], "supervised")[1].gain.mean == pytest.approx(-0.15), "where there is no other"


def test_the_reference_makes_no_labels_and_lacks_none():
    known = {"steps": 3, "clips": 3, "hours": 3}
    rows = compare([result("supervised", 0, 0.5, **known)], "supervised")
    assert list(remarks(rows, "supervised")) == []


def test_what_is_blank_is_said():
    rows = compare([result("sefar", 0, None), result("sefar", 1, 0.5, coverage=0.2, steps=3)], "supervised")
    said = list(remarks(rows, "supervised"))
    assert said == [
        "No gains: supervised did not run.",
        "Tested so far: sefar on 1 of 2 seeds.",
        "Precision and coverage, where pseudo-labels are written to a file: sefar on 1 of 2 seeds.",
        "Steps, where the log tells them: sefar on 1 of 2 seeds.",
        "Clips, where the log tells them: sefar on 0 of 2 seeds.",
        "Hours, where trainings left a record of their time: sefar on 0 of 2 seeds.",
        "Precision, where labels were accepted and the classes of the pool are known: sefar on 0 of 2 seeds.",
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with what this table reads beside the fixture's files: resources, device, clips and lengths in the log."""
    root = write_run_folder(tmp_path_factory.mktemp("runs") / "one", seeds=(0, 1), **SMALL)
    change(root, resources={"workers": 2, "cpus_per_worker": 3}, evaluate={"views": 1}, action_stage={"lr": 0.1})
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if "train/lr" in line:
            line["data/clips"] = 7 * line["step"]
    (root / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def change(root, **values):
    config = yaml.safe_load((root / "config.yaml").read_text()) | values
    (root / "config.yaml").write_text(yaml.safe_dump(config))


def copy_of(folder, root, seeds=(0, 1), **values):
    write_run_folder(root, seeds=seeds, **SMALL)
    change(root, **{key: yaml.safe_load((folder / "config.yaml").read_text())[key] for key in ("evaluate",)}, **values)
    return root


def table_of(*folders):
    found = comparison_of([read_run(folder) for folder in folders])
    return found, {row["method"] + row["variant"]: row for row in csv.DictReader(io.StringIO(as_csv(found)))}


def test_a_run_is_read_as_its_files_say(folder):
    _, rows = table_of(folder)
    for name, row in rows.items():
        metrics = [json.loads((folder / f"seed-{s}/{name}/evaluation/metrics.json").read_text()) for s in (0, 1)]
        assert float(row["top1_mean"]) == pytest.approx(np.mean([m["top1"] for m in metrics]))
        assert float(row["mean_class_std"]) == pytest.approx(np.std([m["mean_class"] for m in metrics], ddof=1))
    labels = [json.loads((folder / f"seed-{s}/finepseudo/round-01/pseudo_metrics.json").read_text()) for s in (0, 1)]
    assert float(rows["finepseudo"]["coverage_mean"]) == pytest.approx(np.mean([m["coverage"] for m in labels]))
    assert rows["supervised"]["coverage_mean"] == ""
    steps = {name: (float(row["steps_mean"]), float(row["other_steps_mean"])) for name, row in rows.items()}
    assert steps == {"supervised": (8, 0), "pseudo_label": (16, 8), "finepseudo": (16, 24)}
    assert float(rows["finepseudo"]["clips_mean"]) == 7 * 16
    # the fixture's trainings: pretrain 40.25, two in round 0 of 20.5, two in round 1 of 15.75; a seed adds 1 to each
    seconds = [40.25 + 2 * 20.5 + 2 * 15.75 + 5 * seed for seed in (0, 1)]
    assert float(rows["finepseudo"]["hours_mean"]) == pytest.approx(np.mean(seconds) * 6 / 3600)
    assert rows["finepseudo"]["device"] == "CPU"


def test_workers_that_were_left_open_count_as_they_were(folder, tmp_path):
    root = copy_of(folder, tmp_path / "auto", resources={"workers": "auto", "cpus_per_worker": 3})
    told = json.loads((root / "environment.json").read_text())
    (root / "environment.json").write_text(json.dumps(told | {"workers": 8}))
    one, other = (float(table_of(place)[1]["finepseudo"]["hours_mean"]) for place in (folder, root))
    assert other == pytest.approx(4 * one)


def test_a_pre_training_that_all_draws_share_counts_for_each(folder, tmp_path):
    root = tmp_path / "shared"
    shutil.copytree(folder, root)
    shutil.move(root / "seed-0" / "pretrain", root / "pretrain")
    shutil.rmtree(root / "seed-1" / "pretrain")
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    kept = [line for line in lines if line["stage"] != "pretrain" or line["seed"] == 0]
    (root / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    one, other = (table_of(place)[1]["finepseudo"] for place in (folder, root))
    assert (other["other_steps_mean"], other["other_steps_std"]) == (one["other_steps_mean"], "0.0")
    less = 6 / 3600 / 2  # the fixture's own pre-training of seed 1 took a second longer
    assert float(other["hours_mean"]) == pytest.approx(float(one["hours_mean"]) - less)


def test_equal_settings_make_one_row_of_several_runs(folder, tmp_path):
    other = copy_of(folder, tmp_path / "two", seeds=(2,))
    one = copy_of(folder, tmp_path / "three", seeds=(0, 1))
    _, rows = table_of(one, other)
    assert {name: row["seeds"] for name, row in rows.items()} == dict.fromkeys(rows, "0 1 2")
    assert len(rows) == 3


def test_other_settings_make_a_variant_with_its_own_reference(folder, tmp_path):
    base = copy_of(folder, tmp_path / "base")
    keys = copy_of(folder, tmp_path / "keys", method={"finepseudo": {"tau": 0.2, "theta": 0.5, "fuse": "mean"}})
    longer = copy_of(folder, tmp_path / "longer", rounds=5)
    found, rows = table_of(base, keys)
    assert {"finepseudotau=0.1", "finepseudotau=0.2"} < set(rows)
    assert "supervisedbase" in rows, "the same once more is a row of its own, named by its folder"
    found, rows = table_of(base, longer)
    assert {"supervisedrounds=2", "supervisedrounds=5", "finepseudorounds=5"} < set(rows)
    assert all(len(row.gains) == 2 for row in found.rows if row.method != "supervised")


def test_runs_that_differ_in_many_keys_are_named_by_their_folders(folder, tmp_path):
    many = {"rounds": 5, "action_stage": {"lr": 0.2, "batch": 4, "decay": 0.1}}
    one, two, three = (tmp_path / name for name in ("one/mine", "two/mine", "three"))
    for root, values in ((one, {}), (two, many), (three, many | {"rounds": 6})):
        root.parent.mkdir(exist_ok=True)
        copy_of(folder, root, **values)
    for runs, names in (((one, three), ("mine", "three")), ((one, two), (str(one), str(two)))):
        variants = [row.variant for row in table_of(*runs)[0].rows if row.method == "supervised"]
        assert variants == [f"{name}, 4 keys differ" for name in names]


def test_supervised_by_epochs_is_compared_with_supervised_by_steps(folder, tmp_path):
    runs = [
        copy_of(folder, tmp_path / name, method={"supervised": {"epochs": epochs}, "finepseudo": {"tau": 0.1}})
        for name, epochs in (("epochs", 5), ("steps", None))
    ]
    found, rows = table_of(*runs)
    assert {name for name in rows if name.startswith("supervised")} == {"supervisedepochs=5", "supervisedepochs=null"}
    gains = {row.method + row.variant: len(row.gains) for row in found.rows}
    assert (gains["supervisedepochs=5"], gains["supervisedepochs=null"]) == (2, 0)


def test_a_run_that_is_named_twice_counts_once(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert table_of(folder, tmp_path / "link")[1] == table_of(folder)[1]


def test_a_method_that_is_not_tested_is_a_row_of_blanks(tmp_path):
    root = write_run_folder(tmp_path / "run", seeds=(0,), **SMALL)
    (root / "seed-0/finepseudo/evaluation/metrics.json").unlink()
    found, rows = table_of(root)
    assert rows["finepseudo"]["top1_mean"] == rows["finepseudo"]["gain_mean"] == rows["finepseudo"]["steps_mean"] == ""
    assert "Tested so far: FinePseudo on 0 of 1 seeds." in found.notes


def called(root, dataset):
    """Give the data of a run the name of a published data set."""
    clips = pq.read_table(root / "data/clips.parquet")
    about = json.loads(clips.schema.metadata[b"finepseudo"]) | {"dataset": dataset}
    pq.write_table(clips.replace_schema_metadata({"finepseudo": json.dumps(about)}), root / "data/clips.parquet")


def test_published_numbers_stand_apart_and_have_sources(tmp_path):
    root = write_run_folder(tmp_path / "run", seeds=(0,), **SMALL)
    called(root, "diving48")
    found, rows = table_of(root)
    (column,) = [name for name in rows["finepseudo"] if "other protocol" in name]
    assert column.startswith("diving48 20 %"), "the split of the run has 20 % of the labels"
    assert "60.4 (R(2+1)D-18 from TCLR)" in rows["finepseudo"][column]
    assert "Columns marked `other protocol`" in found.notes[-1] and "FinePseudo (ECCV 2024), Table 1" in found.notes[-1]


def test_a_report_shows_what_the_comparison_knows_beside_its_own_table(folder, tmp_path):
    """What each method took; of one run without published numbers that is all."""
    (fold,) = beside_results(read_run(folder))
    head, body = cells(comparison_of([read_run(folder)]))
    columns = [head.index(name) for name in ("Method", "#Steps", "#Other steps", "#Clips", "#Hours")]
    assert fold.blocks[0].rows == [[row[place] or "–" for place in columns] for row in body]
    assert fold.blocks[0].rows[0][2] == "0" and len(fold.blocks) == 1, "nothing is blank"
    root = write_run_folder(tmp_path / "run", seeds=(0,), **SMALL)
    called(root, "diving48")
    took, published = beside_results(read_run(root))
    assert took.blocks[1].text.startswith("Clips, where the log tells them: Supervised only on 0 of 1 seeds")
    (mine,) = [row for row in published.blocks[0].rows if row[0] == "FinePseudo"]
    assert mine[1] == f"{100 * read_run(root).seeds[0].methods['finepseudo'].metrics['top1']:.1f}"
    assert "60.4 (R(2+1)D-18 from TCLR)" in mine[2]
    assert "FinePseudo (ECCV 2024), Table 1" in published.blocks[0].caption


def test_the_published_numbers_are_whole():
    numbers = read_published()
    places = [(n.dataset, n.labels_percent, n.method, n.backbone, n.source) for n in numbers]
    assert len(set(places)) == len(places)
    assert all(0 < n.top1 < 100 and 0 < n.labels_percent <= 60 and n.backbone and n.source for n in numbers)
    assert {"supervised", "pseudo_label", "ups", "svformer", "sefar", "finepseudo"} <= {n.method for n in numbers}
    assert {n.method for n in numbers} - set(METHODS) <= {"actor_cutmix", "cmpl", "tg_fixmatch", "timebalance"}
    # by hand from the papers' tables
    by_hand = {("diving48", 10, "finepseudo", 37.6), ("finegym-gym288", 20, "timebalance", 68.6)}
    by_hand |= {("finegym-gym99", 5, "sefar", 39.0), ("kinetics400", 10, "cmpl", 58.4), ("ssv2", 5, "fixmatch", 21.7)}
    assert by_hand <= {(n.dataset, n.labels_percent, n.method, n.top1) for n in numbers}


def test_where_a_share_of_labels_was_not_published_all_are_shown():
    numbers = read_published()
    assert {n.labels_percent for n in beside(numbers, ["diving48"], 0.07)} == {5, 10, 20}
    assert {n.labels_percent for n in beside(numbers, ["diving48"], 0.1)} == {10}
    assert beside(numbers, ["mine"], 0.1) == []


def test_every_format_holds_the_same_cells(folder):
    found, _ = table_of(folder)
    head, body = cells(found)
    names = [name.removeprefix("#") for name in head]
    lines = [line for line in markdown(found).splitlines() if line.startswith("|")]
    assert [[cell.strip() for cell in line[1:-1].split("|")] for line in [lines[0], *lines[2:]]] == [names, *body]
    assert len({len(line) for line in lines}) == 1
    tex = latex(found)
    inner = tex[tex.index(r"\midrule") : tex.index(r"\bottomrule")].splitlines()[1:]
    texts = [[cell.replace(r"$\pm$", "±").strip() for cell in row[:-3].split(" & ")] for row in inner]
    assert texts == body
    assert part(found).blocks[0].rows == body


def test_latex_takes_every_character_that_a_variant_may_have():
    text = "a&b%c$d#e_f{g}h~i^j\\k|l<m>n"
    found, _ = table_of_rows([result("sefar", 0, 0.5, title=text)])
    (row,) = re.findall(r"\\midrule\n(.*)\n\\bottomrule", latex(found))
    assert row.count("&") == row.count(r"\&") + len(cells(found)[0]) - 1
    plain = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)\{\}|\$[<>|]\$|\\[&%$#_{}]|\\\\$", "", row)
    assert not set(plain) & set("%$#_{}~^\\|<>")
    assert r"k\|l" in markdown(found)


def table_of_rows(results):
    from finepseudo.report.comparison_page import Comparison

    return Comparison(rows=compare(results, "supervised"), published=[], notes=[]), None


def test_the_files_are_written_beside_each_other_and_again_the_same(folder, tmp_path):
    table, paths = write_comparison([folder], tmp_path / "new" / "table.v1")
    assert [path.name for path in paths] == ["table.v1.csv", "table.v1.md", "table.v1.tex", "table.v1.html"]
    before = [path.read_bytes() for path in paths]
    assert write_comparison([folder], tmp_path / "new" / "table.v1") == (table, paths)
    assert [path.read_bytes() for path in paths] == before
    assert "compare-methods" in paths[3].read_text()
    with pytest.raises(UserError, match="no folder"):
        write_comparison([tmp_path / "none"], tmp_path / "x")


def test_results_come_in_the_order_of_the_tables(folder):
    names = [r.method for r in read_results([read_run(folder)])]
    assert [name for name, _ in itertools.groupby(names)] == ["supervised", "pseudo_label", "finepseudo"]
