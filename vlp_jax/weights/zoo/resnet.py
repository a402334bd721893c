"""Published ResNet weights for the vision encoder "resnet": Hugging Face and torchvision layouts.

"Deep Residual Learning for Image Recognition" (He et al. 2016), https://arxiv.org/abs/1512.03385.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.linen import meta

from vlp_jax.encoders.resnet import ResNet
from vlp_jax.weights.conversion import State, to_params, to_published
from vlp_jax.weights.key_table import Entries, KeyTable, conv, key_table, raw
from vlp_jax.weights.safetensors_file import write_directory
from vlp_jax.weights.state_dict import read_state_dict

# Counters of training, and the ImageNet classifier.
UNMODELLED = (r".*\.num_batches_tracked", r"classifier\.1\..*", r"fc\..*")

# Blocks in each stage (He et al. 2016, table 1), by number of layers.
# What `ResNetConfig` assumes of entries that a config.json leaves out.
DEFAULTS = {
    "num_channels": 3,
    "embedding_size": 64,
    "hidden_sizes": (256, 512, 1024, 2048),
    "depths": (3, 4, 6, 3),
    "layer_type": "bottleneck",
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
    "downsample_in_bottleneck": False,
}


def encoder_args(published: Mapping[str, Any], image_size: int = 224) -> dict[str, Any]:
    """Returns the `vision_args` of a Hugging Face `ResNetConfig`, for images of `image_size`."""
    sizes = {**DEFAULTS, **published}
    if sizes["num_channels"] != 3:
        raise ValueError(f"num_channels = {sizes['num_channels']}: expected 3")
    return dict(
        image_size=image_size,
        embedding_width=sizes["embedding_size"],
        widths=tuple(sizes["hidden_sizes"]),
        depths=tuple(sizes["depths"]),
        block=sizes["layer_type"],
        activation=sizes["hidden_act"],
        stride_in_first=sizes["downsample_in_bottleneck"],
        stride_in_first_stage=sizes["downsample_in_first_stage"],
    )


def published_config(args: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of a Hugging Face `config.json` for `vision_args`."""
    encoder = ResNet(**args)
    return {
        "model_type": "resnet",
        "architectures": ["ResNetModel"],
        "num_channels": 3,
        "embedding_size": encoder.embedding_width,
        "hidden_sizes": list(encoder.widths),
        "depths": list(encoder.depths),
        "layer_type": encoder.block,
        "hidden_act": encoder.activation,
        "downsample_in_first_stage": encoder.stride_in_first_stage,
        "downsample_in_bottleneck": encoder.stride_in_first,
    }


def huggingface_table(args: Mapping[str, Any], prefix: str = "") -> KeyTable:
    """`ResNetModel`; in `ResNetForImageClassification` names have the prefix "resnet."."""
    embedder = f"{prefix}embedder.embedder"
    entries = [normalised_conv(f"{embedder}.convolution", f"{embedder}.normalization", "stem")]
    for stage, i, count, shortcut in _blocks(args):
        published, ours = f"{prefix}encoder.stages.{stage}.layers.{i}", f"stage_{stage}_block_{i}"
        layers = {f"{published}.layer.{n}": f"{ours}/layer_{n}" for n in range(count)}
        if shortcut:
            layers[f"{published}.shortcut"] = f"{ours}/shortcut"
        entries += [
            normalised_conv(f"{p}.convolution", f"{p}.normalization", o) for p, o in layers.items()
        ]
    return key_table(entries, unmodelled=UNMODELLED)


def torchvision_table(args: Mapping[str, Any]) -> KeyTable:
    """torchvision's `resnet*`; stages are counted from 1."""
    entries = [normalised_conv("conv1", "bn1", "stem")]
    for stage, i, count, shortcut in _blocks(args):
        published, ours = f"layer{stage + 1}.{i}", f"stage_{stage}_block_{i}"
        for n in range(count):
            names = f"{published}.conv{n + 1}", f"{published}.bn{n + 1}"
            entries.append(normalised_conv(*names, f"{ours}/layer_{n}"))
        if shortcut:
            names = f"{published}.downsample.0", f"{published}.downsample.1"
            entries.append(normalised_conv(*names, f"{ours}/shortcut"))
    return key_table(entries, unmodelled=UNMODELLED)


def resnet_table(args: Mapping[str, Any], names: State | Mapping[str, Any]) -> KeyTable:
    """Returns the table of the layout that `names` (such as a state dict) are in."""
    tables = [
        huggingface_table(args),
        huggingface_table(args, "resnet."),
        torchvision_table(args),
    ]
    return max(tables, key=lambda table: len(table.names & set(names)))


def load_resnet(state: State, args: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the encoder's parameters, float32, from tensors in any of the layouts.

    Raises ValueError that lists every tensor that does not fit.
    """
    return to_params(state, resnet_table(args, state), encoder_shapes(args))


def read_resnet(path: str | Path, image_size: int = 224) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns `vision_args` and parameters of a Hugging Face ResNet directory."""
    state = read_state_dict(path)
    if state.meta.config.get("model_type") != "resnet":
        raise ValueError(
            f"{path} has no config.json of a ResNet; expected a Hugging Face directory"
        )
    args = encoder_args(state.meta.config, image_size)
    return args, load_resnet(state, args)


def write_resnet(path: str | Path, args: Mapping[str, Any], params: Mapping) -> None:
    """Writes the encoder's parameters as a Hugging Face `ResNetModel` directory."""
    write_directory(path, to_published(params, huggingface_table(args)), published_config(args))


def encoder_shapes(args: Mapping[str, Any]) -> Any:
    """Returns the parameter tree of the encoder, its layers up to the feature map, as shapes."""
    encoder = ResNet(**{**args, "width": 0})
    side = encoder.image_size
    batch = {"image": jnp.zeros((1, side, side, 3))}
    return meta.unbox(jax.eval_shape(lambda: encoder.init(jax.random.key(0), batch)["params"]))


def _blocks(args: Mapping[str, Any]) -> list[tuple[int, int, int, bool]]:
    """Returns each block's stage, index, number of convolutions and whether it has a shortcut."""
    encoder = ResNet(**args)
    count = 3 if encoder.block == "bottleneck" else 2
    blocks, width = [], encoder.embedding_width
    for stage, (features, depth) in enumerate(zip(encoder.widths, encoder.depths)):
        halves = stage > 0 or encoder.stride_in_first_stage
        blocks += [
            (stage, i, count, i == 0 and (halves or features != width)) for i in range(depth)
        ]
        width = features
    return blocks


def normalised_conv(
    convolution: str, normalisation: str, ours: str, copies: Iterable[tuple[str, str]] = ()
) -> Entries:
    """`Convolution`: its kernel, and the normalisation with its statistics.

    `copies` are further names of the two, with the same numbers.
    """
    names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
    convolutions, normalisations = zip(*copies) if copies else ((), ())
    return [
        conv(convolution, f"{ours}/convolution", convolutions),
        [
            raw(f"{normalisation}.{p}", f"{ours}/norm/{o}", [f"{n}.{p}" for n in normalisations])
            for p, o in names.items()
        ],
    ]
