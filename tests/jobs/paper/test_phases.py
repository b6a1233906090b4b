"""The phase tasks of a pre-trained f_A on rendered dives: shards, split and weights are there, nothing is trained."""

import numpy as np
import pytest

from finepseudo.run_folder.done import DONE
from finepseudo.run_folder.files import read_json, write_json
from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.training.checkpoint import save_weights
from jobs.config.recipes import load
from jobs.paper import phases
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from jobs.workers import models


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    keys = [
        "data.synthetic.class_set=['F:S25t','F:SpT1']",
        "data.synthetic.train_per_class=2",
        "resources.write_tasks=0",
    ]
    keys += ["data.synthetic.test_per_class=2", "frame_input.sampling.frames=24", "split.ratio=0.5"]
    cfg = load("smoke", keys, {"out": str(tmp_path_factory.mktemp("runs"))})
    stages = [stage for group in make_plan(Run(cfg, Reporter(cfg.folder, tensorboard=False))) for stage in group]
    for stage in stages[:2]:
        stage.folder.mkdir(parents=True, exist_ok=True)
        stage.run()
    folder = RunPaths(cfg.folder).pretrain(None)
    folder.mkdir(parents=True)
    save_weights(folder / WEIGHTS, models.gitdl(cfg, 0).state_dict(), {})
    write_json(folder / DONE, {"outputs": {}})
    return cfg


def test_every_action_has_its_three_numbers_and_they_are_measured_once(pretrained, monkeypatch):
    path = phases.measure_phases(pretrained)
    found = read_json(path)
    assert set(found["actions"]) == {"F:S25t", "F:SpT1"}
    for numbers in found["actions"].values():
        assert 0 <= numbers["phase"] <= 1
        assert -1 <= numbers["tau"] <= 1
        assert numbers["progress"] <= 1
    assert found["mean"]["tau"] == pytest.approx(np.mean([n["tau"] for n in found["actions"].values()]))
    monkeypatch.setattr(phases, "embedded", None)  # not called again
    assert phases.measure_phases(pretrained) == path


def test_frames_are_those_that_were_seen_with_their_own_phases(pretrained):
    from shards.annotations import load_phases

    run = RunPaths(pretrained.folder)
    told = {row["key"]: row["phases"] for row in load_phases(phases.data_config(pretrained, run)).to_pylist()}
    videos = phases.embedded(pretrained, run, run.pretrain(None) / WEIGHTS, told)
    assert set(videos) == set(told)
    for key, video in videos.items():
        assert len(video.places) == min(24, len(told[key]))
        assert video.phases.tolist() == [told[key][place] for place in video.places]
        np.testing.assert_allclose(np.linalg.norm(video.embeddings, axis=1), 1, atol=1e-5)


def test_actions_without_a_number_count_for_no_mean():
    given = [{"phase": 0.5, "tau": None, "progress": None}, {"phase": 1.0, "tau": 0.25, "progress": None}]
    assert phases.means(given) == {"phase": 0.75, "tau": 0.25, "progress": None}
