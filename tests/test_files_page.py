"""docs/files.md against the code: every file that a stage makes, every column, every name of a record."""

import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from finepseudo.methods.labelling import PSEUDO_LABEL_SCHEMA
from finepseudo.methods.table import METHODS
from finepseudo.run_folder import done, layout
from finepseudo.run_folder.layout import RunPaths
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.predict.tables import PREDICTED_SCHEMA
from jobs.pipeline.run_folder import LOCK
from jobs.pipeline.stages import votes
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from jobs.workers import embed, evaluate, labelling, score, similarity
from shards.annotations.base import CLIP_SCHEMA
from shards.splits.label_split import SPLIT_SCHEMA
from shards.storage.manifest import MANIFEST_SCHEMA, STORE
from shards.write.writer import QUARANTINE_SCHEMA

PAGE = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.S | re.M))
LASTING, _, PASSING = SECTIONS["Files"].partition("A part has its hash")
SCHEMAS = {
    "data/clips.parquet": CLIP_SCHEMA,
    "data/quarantine.parquet": QUARANTINE_SCHEMA,
    "data/shards/manifest.parquet": MANIFEST_SCHEMA,
    "split.parquet": SPLIT_SCHEMA,
    "embeddings/part-*.parquet": embed.SCHEMA,
    "scores/part-*.parquet": score.SCHEMA,
    "similarity/part-*.parquet": similarity.SCHEMA,
    "pseudo_labels.parquet": PSEUDO_LABEL_SCHEMA,
    "accepted.parquet": labelling.ACCEPTED_SCHEMA,
    "predictions.parquet": evaluate.PREDICTION_SCHEMA,
    "predict --out x.parquet": PREDICTED_SCHEMA,
    "votes.parquet": votes.SCHEMA,
}
OUTSIDE_STAGES = {
    "config.yaml",
    "environment.json",
    "forced.json",
    "metrics.jsonl",
    "tensorboard",
    "wandb",
    "mlflow.db",
    "STOP",
    LOCK,
    "submitit",
    "tune",
    "export",
    layout.REVIEW,
    "phases.json",
    *(f"compare.{ending}" for ending in ("csv", "md", "tex", "html")),
    done.DONE,
    done.STARTED,
    *(f"data/shards/shard-*.{ending}" for ending in ("tar", "idx", "json")),
    f"data/shards/{STORE}",
    "data/videos",
    "features",
    f"seed-<seed>/<method>/round-<nn>/{layout.PSEUDO_LABELS_CSV}",
}
"""What is no output of a stage: made by the commands themselves, or the user's to edit."""


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def word(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return f"({', '.join(f'{field.name} {word(field.type)}' for field in kind)})"
    if pa.types.is_list(kind):
        return f"list of {word(kind.value_type)}"
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Stages of two rounds of every method, and the run folder they work in."""
    made = replace(
        load("smoke", ["rounds=2", "split.reviewed=x.csv"]),
        methods=tuple(METHODS),
        out=str(tmp_path_factory.mktemp("out")),
    )
    run = Run(made, Reporter(made.folder, tensorboard=False))
    return made.folder, [stage for group in make_plan(run) for stage in group]


def general(path: str) -> str:
    """Put the placeholders of the page into a path of seed 0."""
    path = re.sub(rf"^seed-0/({'|'.join(METHODS)})/", "seed-<seed>/<method>/", path)
    path = re.sub(r"^seed-0/", "seed-<seed>/", path)
    return re.sub(r"(<method>)/round-\d\d/", r"\1/round-<nn>/", path)


def undescribed(folder: Path) -> list[str]:
    """List the files of a run folder that the page does not know; below a folder that it names all are known."""
    names = [path for path, *_ in rows(LASTING)]
    hidden = [re.sub(r"part-\*\.parquet$", ".part-*.parquet.sha256", name) for name in names if "part-" in name]
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    stray = [path for path in found if not path.endswith((done.DONE, layout.LOG))]
    folders = [f"{name}/" for name in ("tensorboard", "wandb", "submitit", "tune", "export", "data/videos")]
    known = [re.compile(re.escape(general(name)).replace(r"\*", "[^/]*")) for name in [*names, *hidden]]
    left = [path for path in stray if not path.startswith(tuple(folders))]
    return [path for path in left if not any(pattern.fullmatch(general(path)) for pattern in known)]


def test_every_file_of_every_stage_is_described_and_no_other(stages):
    folder, plan = stages
    made = {
        general((stage.folder / name).relative_to(folder).as_posix()) for stage in plan for name in stage.outputs
    } | {"data/shards"}
    assert {path for path, *_ in rows(LASTING)} == made | OUTSIDE_STAGES


def test_what_a_stage_leaves_besides_is_described(stages):
    left = {name for stage in stages[1] for name in stage.scratch} - {"shards"}
    assert {name for name, *_ in rows(PASSING)} == left


def test_every_name_of_the_layout_is_on_the_page():
    names = {value for key, value in vars(layout).items() if key.isupper() and isinstance(value, str)}
    run = RunPaths(Path())
    names |= {
        getattr(run, name).name
        for name, kind in vars(RunPaths).items()
        if isinstance(kind, property) and name != "data"
    }
    described = {part for path in re.findall(r"`([^`\n]+)`", PAGE) for part in path.split("/")}
    assert names - described == set()


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_columns_are_those_of_the_code(name):
    told = [(column, kind) for column, kind, _ in rows(SECTIONS[name])]
    assert told == [(field.name, word(field.type)) for field in SCHEMAS[name]]


def test_every_table_of_columns_belongs_to_a_schema():
    assert {name for name in SECTIONS if name.endswith(".parquet")} == set(SCHEMAS)


def test_the_names_of_a_record_are_those_that_are_written(tmp_path):
    (tmp_path / "made.txt").write_text("made")
    stage = done.Identity(kind="data", folder=tmp_path, config={"a": 1}, inputs={}, outputs=("made.txt",))
    done.finish(stage, wall_s=1, code_version="x")
    written = done._read_record(stage.record)
    assert [name for name, *_ in rows(SECTIONS["DONE.json"])] == list(written)
