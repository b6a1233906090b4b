"""What renaming alone cannot do to published tensors: each function takes renamed tensors and the network."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]


def _joined(tensors: Tensors, part: str, joined: str) -> Tensors:
    """Put `<block>.Q.<part>`, `.K.` and `.V.` on top of one another as `<block>.<joined>`."""
    rest = dict(tensors)
    for name in tensors:
        if name.endswith(f".Q.{part}"):
            block = name.removesuffix(f"Q.{part}")
            thirds = [rest.pop(f"{block}{letter}.{part}", None) for letter in "QKV"]
            rest[block + joined] = torch.cat([third for third in thirds if third is not None])
    return rest


def join_queries_keys_values(tensors: Tensors, _network: nn.Module) -> Tensors:
    """Join CARL's three linear layers into the one of nn.MultiheadAttention."""
    return _joined(_joined(tensors, "weight", "in_proj_weight"), "bias", "in_proj_bias")


def join_bias(tensors: Tensors, _network: nn.Module) -> Tensors:
    """Join VideoMAE's biases of queries and values around zeros: a bias of the keys changes no attention.

    They are q_bias and v_bias, or, as newer releases of transformers save them, biases of the layers.
    """
    whole = dict(tensors)
    for name, value in tensors.items():
        if name.endswith(".Q.bias"):
            whole.setdefault(name.replace(".Q.", ".K."), torch.zeros_like(value))
    rest = _joined(_joined(whole, "weight", "qkv.weight"), "bias", "qkv.bias")
    for name in [name for name in rest if name.endswith(".q_bias")]:
        block = name.removesuffix("q_bias")
        queries, values = rest.pop(name), rest.pop(f"{block}v_bias", None)
        if values is not None:
            rest[f"{block}qkv.bias"] = torch.cat([queries, torch.zeros_like(queries), values])
    return rest


def leading_ones(tensors: Tensors, _network: nn.Module) -> Tensors:
    """Give CLIP's class token [D] and positions [N, D] the leading ones of timm's."""
    rest = dict(tensors)
    for name in ("cls_token", "pos_embed"):
        if name in rest:
            rest[name] = rest[name].reshape(1, -1, rest[name].shape[-1])
    return rest


def vit_to_timesformer(tensors: Tensors, network: nn.Module) -> Tensors:
    """Copy spatial attention and its norm to the temporal ones; DeiT III: put its scales into the layers they follow.

    A layer scale g after a linear layer (W, b) is the layer (g W, g b): the function is the same, and the network has
    one form. DeiT III has no position code at its class token, which is one of zeros.
    """
    rest = dict(tensors)
    for name in [name for name in rest if re.search(r"\.ls[12]\.gamma$", name)]:
        scale = rest.pop(name)
        last = name.replace("ls1.gamma", "attn.proj.").replace("ls2.gamma", "mlp.fc2.")
        if f"{last}weight" in rest and f"{last}bias" in rest:
            rest[f"{last}weight"] = rest[f"{last}weight"] * scale[:, None]
            rest[f"{last}bias"] = rest[f"{last}bias"] * scale
    for name, value in list(rest.items()):
        if (match := re.fullmatch(r"(blocks\.\d+)\.(attn|norm1)\.(.+)", name)) is not None:
            temporal = {"attn": "temporal_attn", "norm1": "temporal_norm1"}[match[2]]
            rest[f"{match[1]}.{temporal}.{match[3]}"] = value.clone()
    positions, patches = rest.get("pos_embed"), network.state_dict().get("pos_embed")
    if positions is not None and patches is not None and positions.shape[1] == patches.shape[1] - 1:
        rest["pos_embed"] = torch.cat([torch.zeros_like(positions[:, :1]), positions], 1)
    return rest
