"""The backbones: a row each. A new one is a file with its network, and a row here; nothing else knows its name.

A user's own needs no row: `variant: module:Class` builds it, and `module:ROW`, where ROW is a `Backbone`, brings
published weights and expected frames as well.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from finepseudo.encoders import layouts
from finepseudo.encoders.contract import Backbone, Expected, Kind, Published, imported
from shards.errors import UserError
from shards.settings import BadSetting

VTN = {"hidden": 512, "width": 256, "layers": 3, "heads": 8, "ffn": 1024, "embedding": 128, "projection": 128}
"""Sizes of f_A above the image encoder: CARL's."""

_TINY = {"hidden": 0, "width": 64, "layers": 2, "heads": 4, "ffn": 128, "embedding": 64, "projection": 64}

IMAGENET = Expected()
_RAW_BGR = Expected(channels="bgr", mean=(0.0,) * 3, std=(1.0,) * 3, size=112, frames=16, stride=2)
_KINETICS_18 = Expected(
    mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989), size=112, frames=16, stride=1
)
_SLOWFAST = Expected(mean=(0.45,) * 3, std=(0.225,) * 3, size=224, frames=8, stride=8)
_TIMESFORMER = Expected(
    mean=(0.45,) * 3, std=(0.225,) * 3, size=224, frames=8, stride=8, fixed_size=True, fixed_frames=True
)
_OPENAI = Expected(
    mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711), size=224, fixed_size=True
)
_AIM = Expected(mean=_OPENAI.mean, std=_OPENAI.std, size=224, frames=32, stride=2, fixed_size=True, fixed_frames=True)
_VIDEOMAE = Expected(size=224, frames=16, stride=4, fixed_size=True, fixed_frames=True)
_VIT_IMAGES = Expected(size=224, fixed_size=True)

_ADAPTERS = (r"blocks\.\d+\.(t|s|mlp)_adapter\.", r"temporal_embedding")
_TIME_PARTS = (r"blocks\.\d+\.temporal_fc\.", r"time_embeds\.")


def _r3d_weights(name: str) -> dict[str, Published]:
    return {
        "kinetics_sup": Published(
            about=f"torchvision's {name}, Kinetics-400 with labels",
            layouts=(layouts.VIDEO_RESNET,),
            expects=_KINETICS_18,
        ),
        "tclr": Published(
            about=f"TCLR's {name}, without labels; layer4 keeps the frame rate",
            layouts=(layouts.VIDEO_RESNET,),
            expects=_RAW_BGR,
            options={"layer4": "tclr"},
        ),
    }


def _timm_images(about: str, expects: Expected, *kinds: str) -> dict[str, Published]:
    known = (layouts.TIMM, layouts.TIMM_CLIP)
    return {kind: Published(about=about, layouts=known, expects=expects) for kind in kinds}


def _timm_row(model: str, published: Mapping[str, Published]) -> Backbone:
    return Backbone(
        kind="frame",
        builder="finepseudo.encoders.timm_image:TimmImageEncoder",
        options={"model": model, "size": 224},
        published=published,
        expects=next(iter(published.values())).expects,
        sizes=VTN,
    )


_RESNETS = (layouts.RESNET, layouts.RESNET_CHILDREN)
_DEIT3 = Published(
    about="timm's deit3_small_patch16_224 or a plain ViT-S",
    layouts=(layouts.VIT,),
    expects=_TIMESFORMER,
    fresh=_TIME_PARTS,
)
_TIMESFORMER_OWN = Published(
    about="TimeSformer fine-tuned on Kinetics", layouts=(layouts.TIMESFORMER,), expects=_TIMESFORMER
)

ACTION: Mapping[str, Backbone] = {
    "r2plus1d_18": Backbone(  # paper, sec 4.1: the fine-grained sets, the open world, every ablation
        kind="action",
        staged=True,
        builder="finepseudo.encoders.video_resnet:VideoResNet18",
        options={"kind": "2plus1d"},
        expects=_KINETICS_18,
        published=_r3d_weights("r2plus1d_18"),
    ),
    "r3d_18": Backbone(  # paper, Table 3
        kind="action",
        staged=True,
        builder="finepseudo.encoders.video_resnet:VideoResNet18",
        options={"kind": "3d"},
        expects=_KINETICS_18,
        published=_r3d_weights("r3d_18"),
    ),
    "slow_r50": Backbone(  # paper, Table 3
        kind="action",
        staged=True,
        builder="finepseudo.encoders.slow_resnet:SlowR50",
        expects=_SLOWFAST,
        published={
            "kinetics_sup": Published(
                about="pytorchvideo's or SlowFast's slow_r50, Kinetics-400 with labels",
                layouts=(layouts.PYTORCHVIDEO_SLOW, layouts.SLOWFAST_SLOW),
                expects=_SLOWFAST,
            ),
            "timebalance": Published(  # pre-trained as TCLR
                about="TimeBalance's slow_r50, without labels",
                layouts=(layouts.PYTORCHVIDEO_SLOW,),
                expects=Expected(mean=(0.0,) * 3, std=(1.0,) * 3, size=224, frames=16, stride=4),
            ),
        },
    ),
    "timesformer_s": Backbone(  # SeFAR-S
        kind="action",
        staged=True,
        grouped=True,
        builder="finepseudo.encoders.timesformer:TimeSformer",
        options={"width": 384, "heads": 6, "frames": 8, "size": 224},
        expects=_TIMESFORMER,
        published={"imagenet": _DEIT3},
    ),
    "timesformer_b": Backbone(  # paper, Table 10; SeFAR-B
        kind="action",
        staged=True,
        grouped=True,
        builder="finepseudo.encoders.timesformer:TimeSformer",
        options={"width": 768, "heads": 12, "frames": 8, "size": 224},
        expects=_TIMESFORMER,
        published={
            "imagenet": Published(
                about="timm's vit_base_patch16_224", layouts=(layouts.VIT,), expects=_TIMESFORMER, fresh=_TIME_PARTS
            ),
            "kinetics_sup": _TIMESFORMER_OWN,
        },
    ),
    "aim_b16": Backbone(  # paper, Table 2
        kind="action",
        staged=True,
        builder="finepseudo.encoders.aim:Aim",
        options={"frames": 32, "size": 224},
        expects=_AIM,
        published={
            "clip": Published(about="OpenAI's CLIP ViT-B/16", layouts=(layouts.CLIP,), expects=_AIM, fresh=_ADAPTERS),
            "open_clip": Published(
                about="open_clip's ViT-B-16 (LAION, DataComp)",
                layouts=(layouts.CLIP,),
                expects=_AIM,
                options={"activation": "gelu"},
                fresh=_ADAPTERS,
            ),
        },
    ),
    "videomae_b": Backbone(
        kind="action",
        staged=True,
        builder="finepseudo.encoders.videomae:VideoMae",
        options={"frames": 16, "size": 224},
        expects=_VIDEOMAE,
        published={
            **{
                f"{name}_sup": Published(
                    about=f"VideoMAE ViT-B fine-tuned on {title}",
                    layouts=(layouts.VIDEOMAE, layouts.VIDEOMAE_TRANSFORMERS),
                    expects=_VIDEOMAE,
                )
                for name, title in (("kinetics", "Kinetics-400"), ("ssv2", "Something-Something V2"))
            },
            "videomae": Published(
                about="VideoMAE ViT-B pre-trained without labels",
                layouts=(layouts.VIDEOMAE, layouts.VIDEOMAE_TRANSFORMERS),
                expects=_VIDEOMAE,
                fresh=(r"fc_norm\.",),
            ),
        },
    ),
    "tiny": Backbone(kind="action", staged=True, builder="finepseudo.encoders.tiny:TinyR2Plus1D"),  # stand-in for a CPU
}
"""f_E."""

FRAME: Mapping[str, Backbone] = {
    "vtn": Backbone(  # paper, sec 4.2 and Table 11
        kind="frame",
        builder="finepseudo.encoders.resnet:ResNet50",
        expects=IMAGENET,
        sizes=VTN,
        published={
            "imagenet": Published(
                about="torchvision's or timm's resnet50, ImageNet with labels", layouts=_RESNETS, expects=IMAGENET
            ),
            "byol": Published(
                about="BYOL's ResNet-50", layouts=(layouts.BYOL, layouts.RESNET_CHILDREN), expects=IMAGENET
            ),
            "moco": Published(about="MoCo v2's or v3's ResNet-50", layouts=(layouts.MOCO,), expects=IMAGENET),
            "swav": Published(about="SwAV's ResNet-50", layouts=(layouts.RESNET,), expects=IMAGENET),
            "dino": Published(about="DINO's ResNet-50", layouts=(layouts.DINO,), expects=IMAGENET),
            "carl": Published(about="CARL's whole f_A", layouts=(layouts.CARL,), expects=IMAGENET, whole=True),
        },
    ),
    "vtn_dinov2_s": _timm_row("vit_small_patch14_dinov2", _timm_images("DINOv2 ViT-S/14", _VIT_IMAGES, "dinov2")),
    "vtn_dinov2_b": _timm_row("vit_base_patch14_dinov2", _timm_images("DINOv2 ViT-B/14", _VIT_IMAGES, "dinov2")),
    "vtn_dinov3_s": _timm_row("vit_small_patch16_dinov3", _timm_images("DINOv3 ViT-S/16", _VIT_IMAGES, "dinov3")),
    "vtn_dinov3_b": _timm_row("vit_base_patch16_dinov3", _timm_images("DINOv3 ViT-B/16", _VIT_IMAGES, "dinov3")),
    "vtn_clip_b": _timm_row(
        "vit_base_patch16_clip_quickgelu_224", _timm_images("OpenAI's CLIP ViT-B/16", _OPENAI, "clip")
    ),
    "vtn_open_clip_b": _timm_row(
        "vit_base_patch16_clip_224", _timm_images("open_clip's ViT-B-16", _OPENAI, "open_clip")
    ),
    "tiny": Backbone(kind="frame", builder="finepseudo.encoders.tiny:TinyImageEncoder", sizes=_TINY),
}
"""f_A: an image encoder below the temporal transformer."""

BACKBONES: Mapping[Kind, Mapping[str, Backbone]] = {"action": ACTION, "frame": FRAME}


def backbone(name: str, kind: Kind) -> Backbone:
    """Find the row of a name, or of `module:Class` or `module:ROW`. Raises BadSetting with the way out."""
    if ":" in name:
        return _own(name, kind)
    known = BACKBONES[kind]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        raise BadSetting("variant", name, f"is neither a known {kind} encoder nor module:Class; {hint}")
    return known[name]


def _own(path: str, kind: Kind) -> Backbone:
    """Make a row of a user's class, or take the row that the path names."""
    try:
        found = imported(path)
    except UserError as error:
        raise BadSetting("variant", path, str(error).removeprefix(f"{path}: ")) from error
    if not isinstance(found, Backbone):
        if not callable(found):
            raise BadSetting("variant", path, "is no class; write module:Class, or module:ROW of a Backbone")
        about = f"{path} in its own names"
        published = {"file": Published(about=about, layouts=(layouts.AS_IT_IS,), expects=None)}
        return Backbone(kind=kind, builder=path, published=published, sizes=VTN if kind == "frame" else {})
    if found.kind != kind:
        raise BadSetting("variant", path, f"is of kind {found.kind}; {kind} is needed here")
    return found
