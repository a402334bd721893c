"""One-tower vision weights: ViT and DeiT files of Hugging Face and timm into our "vit" encoder."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.weights.conversion import State
from vlp_jax.weights.interpolation import resize_position_grid
from vlp_jax.weights.key_groups import vit_block
from vlp_jax.weights.key_table import (
    Entries,
    KeyTable,
    key_table,
    linear,
    merge_heads,
    norm,
    patch_conv,
    raw,
    split_heads,
)

# What ViTConfig and DeiTConfig assume of entries that a config.json leaves out.
DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "layer_norm_eps": 1e-12,
    "image_size": 224,
    "patch_size": 16,
    "model_type": "vit",
}

# What differs from ViT in its classifier, in pre-training or in the second token alone.
SAME = ("vit", "deit", "vit_mae", "vit_msn")
# Classifiers and what pre-training with masked images adds.
LEFT_OUT = (
    r"(cls_|distillation_)?classifier\..*",
    r"head(_dist)?\..*",
    r"pre_logits\..*",
    r"pooler\..*",
    r"decoder\..*",
    r"(embeddings\.)?mask_token",
)


Block = Callable[[str, str, int], Entries]


@dataclass(frozen=True)
class Naming:
    """How a library names the parts of a ViT.

    Attributes:
      class_token, distillation_token, positions: full names.
      patches, last_norm: prefixes of weight and bias.
      layer: prefix of a layer, with {} for its number.
      block: (prefix, our path, heads) -> the entries of a layer.
      biases: the query, key and value biases of a layer, which some files lack.
    """

    class_token: str
    distillation_token: str
    positions: str
    patches: str
    last_norm: str
    layer: str
    block: Block
    biases: tuple[str, ...]


def _separate_block(attention: str, output: str, expand: str, contract: str) -> Block:
    """Returns the entries of a `ViTBlock` whose query, key and value are tensors of their own."""

    def block(published: str, ours: str, heads: int) -> Entries:
        name = f"{published}.{attention}"
        parts = ("query", "key", "value")
        return [
            norm(f"{published}.layernorm_before", f"{ours}/attention_norm"),
            [split_heads(name.format(x, x[0]), f"{ours}/attention/{x}", heads) for x in parts],
            merge_heads(f"{published}.{output}", f"{ours}/attention/output", heads),
            norm(f"{published}.layernorm_after", f"{ours}/feed_forward_norm"),
            linear(f"{published}.{expand}", f"{ours}/expand"),
            linear(f"{published}.{contract}", f"{ours}/contract"),
        ]

    return block


def _huggingface(layer: str, block: Block, bias: str) -> Naming:
    return Naming(
        class_token="embeddings.cls_token",
        distillation_token="embeddings.distillation_token",
        positions="embeddings.position_embeddings",
        patches="embeddings.patch_embeddings.projection",
        last_norm="layernorm",
        layer=layer,
        block=block,
        biases=tuple(bias.format(part, part[0]) for part in ("query", "key", "value")),
    )


NAMINGS = (
    Naming(
        class_token="cls_token",
        distillation_token="dist_token",
        positions="pos_embed",
        patches="patch_embed.proj",
        last_norm="norm",
        layer="blocks.{}",
        block=vit_block,
        biases=("attn.qkv.bias",),
    ),
    # Directories of `ViTModel` and `DeiTModel`.
    _huggingface(
        "encoder.layer.{}",
        _separate_block(
            "attention.attention.{}", "attention.output.dense", "intermediate.dense", "output.dense"
        ),
        "attention.attention.{}.bias",
    ),
    # The state dict of the same classes in transformers 5.
    _huggingface(
        "layers.{}",
        _separate_block("attention.{1}_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2"),
        "attention.{1}_proj.bias",
    ),
)


def vit_args(published: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the "vit" encoder's `vision_args` that a ViT's or DeiT's `config.json` describes.

    The pixels' mean and deviation are not in it: see the model's `preprocessor_config.json`.
    Raises ValueError for activations and shapes that our encoder does not have.
    """
    sizes = {**DEFAULTS, **published}
    if sizes["hidden_act"] != "gelu":
        raise ValueError(f"hidden_act = {sizes['hidden_act']!r}: expected a ViT with 'gelu'")
    if sizes["model_type"] not in SAME:
        raise ValueError(f"model_type = {sizes['model_type']!r}: expected {' or '.join(SAME)}")
    return dict(
        image_size=_square("image_size", sizes["image_size"]),
        patch_size=_square("patch_size", sizes["patch_size"]),
        width=sizes["hidden_size"],
        layers=sizes["num_hidden_layers"],
        heads=sizes["num_attention_heads"],
        mlp_width=sizes["intermediate_size"],
        distilled=sizes["model_type"] == "deit",
        dropout=sizes["hidden_dropout_prob"],
        attention_dropout=sizes["attention_probs_dropout_prob"],
        epsilon=sizes["layer_norm_eps"],
    )


def _square(name: str, size: Any) -> int:
    sides = set(size) if isinstance(size, (list, tuple)) else {size}
    if len(sides) != 1:
        raise ValueError(f"{name} = {size!r}: expected a square")
    return int(sides.pop())


def vit_table(names: Iterable[str], args: Mapping[str, Any]) -> KeyTable:
    """Returns the key table between a file and the "vit" encoder with `args` under "vision/".

    Classifiers, the pooler, layers beyond the encoder's and everything outside the vision tower's
    prefix are left out.

    Args:
      names: the file's tensor names; they tell whose naming it has and behind which prefix.
      args: `vision_args`; of a whole encoder, defaults included.
    """
    prefix, naming = vit_naming(names)
    layer = lambda i: f"{prefix}{naming.layer.format(i)}"
    kept = "|".join(str(i) for i in range(args["layers"])) or "-"
    beyond = rf"{re.escape(prefix)}{naming.layer.format(f'(?!({kept})[.])[0-9]+')}\..*"
    left_out = [re.escape(prefix) + pattern for pattern in LEFT_OUT]
    return key_table(
        raw(prefix + naming.class_token, "vision/class_token"),
        raw(prefix + naming.distillation_token, "vision/distillation_token")
        if args.get("distilled")
        else [],
        raw(prefix + naming.positions, "vision/positions"),
        patch_conv(prefix + naming.patches, "vision/patch_embedding", args["patch_size"]),
        [naming.block(layer(i), f"vision/layer_{i}", args["heads"]) for i in range(args["layers"])],
        norm(prefix + naming.last_norm, "vision/norm"),
        unmodelled=[*left_out, beyond, *([rf"(?!{re.escape(prefix)}).*"] if prefix else [])],
    )


def fit_vit(state: State, args: Mapping[str, Any]) -> State:
    """Returns the tensors as the encoder with `args` has them, ready for `vit_table`.

    * positions are resized to the encoder's patch grid (bicubic, as torch does it);
    * the distillation token of a DeiT goes where the encoder has none;
    * query, key and value biases that the file leaves out (`qkv_bias` off) are zero.
    """
    prefix, naming = vit_naming(state)
    state = dict(state)
    token, positions = prefix + naming.distillation_token, prefix + naming.positions
    if positions in state:
        first = 2 if token in state else 1
        state[positions] = resized_positions(state[positions], first, args)
        if token in state and not args.get("distilled"):
            state[positions] = np.delete(state[positions], 1, axis=1)
            del state[token]
    for i in range(args["layers"]):
        for bias in naming.biases:
            name = f"{prefix}{naming.layer.format(i)}.{bias}"
            weight = state.get(name.removesuffix("bias") + "weight")
            if weight is not None and name not in state:
                state[name] = np.zeros(weight.shape[0], weight.dtype)
    return state


def resized_positions(positions: np.ndarray, first: int, args: Mapping[str, Any]) -> np.ndarray:
    """Returns positions [1, first + old², D] as [1, first + new², D], the size in `args`."""
    new = args["image_size"] // args["patch_size"]
    if positions.shape[1] == first + new**2:
        return positions
    old = round(max(positions.shape[1] - first, 0) ** 0.5)
    return resize_position_grid(np.asarray(positions[0], np.float32), old, new, first)[None]


def vit_naming(names: Iterable[str]) -> tuple[str, Naming]:
    """Returns what stands before the names of a ViT ("", "vit.", …) and how its parts are named.

    Raises ValueError if there is no ViT, or more than one.
    """
    names = set(names)
    ends = {naming.patches + ".weight" for naming in NAMINGS}
    found = [(n.removesuffix(end), end) for n in names for end in ends if n.endswith("." + end)]
    found += [("", end) for end in ends if end in names]
    if len(found) != 1:
        raise ValueError(
            "expected the patch projection of one ViT, named as by timm or Hugging Face "
            f"(…{' or …'.join(sorted(ends))}); "
            f"found {', '.join(sorted(map(''.join, found))) or 'none'}"
        )
    prefix, end = found[0]
    likely = [naming for naming in NAMINGS if naming.patches + ".weight" == end]
    used = lambda naming: any(n.startswith(prefix + naming.layer.format(0) + ".") for n in names)
    return prefix, next((naming for naming in likely if used(naming)), likely[0])
