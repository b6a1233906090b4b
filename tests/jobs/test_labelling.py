"""Tables between the jobs."""

from jobs.config import load
from jobs.labelling import read_truth
from jobs.progress import Reporter
from jobs.stages import Stages
from shards.annotations.base import write_clips
from shards.open_world import OpenWorldConfig, open_world
from tests.shards.helpers import make

ROWS = [(f"c{label}_{i}", label, "test" if i == 3 else "train", "") for label in range(3) for i in range(4)]


def test_an_open_world_has_outputs_for_its_known_classes_alone(tmp_path):
    opened = open_world(make(ROWS), OpenWorldConfig(known=2))
    cfg = load("smoke", [f"out={tmp_path}"])
    stages = Stages(cfg, Reporter(cfg.folder, tensorboard=False))
    stages.paths.clips.parent.mkdir(parents=True)
    write_clips(stages.paths.clips, opened)
    truth, classes = read_truth(stages.paths.clips)
    assert (stages.n_classes(), classes) == (2, opened.classes[:2])
    assert sorted(set(truth.values())) == [0, 1, 2]
    write_clips(stages.paths.clips, make(ROWS))
    assert stages.n_classes() == 3
