"""What all stages share: names, marks, and that a plan's identities are plain values that JSON can hold."""

import json
from pathlib import Path

import pytest

from finepseudo.methods.table import METHODS
from jobs.config.recipes import load
from jobs.config.run import SILENT
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.base import Run, name_of, numbered, tags_of, weights_file
from jobs.progress import Reporter


@pytest.fixture(scope="module")
def stages():
    cfg = load("smoke", ["out=/nowhere", f"methods=[{', '.join(METHODS)}]", "rounds=2"])
    run = Run(cfg, Reporter(Path(cfg.folder), tensorboard=False))
    return [stage for group in make_plan(run) for stage in group]


def test_every_identity_is_plain_and_without_keys_that_change_no_result(stages):
    for stage in stages:
        config = dict(stage.identity.config)
        assert json.loads(json.dumps(config)) == config, stage.name
        assert not {key for key in config if key.rpartition(".")[2] in SILENT}, stage.name
        assert not {key for key in config if key.startswith("resources.")}, stage.name


def test_names_tell_stages_apart_and_marks_tell_their_lines(stages):
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names)
    marks = [tuple(stage.tags.items()) for stage in stages if stage.tags]
    assert len(set(marks)) == len(marks)


def test_files_of_one_name_are_two_inputs():
    files = [Path("a/list.txt"), Path("b/list.txt")]
    assert numbered(files) == {"0 list.txt": files[0], "1 list.txt": files[1]}
    assert weights_file("w", None) == {}
    assert weights_file("w", files[0]) == {"w": files[0]}


def test_what_all_methods_share_has_no_method():
    assert name_of(None) is None
    assert tags_of("scores", 3, None, 0) == {"seed": 3, "method": None, "round": 0, "stage": "scores"}
    assert tags_of("scores", 3, METHODS["ups"], 1)["method"] == name_of(METHODS["ups"]) == "ups"
