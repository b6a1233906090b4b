"""An exported run answers as the run does, from a folder and a Python that do not have this package."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.training.checkpoint import load_weights
from jobs.cli.main import main
from jobs.pipeline.export import models
from jobs.pipeline.export.loader import chosen
from jobs.pipeline.predict import predict_video
from jobs.pipeline.run_folder import read_config
from shards.errors import UserError
from shards.read.config import SamplingConfig
from shards.read.sampling import frame_indices
from shards.write.normalise import normalise
from tests.shards.make_clips import write_numbered
from tests.small_run import write_small_run

ROOT = Path(__file__).parents[4]
ALONE = """
import runpy, sys
import numpy as np
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("finepseudo", "shards", "jobs"):
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
sys.argv = ["load.py", "video.npy"]
made = runpy.run_path("load.py", run_name="__main__")
np.save("p.npy", made["classify"](np.load("video.npy")).numpy())
np.save("embeddings.npy", made["load"]("frame_encoder")(made["prepare"](np.load("video.npy"), "frame_encoder")).numpy())
assert not {"finepseudo", "shards", "jobs"} & {name.partition(".")[0] for name in sys.modules}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A small run, a video, and what was exported, moved to a folder of its own."""
    folder = tmp_path_factory.mktemp("export")
    write_numbered(folder / "dive.mp4", 24)
    run = write_small_run(folder / "runs" / "small")
    assert main(["export", str(run), "--out", str(folder / "out")]) == 0
    shutil.move(folder / "out", folder / "elsewhere")
    return folder


def stored_frames(path):
    """Every frame of a video as its shard would hold it: uint8 RGB [N, H, W, 3]."""
    with av.open(io.BytesIO(normalise("video", path).data)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_it_answers_as_the_run_without_this_package(place):
    np.save(place / "elsewhere" / "video.npy", stored_frames(place / "dive.mp4"))
    line = [sys.executable, "-I", "-W", "error::ImportWarning", "-c", ALONE]
    done = subprocess.run(line, cwd=place / "elsewhere", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = predict_video(place / "runs" / "small", place / "dive.mp4", top=1)
    assert np.load(place / "elsewhere" / "p.npy") == pytest.approx(expected.p.numpy(), abs=1e-4)
    name, p = done.stdout.splitlines()[0].split("\t")
    assert (name, float(p)) == (expected.classes[0].name, pytest.approx(expected.classes[0].probability, abs=1e-4))
    embedded = np.load(place / "elsewhere" / "embeddings.npy")
    assert np.linalg.norm(embedded, axis=-1) == pytest.approx(1, abs=1e-4)


def test_weights_and_what_they_are_stand_beside_the_program(place):
    run, out = RunPaths(place / "runs" / "small"), place / "elsewhere"
    stored = load_weights(run.action_encoder(0, "finepseudo", 1) / WEIGHTS, "encoder.")
    found = load_file(out / "action_encoder.safetensors")
    assert found.keys() == stored.keys()
    assert all(torch.equal(found[name], value) for name, value in stored.items())
    about = json.loads((out / "config.json").read_text())
    assert (about["method"], about["seed"], about["round"]) == ("finepseudo", 0, 1)
    assert set(about["encoders"]) == {"action_encoder", "frame_encoder"}
    assert len(json.loads((out / "classes.json").read_text())) == 4
    look = read_config(run.root).test_input()
    assert json.loads((out / "preprocessing.json").read_text())["action_encoder"]["size"] == look.augment.size


def test_every_file_is_described(place):
    section = (ROOT / "docs" / "files.md").read_text().partition("## export")[2].partition("\n## ")[0]
    names = re.findall(r"^\| `([^`]+)`", section, re.M)
    written = {path.name for path in (place / "elsewhere").iterdir() if path.suffix != ".npy"}
    onnx = {name for name in names if name.endswith(".onnx")}
    assert written | onnx == set(names)


@pytest.mark.parametrize("policy", ["uniform", "views"])
@pytest.mark.parametrize(("frames", "stride", "views"), [(8, 2, 3), (4, 1, 1), (1, 1, 2)])
def test_the_loader_takes_the_frames_of_the_run(policy, frames, stride, views):
    cfg = SamplingConfig(policy=policy, frames=frames, stride=stride, views=views)
    for n in (1, 3, 7, 8, 15, 16, 40, 101):
        found = chosen(n, views=views, frames=frames, policy=policy, stride=stride)
        np.testing.assert_array_equal(found, frame_indices(n, cfg, None))


def test_without_the_packages_of_onnx_one_line_says_so(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models, "ONNX_PACKAGES", ("onnx", "no_such_package"))
    assert (
        main(["export", str(place / "runs" / "small"), "--out", str(tmp_path / "out"), "--method", "supervised"]) == 0
    )
    said = capsys.readouterr().out
    assert said.count("no ONNX: ") == 1
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".py", ".pt2", ".safetensors"}
    assert not (tmp_path / "out" / "frame_encoder.pt2").exists(), "supervised has no f_A"


def test_with_them_there_is_a_file_that_any_batch_goes_through(place):
    if not models.can_onnx():
        pytest.skip(models.NO_ONNX)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(place / "elsewhere" / "action_encoder.onnx"))
    shape = json.loads((place / "elsewhere" / "config.json").read_text())["encoders"]["action_encoder"]["input"][1:]
    program = torch.export.load(place / "elsewhere" / "action_encoder.pt2").module()
    for batch in (1, 3):
        frames = torch.randn(batch, *shape)
        (found,) = session.run(None, {session.get_inputs()[0].name: frames.numpy()})
        assert found == pytest.approx(program(frames).detach().numpy(), abs=1e-4)


def test_a_folder_that_cannot_take_every_file_gets_none(place, tmp_path, capsys):
    (tmp_path / "old" / "load.py").mkdir(parents=True)
    run = str(place / "runs" / "small")
    assert main(["export", run, "--method", "supervised", "--out", str(tmp_path / "old")]) == 2
    assert "load.py: it is a folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["load.py"]
    assert main(["export", run, "--seed", "7"]) == 2
    assert "no seed 7; it has 0" in capsys.readouterr().err


def test_a_program_that_answers_otherwise_is_not_written(place, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "TOLERANCE", -1.0)
    run = RunPaths(place / "runs" / "small")
    with pytest.raises(UserError, match=r"action_encoder\.pt2: answers .* from its network"):
        models.export_run(read_config(run.root), run, tmp_path / "out", seed=None, method=None)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "export: runs/nowhere: no such run; runs holds small; "),
        (["features", "runs/small"], "give a run and videos"),
        (["runs/small", "more"], "one run at a time"),
    ],
)
def test_what_cannot_be_done_is_one_line(place, monkeypatch, capsys, words, said):
    monkeypatch.chdir(place)
    assert main(["export", *words]) == 2
    assert said in capsys.readouterr().err
