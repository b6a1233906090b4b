"""The names that publishers give to tensors, as rename maps onto this project's networks."""

from __future__ import annotations

from finepseudo.encoders.contract import Layout

_HEADS = (r"fc\.", r"head\.", r"classifier\.", r"projection_head\.", r"prototypes\.", r"projector\.", r"predictor\.")

RESNET = Layout(name="torchvision or timm names", anchor="layer1.0.conv1.weight", drops=_HEADS)

BYOL = Layout(
    name="online network",
    anchor="layer1.0.conv1.weight",
    prefers=("online.", "online_network.", "online_encoder.", "encoder_q.", "backbone.", "encoder.", "net.", ""),
    drops=_HEADS,
)

MOCO = Layout(
    name="query encoder of MoCo v2 or v3",
    anchor="layer1.0.conv1.weight",
    prefers=("encoder_q.", "base_encoder."),
    drops=_HEADS,
)

DINO = Layout(name="teacher", anchor="layer1.0.conv1.weight", prefers=("teacher.backbone.", "backbone."), drops=_HEADS)

_CHILDREN = (
    (r"0\.(.+)", r"conv1.\1"),
    (r"1\.(.+)", r"bn1.\1"),
    *((rf"{place}\.(.+)", rf"layer{place - 3}.\1") for place in range(4, 8)),
)

RESNET_CHILDREN = Layout(  # the children of torchvision's network in a Sequential
    name="numbered children of torchvision's resnet50",
    anchor="4.0.conv1.weight",
    prefers=("online.", "online_encoder.", "encoder.", "backbone.", "net.", ""),
    renames=_CHILDREN,
    drops=(r"9\.", *_HEADS),
)

_CARL_LAYER = r"embed\.video_encoder\.enc_layers\.(\d+)\."
CARL = Layout(
    name="CARL",
    anchor="embed.video_emb.weight",
    renames=(
        (r"backbone\.0\.(.+)", r"image.conv1.\1"),
        (r"backbone\.1\.(.+)", r"image.bn1.\1"),
        *((rf"backbone\.{place}\.(.+)", rf"image.layer{place - 3}.\1") for place in range(4, 8)),
        (r"res_finetune\.(.+)", r"image.layer4.\1"),
        (r"embed\.fc_layers\.(.+)", r"dense.\1"),
        (r"embed\.video_emb\.(.+)", r"dense.8.\1"),
        (_CARL_LAYER + r"res_layer0\.norm\.(.+)", r"temporal.layers.\1.norm1.\2"),
        (_CARL_LAYER + r"res_layer1\.norm\.(.+)", r"temporal.layers.\1.norm2.\2"),
        (_CARL_LAYER + r"feed_forward\.fc([12])\.(.+)", r"temporal.layers.\1.linear\2.\3"),
        (_CARL_LAYER + r"self_att\.linear_([QKV])2d\.(.+)", r"temporal.layers.\1.self_attn.\2.\3"),
        (_CARL_LAYER + r"self_att\.linear_d2Q\.(.+)", r"temporal.layers.\1.self_attn.out_proj.\2"),
        (r"embed\.embedding_layer\.(.+)", r"embed.\1"),
        (r"ssl_projection\.net\.(.+)", r"projector.\1"),
    ),
    drops=(r"classifier\.",),
    convert="finepseudo.encoders.convert:join_queries_keys_values",
)

VIDEO_RESNET = Layout(name="torchvision names", anchor="stem.0.weight", drops=_HEADS)

_PYTORCHVIDEO_BLOCK = r"blocks\.([1-4])\.res_blocks\.(\d+)\."
PYTORCHVIDEO_SLOW = Layout(
    name="pytorchvideo names",
    anchor="blocks.0.conv.weight",
    renames=(
        (r"blocks\.0\.conv\.(.+)", r"stem.0.\1"),
        (r"blocks\.0\.norm\.(.+)", r"stem.1.\1"),
        (_PYTORCHVIDEO_BLOCK + r"branch1_conv\.(.+)", r"layer\1.\2.downsample.0.\3"),
        (_PYTORCHVIDEO_BLOCK + r"branch1_norm\.(.+)", r"layer\1.\2.downsample.1.\3"),
        *(
            (_PYTORCHVIDEO_BLOCK + rf"branch2\.{theirs}_{letter}\.(.+)", rf"layer\1.\2.{ours}{number}.\3")
            for theirs, ours in (("conv", "conv"), ("norm", "bn"))
            for number, letter in enumerate("abc", 1)
        ),
    ),
    drops=(r"blocks\.5\.",),
)

_SLOWFAST_STAGES = tuple(
    (rf"s{stage + 1}\.pathway0_res(\d+)\.{theirs}\.(.+)", rf"layer{stage}.\1.{ours}.\2")
    for stage in range(1, 5)
    for theirs, ours in (
        ("branch1", "downsample.0"),
        ("branch1_bn", "downsample.1"),
        *((rf"branch2\.{letter}", f"conv{number}") for number, letter in enumerate("abc", 1)),
        *((rf"branch2\.{letter}_bn", f"bn{number}") for number, letter in enumerate("abc", 1)),
    )
)
SLOWFAST_SLOW = Layout(
    name="SlowFast names",
    anchor="s1.pathway0_stem.conv.weight",
    renames=(
        (r"s1\.pathway0_stem\.conv\.(.+)", r"stem.0.\1"),
        (r"s1\.pathway0_stem\.bn\.(.+)", r"stem.1.\1"),
        *_SLOWFAST_STAGES,
    ),
    drops=(r"head\.",),
)

VIT = Layout(
    name="timm names",
    anchor="patch_embed.proj.weight",
    drops=(r"head\.", r"head_dist\.", r"pre_logits\."),
    convert="finepseudo.encoders.convert:vit_to_timesformer",
)

TIMESFORMER = Layout(
    name="TimeSformer names",
    anchor="blocks.0.temporal_attn.qkv.weight",
    renames=((r"time_embed", "time_embeds.0"),),
    drops=(r"head\.",),
)

CLIP = Layout(
    name="CLIP names",
    anchor="transformer.resblocks.0.ln_1.weight",
    prefers=("visual.", ""),
    renames=(
        (r"conv1\.(.+)", r"patch_embed.proj.\1"),
        (r"class_embedding", "cls_token"),
        (r"positional_embedding", "pos_embed"),
        (r"ln_pre\.(.+)", r"norm_pre.\1"),
        (r"ln_post\.(.+)", r"norm.\1"),
        (r"transformer\.resblocks\.(\d+)\.ln_([12])\.(.+)", r"blocks.\1.norm\2.\3"),
        (r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(.+)", r"blocks.\1.attn.qkv.\2"),
        (r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.+)", r"blocks.\1.attn.proj.\2"),
        (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.+)", r"blocks.\1.mlp.fc1.\2"),
        (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.+)", r"blocks.\1.mlp.fc2.\2"),
    ),
    drops=(r"proj$",),
    convert="finepseudo.encoders.convert:leading_ones",
)

VIDEOMAE = Layout(
    name="VideoMAE names",
    anchor="patch_embed.proj.weight",
    prefers=("encoder.", ""),
    drops=(r"head\.", r"norm\.", r"mask_token"),
    convert="finepseudo.encoders.convert:join_bias",
)

_HF_VIDEOMAE = r"encoder\.layer\.(\d+)\."
VIDEOMAE_TRANSFORMERS = Layout(
    name="names of the transformers library",
    anchor="encoder.layer.0.attention.attention.query.weight",
    renames=(
        (r"embeddings\.patch_embeddings\.projection\.(.+)", r"patch_embed.proj.\1"),
        (_HF_VIDEOMAE + r"attention\.attention\.q_bias", r"blocks.\1.attn.q_bias"),
        (_HF_VIDEOMAE + r"attention\.attention\.v_bias", r"blocks.\1.attn.v_bias"),
        (_HF_VIDEOMAE + r"attention\.attention\.query\.(.+)", r"blocks.\1.attn.Q.\2"),
        (_HF_VIDEOMAE + r"attention\.attention\.key\.(.+)", r"blocks.\1.attn.K.\2"),
        (_HF_VIDEOMAE + r"attention\.attention\.value\.(.+)", r"blocks.\1.attn.V.\2"),
        (_HF_VIDEOMAE + r"attention\.output\.dense\.(.+)", r"blocks.\1.attn.proj.\2"),
        (_HF_VIDEOMAE + r"layernorm_before\.(.+)", r"blocks.\1.norm1.\2"),
        (_HF_VIDEOMAE + r"layernorm_after\.(.+)", r"blocks.\1.norm2.\2"),
        (_HF_VIDEOMAE + r"intermediate\.dense\.(.+)", r"blocks.\1.mlp.fc1.\2"),
        (_HF_VIDEOMAE + r"output\.dense\.(.+)", r"blocks.\1.mlp.fc2.\2"),
    ),
    drops=(r"layernorm\.",),
    beside=(r"fc_norm\.",),
    convert="finepseudo.encoders.convert:join_bias",
)

TIMM = Layout(
    name="timm names, or its publisher's",
    anchor="patch_embed.proj.weight",
    prefers=("teacher.backbone.", "backbone.", "model.", ""),
    convert="finepseudo.encoders.timm_image:published_names",
)
TIMM_CLIP = Layout(
    name="CLIP names",
    anchor="visual.conv1.weight",
    drops=(r"(?!visual\.)",),
    convert="finepseudo.encoders.timm_image:published_names",
)

AS_IT_IS = Layout(name="the network's own names", anchor="", drops=())
