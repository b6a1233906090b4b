"""The tables: every one loads, its rows are runs at both sizes, and its numbers agree with the other file's."""

import csv

import pytest

from finepseudo.methods.table import METHODS
from finepseudo.report.published import NUMBERS
from finepseudo.run_folder.layout import RunPaths
from jobs.paper.cells import Size, runs_of
from jobs.paper.measures import MEASURES, measure
from jobs.paper.phases import FILE
from jobs.paper.table import PaperTable, read_table, read_table_file, table_names
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from shards.errors import UserError

OTHER_FILE = {"table01": "FinePseudo (ECCV 2024), Table 1", "table02": "FinePseudo (ECCV 2024), Table 2"}
OTHER_FILE |= {f"table{n}": f"FinePseudo (ECCV 2024), Table {n}" for n in (10, 12)}
DATASETS = {"Diving48": "diving48", "Gym99": "finegym-gym99", "Gym288": "finegym-gym288", "FineDiving": "finediving"}
DATASETS |= {"Kinetics-400": "kinetics400", "SSv2": "ssv2"}
DATASETS |= {"VT": "finegym-VT", "FX": "finegym-FX", "UB-S1": "finegym-UB_S1", "FX-S1": "finegym-FX_S1"}


@pytest.mark.parametrize("name", table_names())
def test_every_table_is_whole(name):
    table = read_table(name)
    for parts in (table.columns, table.rows):
        assert len({part.name for part in parts}) == len(parts)
    for row in table.rows:
        assert row.method in METHODS or (not row.method and row.published), row.name
        assert {table.measure(row, column) for column in table.columns} <= set(MEASURES)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("name", table_names())
def test_every_cell_of_ours_lies_in_one_run_that_trains_its_method(name, small):
    table = read_table(name)
    runs = runs_of(table, Size(small=small, seeds=(0,)))
    assert len({run.cfg.name for run in runs}) == len(runs)
    filled = [(row.name, column.name) for run in runs for row, column in run.cells]
    wanted = [(r.name, c.name) for r in table.rows for c in table.columns if table.is_run(r, c, small=small)]
    assert sorted(filled) == sorted(wanted)
    assert all(row.method in run.cfg.methods for run in runs for row, _ in run.cells)
    assert all((run.cfg.data.name == "synthetic_diving") == small for run in runs)
    unread = [cell for run in runs for cell in unread_cells(table, run)]
    assert sorted(unread) == (WITHOUT_LABELS if name == "table04" else []), "a stage of the run makes what a cell reads"


WITHOUT_LABELS = [
    (row, f"{column}, {percent} %")
    for row in ("Supervised", "TimeBalance")
    for column in ("Novel accepted %", "PL precision %")
    for percent in (10, 20)
]


def unread_cells(table, run):
    """List the cells of a run whose file no stage of it makes."""
    with Reporter(run.cfg.folder, tensorboard=False) as reporter:
        stages = [stage for group in make_plan(Run(run.cfg, reporter)) for stage in group]
    made = {stage.folder / name for stage in stages for name in stage.outputs} | {run.cfg.folder / FILE}
    for row, column in run.cells:
        files = {measure(table.measure(row, column)).file(RunPaths(run.cfg.folder), s, row.method) for s in run.draws}
        if (column.until == "pretrain") != (files == {run.cfg.folder / FILE}) or not files <= made:
            yield row.name, column.name


@pytest.mark.parametrize(("name", "source"), OTHER_FILE.items())
def test_numbers_agree_with_those_beside_comparisons(name, source):
    """Two files hold them, in the order of two uses: this one by table, the other by data set."""
    table = read_table(name)
    ours = {}
    for row in table.rows:
        for column in table.columns if row.method else ():
            *words, percent, _ = column.name.split()
            dataset = DATASETS[" ".join(words) or "Diving48"]
            ours[dataset, float(percent), row.method] = table.published(row, column)
    with NUMBERS.open() as stream:
        others = [row for row in csv.DictReader(stream) if row["source"] == source]
    assert others
    for row in others:
        key = row["dataset"], float(row["labels_percent"]), row["method"]
        assert ours[key] == pytest.approx(float(row["top1"]), abs=0.051), key


def test_a_table_that_is_none_is_answered_with_all(tmp_path):
    with pytest.raises(UserError, match=r"no table is called table99; there are .*sefar_table1.*table01"):
        read_table("table99")
    with pytest.raises(UserError, match="no table is called tabel6;"):
        read_table("tabel6")
    assert {read_table(name).name for name in ("table6", "table06", "Table6")} == {"table06"}


def test_numbers_that_do_not_fit_the_columns_are_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("{title: t, source: s, columns: [{name: a}, {name: b}], rows: [{name: r, published: [1]}]}")
    with pytest.raises(UserError, match="mine: row 'r' has 1 published numbers for 2 columns; write null"):
        read_table_file(path)


def mine(**more) -> PaperTable:
    """Two rows of one run, one that differs, one of the paper alone; two columns that are small the same."""
    from jobs.config.build import build

    columns = [{"name": "5 %", "full": {"split.ratio": 0.05}}, {"name": "10 %", "full": {"split.ratio": 0.1}}]
    rows = [
        {"name": "a", "method": "supervised"},
        {"name": "b", "method": "pseudo_label", "published": [1.5, None]},
        {"name": "c", "method": "supervised", "keys": {"rounds": 3}},
        {"name": "d", "published": [2, 3]},
    ]
    values = {"title": "t", "source": "s", "recipe": "diving48", "columns": columns, "rows": rows, "name": "mine"}
    return build(PaperTable, values | more)


@pytest.mark.parametrize(
    ("small", "names"),
    [
        (False, {"5-percent": "supervised pseudo_label", "5-percent-c": "supervised", "10-percent": "supervised",
                 "10-percent-c": "supervised"}),
        (True, {"5-percent": "supervised pseudo_label", "5-percent-c": "supervised"}),
    ],
)  # fmt: skip
def test_cells_with_equal_keys_are_methods_of_one_run(small, names):
    runs = runs_of(mine(), Size(small=small))
    assert {run.cfg.name: " ".join(run.cfg.methods) for run in runs} == names
    assert {run.cfg.folder.parent.as_posix() for run in runs} == {f"runs/paper{'-synthetic' * small}/mine"}


def test_keys_of_the_command_line_leave_what_tells_rows_apart():
    size = Size.of(["split.ratio=0.5", "rounds=1", "out=/scratch"], small=False, seeds=[7])
    runs = {run.cfg.name: run.cfg for run in runs_of(mine(), size)}
    assert [runs[name].split.ratio for name in ("5-percent", "10-percent")] == [0.05, 0.1]
    assert (runs["5-percent"].rounds, runs["5-percent-c"].rounds) == (1, 3)
    assert {cfg.seeds for cfg in runs.values()} == {(7,)}
    assert runs["5-percent"].folder.as_posix() == "/scratch/paper/mine/5-percent"
    for key in ("name=x", "methods=[sefar]"):
        with pytest.raises(UserError, match=f"{key.split('=')[0]}=.*the table says that itself"):
            Size.of([key], small=False)


@pytest.mark.parametrize(("words", "found"), [([], 4), (["10 %"], 2), (["C"], 2), (["5 %", "c"], 3), (["z"], 0)])
def test_words_choose_the_runs_of_rows_and_columns(words, found):
    assert sum(run.has(words) for run in runs_of(mine(), Size())) == found
