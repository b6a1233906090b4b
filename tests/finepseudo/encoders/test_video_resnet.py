"""R(2+1)D-18 and R3D-18: torchvision's tensors and outputs, TCLR's layer4."""

import pytest
import torch

from finepseudo.encoders.video_resnet import VideoResNet18
from tests.finepseudo.encoders.networks import fingerprint, randomised

WITH_400_CLASSES = 512 * 400 + 400


def test_r2plus1d_has_torchvisions_tensors():
    # taken from torchvision 0.28 r2plus1d_18 less its fc, where eval outputs were equal bit for bit
    network = VideoResNet18()
    assert len(network.state_dict()) == 222
    assert sum(p.numel() for p in network.parameters()) + WITH_400_CLASSES == 31_505_325
    assert fingerprint(network) == "fe46231be8c381abcd51dd7819433d0b505a5b287cf27ce39091f4065d6c9fee"


def test_r3d_has_torchvisions_number_of_parameters():
    network = VideoResNet18("3d")
    assert sum(p.numel() for p in network.parameters()) + WITH_400_CLASSES == 33_371_472


@pytest.mark.parametrize("kind", ["2plus1d", "3d"])
def test_tclr_keeps_the_frame_rate_in_layer4(kind):
    shapes = {}
    for layer4 in ("torchvision", "tclr"):
        network = VideoResNet18(kind, layer4).eval()
        with torch.no_grad():
            stem = network.layer3(network.layer2(network.layer1(network.stem(torch.rand(1, 3, 8, 32, 32)))))
            shapes[layer4] = network.layer4(stem).shape
    assert shapes == {"torchvision": (1, 512, 1, 2, 2), "tclr": (1, 512, 2, 2, 2)}
    assert VideoResNet18(kind, "tclr").state_dict()["layer4.0.conv1.0.weight"].shape == (512, 256, 3, 3, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("2plus1d", "r2plus1d_18"), ("3d", "r3d_18")])
def test_outputs_are_torchvisions(kind, name):
    video = pytest.importorskip("torchvision.models.video", reason="torchvision is in the extra `encoders`")
    ours, theirs = VideoResNet18(kind).eval(), randomised(getattr(video, name)(weights=None)).eval()
    theirs.fc = torch.nn.Identity()
    ours.load_state_dict(theirs.state_dict())
    clip = torch.rand(2, 3, 8, 56, 56)
    with torch.no_grad():
        torch.testing.assert_close(ours(clip), theirs(clip), rtol=0, atol=1e-5)
