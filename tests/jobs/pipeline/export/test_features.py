"""Features as files: the two forms agree, the class layer on them gives the run's answer, bad videos are left out."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open

from finepseudo.run_folder.layout import WEIGHTS, RunPaths
from finepseudo.training.checkpoint import load_weights
from jobs.cli.main import main
from jobs.pipeline.predict import predict_video
from shards.files import sha256_file
from tests.shards.make_clips import write_numbered
from tests.small_run import write_small_run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    run = write_small_run(folder / "small")
    for name, count in (("b.mp4", 24), ("a.mp4", 31)):
        write_numbered(folder / name, count)
    (folder / "bad.mp4").write_text("no video")
    (folder / "list.csv").write_text("b.mp4\nbad.mp4\na.mp4\n")
    for ending in ("parquet", "safetensors"):
        out = folder / f"features.{ending}"
        assert main(["export", "features", str(run), str(folder / "list.csv"), "--out", str(out)]) == 1
    return folder


def test_rows_are_in_the_order_given_without_what_cannot_be_read(place, capsys):
    table = pq.read_table(place / "features.parquet")
    assert table["path"].to_pylist() == [str(place / "b.mp4"), str(place / "a.mp4")]
    assert main(["export", "features", str(place / "small"), str(place / "bad.mp4")]) == 2
    assert "none of 1 videos can be read" in capsys.readouterr().err


def test_both_forms_hold_the_same_and_say_what_made_it(place):
    table = pq.read_table(place / "features.parquet")
    about = json.loads(table.schema.metadata[b"finepseudo"])
    run = RunPaths(place / "small")
    weights = run.action_encoder(0, "finepseudo", 1) / WEIGHTS
    assert about["weights_sha256"]["f_E"] == sha256_file(weights)
    with safe_open(place / "features.safetensors", "np") as file:
        assert json.loads(file.metadata()["finepseudo"]) == about
        assert [path for path, *_ in json.loads(file.metadata()["clips"])] == table["path"].to_pylist()
        for name in ("f_E", "f_A"):
            shape = (2, table[f"{name}_tokens"][0].as_py(), table[f"{name}_size"][0].as_py())
            rows = np.array(table[name].to_pylist(), np.float32).reshape(shape)
            np.testing.assert_array_equal(rows, file.get_tensor(name))


def test_the_class_layer_on_the_features_gives_the_runs_answer(place):
    with safe_open(place / "features.safetensors", "pt") as file:
        features, frames = file.get_tensor("f_E"), file.get_tensor("f_A")
    tensors = load_weights(RunPaths(place / "small").action_encoder(0, "finepseudo", 1) / WEIGHTS, "encoder.fc.")
    p = torch.nn.functional.linear(features, tensors["weight"], tensors["bias"]).softmax(-1).mean(1)
    for row, name in zip(p, ("b.mp4", "a.mp4"), strict=True):
        assert row.tolist() == pytest.approx(predict_video(place / "small", place / name).p.tolist(), abs=1e-5)
    assert frames.norm(dim=-1) == pytest.approx(1, abs=1e-5)


def test_another_ending_is_refused(place, capsys):
    assert main(["export", "features", str(place / "small"), str(place / "a.mp4"), "--out", "x.npz"]) == 2
    assert "x.npz: ends with none of .parquet, .safetensors" in capsys.readouterr().err
