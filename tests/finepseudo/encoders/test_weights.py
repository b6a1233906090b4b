"""Checkpoints: published layouts load, their hash is recorded, everything else is refused in one line."""

import hashlib

import pytest
import torch
from safetensors.torch import save_file

from finepseudo.encoders.action_encoder import R2Plus1D18, build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.encoders.resnet import ResNet50
from finepseudo.encoders.weights import read_checkpoint
from shards.errors import UserError


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(3)
    return ResNet50().state_dict()


def test_torchvision_resnet_with_head_loads_into_the_frame_encoder(resnet, tmp_path):
    file = tmp_path / "resnet50.pth"
    torch.save({**resnet, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, file)
    encoder = build_frame_encoder(FrameEncoderConfig(init="imagenet_sup", weights=str(file)))
    assert torch.equal(encoder.image.layer4[2].conv3.weight, resnet["layer4.2.conv3.weight"])
    assert encoder.weights_record.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert encoder.weights_record.loaded == 318
    assert encoder.weights_record.left_random == ()


def test_prefixed_safetensors_load_too(resnet, tmp_path):
    file = tmp_path / "byol.safetensors"
    online = {f"module.online.{name}": value.clone() for name, value in resnet.items()}
    save_file({**online, "module.predictor.weight": torch.zeros(3)}, file)
    encoder = build_frame_encoder(FrameEncoderConfig(init="byol", weights=str(file)))
    assert torch.equal(encoder.image.conv1.weight, resnet["conv1.weight"])


def test_tclr_layout_loads_with_its_own_layer4_and_a_new_head(tmp_path):
    torch.manual_seed(3)
    given = R2Plus1D18(11, "tclr").state_dict()
    file = tmp_path / "tclr.pth"
    nested = {f"module.0.{name}": value for name, value in given.items() if not name.startswith("fc.")}
    torch.save({"epoch": 3, "state_dict": {**nested, "module.1.0.weight": torch.zeros(2)}}, file)
    cfg = ActionEncoderConfig(init="tclr", layer4="tclr", weights=str(file))
    encoder = build_action_encoder(cfg, 5)
    assert torch.equal(encoder.backbone.layer4[0].conv1[0].weight, given["layer4.0.conv1.0.weight"])
    assert encoder.weights_record.left_random == ("fc.weight", "fc.bias")


def test_head_of_other_size_stays_random(tmp_path):
    file = tmp_path / "k400.pth"
    torch.save(R2Plus1D18(11).state_dict(), file)
    encoder = build_action_encoder(ActionEncoderConfig(init="kinetics_sup", weights=str(file)), 5)
    assert encoder.backbone.fc.weight.shape == (5, 512)
    assert encoder.weights_record.left_random == ("fc.weight", "fc.bias")


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_refusals_are_one_line(resnet, tmp_path, capsys):
    def refused(words, content=None, suffix=".pth"):
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}{suffix}"
        if isinstance(content, bytes):
            file.write_bytes(content)
        elif content is not None:
            torch.save(content, file)
        with pytest.raises(UserError, match=words) as caught:
            build_frame_encoder(FrameEncoderConfig(init="byol", weights=str(file)))
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)

    refused("no such file")
    refused("not loadable as plain tensors", {"state_dict": Evil()})
    refused("not loadable as plain tensors", b"garbage")
    refused("not loadable as plain tensors", b"garbage", ".safetensors")
    refused("holds no tensor", {"state_dict": {}})
    refused("expected a table", [1, 2])
    refused("no tensor named conv1.weight", R2Plus1D18(3).state_dict())
    missing = {name: value for name, value in resnet.items() if name != "layer3.0.conv2.weight"}
    refused("layer3.0.conv2.weight", missing)
    refused("surplus", {**resnet, "extra.weight": torch.zeros(1)})
    refused(r"conv1.weight \(1,\) instead of", {**resnet, "conv1.weight": torch.zeros(1)})
    assert "code ran" not in capsys.readouterr().out


def test_read_checkpoint_keeps_tensors_only(tmp_path):
    torch.save({"a": torch.ones(2), "step": 3}, tmp_path / "x.pt")
    tensors, _ = read_checkpoint(tmp_path / "x.pt")
    assert list(tensors) == ["a"]
