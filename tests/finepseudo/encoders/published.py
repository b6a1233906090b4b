"""Files as publishers write them, made of this project's networks: the names are written out here, not read there."""

from collections import OrderedDict

CHILDREN = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
"""Places of torchvision's parts in a Sequential of its children; 2 and 3 are ReLU and pool."""


def below(prefix, tensors):
    return {prefix + name: value for name, value in tensors.items()}


def numbered(resnet):
    """Names of a ResNet-50 as children of a Sequential."""
    return {f"{CHILDREN[name.split('.')[0]]}.{name.split('.', 1)[1]}": value for name, value in resnet.items()}


def pytorchvideo(slow):
    names = OrderedDict()
    for name, value in slow.items():
        part, rest = name.split(".", 1)
        if part == "stem":
            place, rest = rest.split(".")
            names[f"blocks.0.{('conv', 'norm')[int(place)]}.{rest}"] = value
            continue
        block, layer, *rest = rest.split(".")
        head = f"blocks.{part[-1]}.res_blocks.{block}."
        if layer == "downsample":
            names[f"{head}branch1_{('conv', 'norm')[int(rest[0])]}.{rest[1]}"] = value
        else:
            kind = "conv" if layer.startswith("conv") else "norm"
            names[f"{head}branch2.{kind}_{'abc'[int(layer[-1]) - 1]}.{rest[0]}"] = value
    return names


def slowfast(slow):
    names = OrderedDict()
    for name, value in slow.items():
        part, rest = name.split(".", 1)
        if part == "stem":
            place, rest = rest.split(".")
            names[f"s1.pathway0_stem.{('conv', 'bn')[int(place)]}.{rest}"] = value
            continue
        block, layer, *rest = rest.split(".")
        head = f"s{int(part[-1]) + 1}.pathway0_res{block}."
        if layer == "downsample":
            names[f"{head}branch1{('', '_bn')[int(rest[0])]}.{rest[1]}"] = value
        else:
            suffix = "" if layer.startswith("conv") else "_bn"
            names[f"{head}branch2.{'abc'[int(layer[-1]) - 1]}{suffix}.{rest[0]}"] = value
    return names


def carl(f_a):
    """CARL's names of a whole f_A: its three linear layers of attention stand apart."""
    names = OrderedDict()
    for name, value in f_a.items():
        part, rest = name.split(".", 1)
        if part == "image":
            image = {rest: value}
            layer4 = rest.startswith("layer4.")
            names |= below("res_finetune.", {rest[7:]: value}) if layer4 else below("backbone.", numbered(image))
        elif part == "dense":
            place, rest = rest.split(".")
            names[f"embed.video_emb.{rest}" if place == "8" else f"embed.fc_layers.{place}.{rest}"] = value
        elif part == "projector":
            names[f"ssl_projection.net.{rest}"] = value
        elif part == "embed":
            names[f"embed.embedding_layer.{rest}"] = value
        else:
            _, layer, part, rest = rest.split(".", 3)
            head = f"embed.video_encoder.enc_layers.{layer}."
            if part == "self_attn" and rest.startswith("in_proj_"):
                for letter, third in zip("QKV", value.chunk(3), strict=True):
                    names[f"{head}self_att.linear_{letter}2d.{rest.removeprefix('in_proj_')}"] = third.clone()
            elif part == "self_attn":
                names[f"{head}self_att.linear_d2Q.{rest.removeprefix('out_proj.')}"] = value
            elif part.startswith("norm"):
                names[f"{head}res_layer{int(part[-1]) - 1}.norm.{rest}"] = value
            else:
                names[f"{head}feed_forward.fc{part[-1]}.{rest}"] = value
    return names


def clip(vit):
    """OpenAI's names of a CLIP image tower, beside a little of the text tower."""
    words = {
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    names = OrderedDict()
    for name, value in vit.items():
        if "adapter" in name or name == "temporal_embedding":
            continue
        if name in ("cls_token", "pos_embed"):
            plain = {"cls_token": "class_embedding", "pos_embed": "positional_embedding"}[name]
            names[f"visual.{plain}"] = value[0, 0] if name == "cls_token" else value[0]
        elif name.startswith("blocks."):
            _, block, rest = name.split(".", 2)
            if rest.startswith("attn.qkv."):
                rest = f"attn.in_proj_{rest.removeprefix('attn.qkv.')}"
            else:
                part, last = rest.rsplit(".", 1)
                rest = f"{words[part]}.{last}"
            names[f"visual.transformer.resblocks.{block}.{rest}"] = value
        else:
            part, rest = name.split(".", 1)
            outer = {"patch_embed": "conv1", "norm_pre": "ln_pre", "norm": "ln_post"}[part]
            names[f"visual.{outer}.{rest.removeprefix('proj.')}"] = value
    width = names["visual.ln_post.weight"].shape[0]
    text = {
        "visual.proj": names["visual.ln_post.weight"].new_zeros(width, 8),
        "transformer.resblocks.0.ln_1.weight": names["visual.ln_post.weight"].new_zeros(8),
        "token_embedding.weight": names["visual.ln_post.weight"].new_zeros(9, 8),
        "logit_scale": names["visual.ln_post.weight"].new_zeros(()),
    }
    return names | text


def videomae(vit):
    names = OrderedDict()
    for name, value in vit.items():
        if name.endswith("attn.qkv.bias"):
            queries, _, values = value.chunk(3)
            names[name.replace("qkv.bias", "q_bias")] = queries.clone()
            names[name.replace("qkv.bias", "v_bias")] = values.clone()
        else:
            names[name] = value
    return names


def videomae_transformers(vit):
    words = {
        "attn.proj": "attention.output.dense",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    names = OrderedDict()
    for name, value in videomae(vit).items():
        if name.startswith("patch_embed.proj."):
            names[f"videomae.embeddings.patch_embeddings.projection.{name.rsplit('.', 1)[1]}"] = value
        elif name.startswith("fc_norm."):
            names[name] = value
        else:
            _, block, rest = name.split(".", 2)
            head = f"videomae.encoder.layer.{block}."
            if rest == "attn.qkv.weight":
                for word, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    names[f"{head}attention.attention.{word}.weight"] = third.clone()
            elif rest.endswith("_bias"):
                names[f"{head}attention.attention.{rest.removeprefix('attn.')}"] = value
            else:
                part, last = rest.rsplit(".", 1)
                names[f"{head}{words[part]}.{last}"] = value
    return names | {"classifier.weight": value.new_zeros(5, 8)}
