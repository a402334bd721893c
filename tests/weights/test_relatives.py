"""Files of a tower's relatives, and damaged ones, are refused by name and not filled in part."""

import functools

import numpy as np
import pytest

from tests.weights.test_initial import BLOCK, MODEL, VOCABULARY, experiment
from tests.weights.weight_files import (
    BERT_CONFIG,
    VIT_CONFIG,
    WIDTH,
    bert_file,
    draw,
    norm,
    timm_file,
    vit_file,
)
from vlp_jax.model import build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import unbox
from vlp_jax.weights.conversion import published_shapes
from vlp_jax.weights.initial import read_initial_weights
from vlp_jax.weights.safetensors_file import write_directory, write_safetensors
from vlp_jax.weights.zoo.resnet import encoder_shapes, torchvision_table

RESNET = dict(image_size=12, embedding_width=4, widths=(8,), depths=(1,))


@functools.cache
def model_of(vision: str):
    args = {"vit": MODEL["vision_args"], "resnet": RESNET}[vision]
    config = experiment(vision=vision, vision_args=args, fusion_args=dict(layers=1, **BLOCK)).model
    model = build_model(config)
    return config, model, unbox(abstract_params(model))


def fill(state, folder, vision="vit", config=None, **entry):
    """Returns what the file of these tensors fills, and the news of it."""
    path = folder / "file.safetensors"
    if config is None:
        write_safetensors(path, state)
    else:
        write_directory(path := folder / "directory", state, config)
    model_config, model, params = model_of(vision)
    whole = experiment({"path": str(path)} | entry)
    whole = type(whole)(model=model_config, init_from=whole.init_from)
    return read_initial_weights(whole, model, params, VOCABULARY, None)


def without(state, *ends):
    return {name: array for name, array in state.items() if not name.endswith(ends)}


def scales(prefix, *names):
    return {f"{prefix}.{name}": draw(WIDTH) for name in names}


TIMM, VIT = timm_file(1, 3, 4), vit_file(1, 3, 4)
BEIT = without(TIMM, "qkv.bias") | scales("blocks.0", "gamma_1", "attn.q_bias", "attn.v_bias")
RELATIVES = {
    "DINOv2": (TIMM | scales("blocks.0", "ls1.gamma", "ls2.gamma"), r"blocks\.\*\.ls\* \(2\)"),
    "registers": (TIMM | {"reg_token": draw(1, 4, WIDTH)}, "reg_token"),
    "q/k-norm": (TIMM | norm("blocks.0.attn.q_norm"), r"blocks\.\*\.attn\.q_norm \(2\)"),
    "CLIP": (TIMM | norm("norm_pre"), r"norm_pre \(2\)"),
    "mean": (without(TIMM, "orm.bias") | norm("fc_norm"), r"fc_norm \(2\)"),
    "BEiT": (BEIT, r"blocks\.\*\.attn\.q_bias, blocks\.\*\.attn\.v_bias, blocks\.\*\.gamma"),
    "DINOv2 of Hugging Face": (
        VIT | scales("encoder.layer.0", "layer_scale1.lambda1"),
        r"encoder\.layer\.\*\.layer_scale",
    ),
    "BEiT of Hugging Face": (
        {f"beit.{k}": v for k, v in (VIT | scales("encoder.layer.0", "lambda_1")).items()},
        r"beit\.encoder\.layer\.\*\.lambda",
    ),
    "more in BERT": (
        bert_file(2) | norm("bert.encoder.layer.0.extra"),
        r"bert\.encoder\.layer\.\*\.ext",
    ),
    "ELECTRA": (bert_file(2, "electra.") | norm("electra.embeddings_project"), "embeddings_proj"),
    "RoBERTa's head": (bert_file(2, "", head=False) | norm("lm_head.layer_norm"), "lm_head"),
    "two streams": (bert_file(2) | norm("bert.encoder.v_layer.0.norm"), "bert.encoder.v_layer"),
}


@pytest.mark.parametrize("name", RELATIVES)
def test_what_the_model_has_no_place_for_is_named(name, tmp_path):
    state, named = RELATIVES[name]
    with pytest.raises(ValueError, match=rf"holds what \w+ weights do not have: .*{named}"):
        fill(state, tmp_path)


def test_what_is_ignored_by_name_is_left_out(tmp_path):
    state, _ = RELATIVES["DINOv2"]
    (filling,) = fill(state, tmp_path, ignore=[r"\.ls\d"]).fillings
    assert "unused of the file: blocks.*.ls* (2)" in filling.news
    with pytest.raises(ValueError, match='ignore "lss" matches no tensor of the file'):
        fill(state, tmp_path, ignore=["lss"])
    with pytest.raises(ValueError, match=r"do not have: blocks\.0\.ls1\. "):
        fill(state, tmp_path, ignore=["ls2"])


PREFIXES = ("roberta.", "xlm_roberta.", "distilbert.", "camembert.", "text.albert.", "deberta.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_relatives_of_bert_are_told_by_their_prefix(prefix, tmp_path):
    with pytest.raises(ValueError, match="expected a BERT; the names .* are of a relative"):
        fill(bert_file(2, prefix, head=False), tmp_path)


@pytest.mark.parametrize("prefix", ["", "bert.", "text_encoder.bert.", "text_bert.", "electra."])
def test_a_bert_may_stand_behind_any_other_prefix(prefix, tmp_path):
    assert fill(bert_file(2, prefix, head=False), tmp_path).fillings


@pytest.mark.parametrize("kind", ["roberta", "dinov2", "beit"])
def test_relatives_are_told_by_their_config(kind, tmp_path):
    own = (bert_file(2), BERT_CONFIG) if kind == "roberta" else (VIT, VIT_CONFIG)
    state, config = own[0], own[1] | {"model_type": kind, "architectures": []}
    with pytest.raises(ValueError, match=f"model_type = '{kind}': expected"):
        fill(state, tmp_path, config=config)


def resnet_file():
    args = {**RESNET}
    shapes = published_shapes(encoder_shapes(args), torchvision_table(args))
    return {name: np.abs(draw(*shape)) + 0.1 for name, shape in shapes.items()}


@pytest.mark.parametrize("extra", ["layer1.0.se.fc1.weight", "conv1.3.weight", "layer2.0.bn1.bias"])
def test_relatives_of_resnet(extra, tmp_path):
    fill(resnet_file() | {"fc.weight": draw(3, 8)}, tmp_path, "resnet", kind="resnet")
    with pytest.raises(
        ValueError, match=rf"resnet weights do not have: {extra.split('.')[0][:-1]}"
    ):
        fill(resnet_file() | {extra: draw(3, 8)}, tmp_path, "resnet", kind="resnet")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_values_that_are_no_numbers_are_refused_by_name(value, dtype, tmp_path):
    state = {name: array.astype(dtype) for name, array in VIT.items()}
    state["layernorm.weight"][1] = value
    with pytest.raises(ValueError, match="layernorm.weight: 1 of 8 are NaN or infinite"):
        fill(state, tmp_path)


def test_a_variance_that_is_none(tmp_path):
    state = resnet_file()
    state["bn1.running_var"][0] = 0
    with pytest.raises(ValueError, match=r"bn1.running_var: 0, must be above 0"):
        fill(state, tmp_path, "resnet", kind="resnet")


def test_a_bare_roberta_is_told_by_its_positions(tmp_path):
    state = bert_file(2, "", head=False)
    state["embeddings.position_embeddings.weight"] = draw(514, WIDTH)
    with pytest.raises(ValueError, match="table of 514 positions is that of a RoBERTa"):
        fill(state, tmp_path)
