"""What `finepseudo weights` says of a file."""

import hashlib

import pytest
import torch

from finepseudo.encoders.config import FrameEncoderConfig
from finepseudo.encoders.describe import describe
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.encoders.resnet import ResNet50
from finepseudo.encoders.video_resnet import VideoResNet18
from finepseudo.training.checkpoint import save_weights
from jobs.cli.main import main
from shards.errors import UserError


@pytest.fixture(scope="module")
def tclr(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "tclr.pth"
    state = {f"module.0.{name}": value for name, value in VideoResNet18("2plus1d", "tclr").state_dict().items()}
    torch.save({"state_dict": {**state, "module.1.fc1.weight": torch.zeros(2)}}, file)
    return file


def test_it_names_the_encoder_and_the_key_of_a_file_that_fits(tclr, capsys):
    assert main(["weights", str(tclr)]) == 0
    file, holds, *fits = capsys.readouterr().out.splitlines()
    assert hashlib.sha256(tclr.read_bytes()).hexdigest() in file
    count = len(VideoResNet18("2plus1d", "tclr").state_dict())
    assert holds == f"holds {count + 1} tensors of {holds.split()[4]} M numbers, first module.0.stem.0.weight"
    assert fits == [
        f"fits  action_encoder.variant=r2plus1d_18 action_encoder.weights=tclr:{tclr}: TCLR's r2plus1d_18, without "
        f"labels; layer4 keeps the frame rate (torchvision names, below module.0.): {count} tensors, 1 of the file "
        "left out"
    ]


def test_it_says_what_is_missing_where_nothing_fits(tclr, tmp_path, capsys):
    state = torch.load(tclr)["state_dict"]
    del state["module.0.layer2.1.conv2.1.bias"]
    torch.save(state, tmp_path / "cut.pth")
    assert main(["weights", str(tmp_path / "cut.pth")]) == 2
    said = capsys.readouterr().out
    assert "layer2.1.conv2.1.bias is missing" in said
    assert not [line for line in said.splitlines() if line.startswith("fits")]


def test_a_publishers_own_words_tell_its_kind_from_others_of_the_same_tensors(tmp_path):
    resnet = {name: value.half() if value.dim() else value for name, value in ResNet50().state_dict().items()}
    found = {}
    for prefix in ("", "module.base_encoder."):
        torch.save({prefix + name: value for name, value in resnet.items()}, tmp_path / "x.pth")
        lines, _ = describe(tmp_path / "x.pth")
        found[prefix] = [line.split("weights=")[1].split(":")[0] for line in lines if line.startswith("fits")]
    assert found == {"": ["imagenet", "byol", "moco", "swav", "dino"], "module.base_encoder.": ["moco"]}


def test_weights_of_a_run_are_those_of_a_run_and_of_no_publisher(tmp_path):
    cfg = FrameEncoderConfig(weights="random", options={"blocks": [1, 1, 1, 1]})
    trained = {
        "a": {
            f"encoder.{n}": v for n, v in build_frame_encoder(FrameEncoderConfig(variant="tiny")).state_dict().items()
        },
        "b": {f"encoder.{n}": v for n, v in build_frame_encoder(cfg).state_dict().items()},
    }
    for name, tensors in trained.items():
        save_weights(tmp_path / f"{name}.safetensors", tensors)
    lines, fits = describe(tmp_path / "a.safetensors")
    assert fits
    assert [line.split(": ")[0].split()[1:] for line in lines[2:]] == [
        ["frame_encoder.variant=tiny", f"frame_encoder.weights=run:{tmp_path}/a.safetensors"]
    ]
    lines, fits = describe(tmp_path / "b.safetensors")
    assert not fits, "other sizes than those of the table"
    assert {line.split("weights=")[1].split(":")[0] for line in lines[2:]} == {"run"}


def test_it_says_that_nothing_of_a_file_is_known(tmp_path):
    torch.save({"a.weight": torch.ones(3)}, tmp_path / "x.pt")
    lines, fits = describe(tmp_path / "x.pt")
    assert not fits
    assert lines[-1] == "no    encoder of the table has tensors of these names; a module:Class of your own may"


@pytest.mark.filterwarnings("error")
def test_every_file_is_described_and_names_obey_nothing(tclr, tmp_path, capsys):
    """No file of weights, one with control characters in its names and another pickle protocol, one that fits."""
    torch.save({"a\x1b[31m\n.weight": torch.ones(3)}, tmp_path / "odd.pt")
    torch.save({"a.weight": torch.ones(3)}, tmp_path / "four.pt", pickle_protocol=4)
    (tmp_path / "page.pt").write_bytes(b"<html>")
    assert main(["weights", *(str(tmp_path / f"{name}.pt") for name in ("page", "four", "odd")), str(tclr)]) == 2
    said = capsys.readouterr()
    for name, line in zip(("page", "four"), said.err.splitlines(), strict=True):
        why = "it is no checkpoint of torch, or was saved with another pickle protocol than torch's"
        assert line.startswith(f"error: weights {tmp_path}/{name}.pt: not loadable as plain tensors ({why}); ")
    assert "first a\\x1b[31m\\n.weight" in said.out
    assert "fits  action_encoder.variant=r2plus1d_18" in said.out


def test_a_file_that_cannot_be_read_is_one_line(tmp_path, capsys):
    (tmp_path / "x.pt").write_bytes(b"<html>")
    assert main(["weights", str(tmp_path / "x.pt")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(UserError, match="not loadable"):
        describe(tmp_path / "x.pt")
