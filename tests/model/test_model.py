"""Tests of the model: building from names, every mistake in it, and every combination of parts."""

import dataclasses
import itertools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.tiny import (
    BLOCK,
    FEATURES,
    HEADS,
    TEXT,
    VISION,
    WIDTH,
    fusion_args,
    random_batch,
    random_params,
    tiny_model,
)
from vlp_jax.config import ModelConfig, build
from vlp_jax.encoders import TEXT_ENCODERS, VISION_ENCODERS
from vlp_jax.fusion import FUSIONS
from vlp_jax.heads import HEADS as ALL_HEADS
from vlp_jax.heads import POOLERS
from vlp_jax.model import VisionLanguageModel, build_model, example_batch
from vlp_jax.model.model import abstract_params, init_params
from vlp_jax.parallel import make_mesh, shardings_for, unbox

COMBINATIONS = list(itertools.product(VISION_ENCODERS, TEXT_ENCODERS, FUSIONS))
TWO = "two_image_cross_attention"
REGION_HEADS = {
    "answer_decoder": dict(vocab_size=9, layers=1, **BLOCK),
    "answer": dict(vocab_size=9, layers=1, **BLOCK),
    "caption": dict(vocab_size=9, layers=1, **BLOCK),
    "classifier": dict(classes=3),
    "detection": dict(classes=3),
    "pair_classifier": dict(classes=3),
    "paired_attention": dict(heads=2),
    "region_classifier": dict(classes=3),
    "region_labels": dict(objects=3, attributes=2, features=4),
    "weight_norm_classifier": dict(classes=3),
}


def everything(model, params, batch):
    """Returns a sum over all that the model gives, each number with another weight, and that."""
    outputs = model.apply({"params": params}, batch)
    weighted = lambda x: (
        x.astype(jnp.float32) * jnp.cos(jnp.arange(x.size)).reshape(x.shape)
    ).mean()
    return sum(weighted(x) for x in floats(outputs)), outputs


def in_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def floats(tree):
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]


def mistake(**values):
    with pytest.raises(ValueError) as error:
        build_model(build(ModelConfig, values, "config.model"))
    return str(error.value)


@pytest.mark.parametrize(("vision", "text", "fusion"), COMBINATIONS)
def test_every_combination_has_outputs_and_a_gradient_for_each_parameter(vision, text, fusion):
    model = tiny_model(vision, fusion, text=text, text_args=TEXT[text])
    params = unbox(abstract_params(model))
    pictures = 2 if fusion == TWO else 0
    batch = random_batch(np.random.default_rng(), vision, size=2, pictures=pictures)
    gradient = jax.value_and_grad(lambda p: everything(model, p, batch), has_aux=True)
    (loss, outputs), gradients = jax.eval_shape(gradient, params)
    assert loss.shape == ()
    assert outputs["itm"].shape == (2, 2) and outputs["vqa"].shape == (2, 5)
    assert outputs["mlm"].shape == (2, 6, 24) and outputs["itc"][0].shape == (2, 8)
    assert outputs["fused"].text.states.shape == outputs["text"].states.shape
    assert jax.tree.map(lambda x: x.shape, gradients) == jax.tree.map(lambda x: x.shape, params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vision", "fusion"),
    [("vit", "cross_attention"), ("regions", "co_attention"), ("resnet", "single_stream")],
)
def test_real_gradients_are_finite_and_reach_every_part(vision, fusion):
    model, rng = tiny_model(vision, fusion), np.random.default_rng()
    gradient = jax.jit(jax.grad(lambda p, b: everything(model, p, b)[0]))
    batch = random_batch(rng, vision, size=2)
    if vision == "regions":
        batch["region_mask"][:, :2] = True  # attention to one region alone has no gradient
    params = random_params(model, rng)
    if vision == "resnet":
        params["vision"] = jax.tree_util.tree_map_with_path(_raised, params["vision"])
    gradients = gradient(params, batch)
    flat = jax.tree_util.tree_leaves_with_path(gradients)
    assert all(np.isfinite(x).all() for _, x in flat)
    without = {jax.tree_util.keystr(p) for p, x in flat if not np.asarray(x).any()}
    # Statistics are stored, not trained; a key's bias shifts all scores alike; a ReLU may be dead.
    allowed = ("norm", "key", "convolution")
    assert [p for p in without if not any(part in p for part in allowed)] == []


def _raised(path: tuple, x: np.ndarray) -> np.ndarray:
    """Raises what a ReLU gets, all of which may be below zero where channels are few."""
    name = jax.tree_util.keystr(path)
    return x + 1 if "norm" in name and "bias" in name else x


@pytest.mark.parametrize(("vision", "text", "fusion"), COMBINATIONS)
def test_all_axis_names_fit_the_rules(vision, text, fusion, devices8):
    model = tiny_model(vision, fusion, text=text, text_args=TEXT[text])
    shardings_for(abstract_params(model), make_mesh(data=2, fsdp=2, tensor=2, devices=devices8))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("head", ALL_HEADS)
def test_every_head_gives_float32_from_any_states(head, dtype, devices8):
    heads = {head: REGION_HEADS.get(head, {})}
    model = tiny_model("regions", "single_stream", heads=heads, dtype=dtype)
    pictures = 2 if ALL_HEADS[head].pictures == 2 else 0
    batch = random_batch(np.random.default_rng(), "regions", size=2, pictures=pictures)
    init = lambda: model.init_with_output(jax.random.key(0), batch, mutable=["params"])
    outputs, variables = jax.eval_shape(init)
    assert {x.text.states.dtype for x in in_tuple(outputs["fused"])} == {np.dtype(dtype)}
    assert floats(outputs[head]) and {x.dtype for x in floats(outputs[head])} == {
        np.dtype("float32")
    }
    assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype("float32")}
    shardings_for(variables["params"], make_mesh(data=2, fsdp=2, tensor=2, devices=devices8))


@pytest.mark.parametrize("pooler", POOLERS)
def test_every_pooler_gives_a_vector(pooler):
    args = {"product": {"width": WIDTH}}.get(pooler, {})
    model = tiny_model(pooler=pooler, pooler_args=args)
    init = lambda: model.init_with_output(jax.random.key(0), example_batch(model, 2))
    outputs, _ = jax.eval_shape(init)
    assert outputs["pooled"].shape == (2, WIDTH)


@pytest.mark.slow
def test_the_same_parameters_twice_are_the_same():
    model = tiny_model()
    init = jax.jit(lambda key: unbox(init_params(model, key)))
    first, again = init(jax.random.key(1)), init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other = init(jax.random.key(2))
    assert np.abs(first["text"]["word"]["table"] - other["text"]["word"]["table"]).max() > 0.01
    assert jax.tree.map(jnp.shape, first) == jax.tree.map(
        lambda x: x.shape, unbox(abstract_params(model))
    )


@pytest.mark.parametrize("vision", VISION_ENCODERS)
def test_an_example_batch_holds_what_the_model_reads(vision):
    model = tiny_model(vision)
    batch = example_batch(model, 3)
    assert {"text_ids", "text_mask", *model.vision.reads} <= batch.keys()
    assert {len(x) for x in batch.values()} == {3}


@pytest.mark.parametrize(
    ("part", "kind", "typo", "nearest"),
    [
        ("vision", "vision encoder", "vitt", "vit"),
        ("text", "text encoder", "berd", "bert"),
        ("fusion", "fusion", "cross_atention", "cross_attention"),
        ("pooler", "pooler", "tahn", "tanh"),
    ],
)
def test_an_unknown_part(part, kind, typo, nearest):
    assert mistake(**{part: typo}).startswith(
        f'config.model.{part}: unknown {kind} "{typo}". Did you mean "{nearest}"? Known: '
    )


def test_an_unknown_head():
    assert mistake(heads={"itx": {}}).startswith(
        'config.model.heads.itx: unknown head "itx". Did you'
    )
    assert mistake(heads={"mine": {"kind": "classifer"}}).startswith(
        'config.model.heads.mine: unknown head "classifer". Did you mean "classifier"? Known: '
    )


REGISTRIES = [
    ("vision", VISION_ENCODERS),
    ("text", TEXT_ENCODERS),
    ("fusion", FUSIONS),
    ("pooler", POOLERS),
]
# Arguments of parts that are set once for all of them.
SHARED = {
    "dtype": "config.training.dtype",
    "remat": "config.training.remat",
    "scan_layers": "config.model.scan_layers",
}
PARTS = [(part, name) for part, registry in REGISTRIES for name in registry]


def arguments(cls):
    return [f for f in dataclasses.fields(cls) if f.name not in ("parent", "name", *SHARED)]


@pytest.mark.parametrize(("part", "name"), PARTS)
def test_an_unknown_argument_of_each_part(part, name):
    text = mistake(**{part: name, f"{part}_args": {"zzz": 1}})
    assert text.startswith(f"config.model.{part}_args.zzz: no such field. Allowed: ")


@pytest.mark.parametrize(("part", "name"), PARTS)
def test_every_argument_of_each_part_refuses_a_foreign_object(part, name):
    for field in arguments(dict(REGISTRIES)[part][name]):
        text = mistake(**{part: name, f"{part}_args": {field.name: {1, 2}}})
        assert text.startswith(f"config.model.{part}_args.{field.name} = {{1, 2}}")


@pytest.mark.parametrize("head", ALL_HEADS)
def test_mistakes_in_the_arguments_of_each_head(head):
    path = f"config.model.heads.{head}"
    assert mistake(heads={head: {"zzz": 1}}).startswith(f"{path}.zzz: no such field. Allowed:")
    for field in arguments(ALL_HEADS[head]):
        text = mistake(heads={head: {field.name: {1, 2}}})
        assert text.startswith(f"{path}.{field.name} = {{1, 2}}")


def test_a_misspelt_argument_names_the_nearest():
    text = mistake(vision_args={"ptach_size": 4})
    assert 'config.model.vision_args.ptach_size: no such field. Did you mean "patch_size"?' in text


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("vision", "dtype", "bfloat16"),
        ("text", "dtype", "bfloat16"),
        ("text", "remat", "full"),
        ("fusion", "scan_layers", "on"),
    ],
)
def test_what_all_parts_share_is_set_once(part, name, value):
    assert mistake(**{f"{part}_args": {name: value}}) == (
        f"config.model.{part}_args.{name}: set {SHARED[name]}, for all parts"
    )


@pytest.mark.parametrize("name", ["parent", "name"])
def test_what_linen_adds_is_no_argument(name):
    assert mistake(fusion_args={name: "x"}).startswith(f"config.model.fusion_args.{name}: no such")


def test_arguments_of_another_kind_are_dropped_with_a_warning(caplog):
    values = dict(fusion="cross_attention", fusion_args={"connection_heads": 4, "heads": 2})
    with caplog.at_level(logging.WARNING):
        model = build_model(build(ModelConfig, values, "config.model"))
    assert model.fusion.heads == 2 and not hasattr(model.fusion, "connection_heads")
    assert caplog.messages == [
        "config.model.fusion_args.connection_heads belongs to co_attention; "
        "cross_attention does not use it"
    ]


def test_a_head_by_another_name():
    config = build(ModelConfig, {"heads": {"nlvr": {"kind": "classifier", "classes": 2}}}, "c")
    model = build_model(config)
    assert model.heads["nlvr"].classes == 2
    assert config.heads["nlvr"]["kind"] == "classifier"


def test_a_head_that_the_model_lacks():
    with pytest.raises(ValueError) as error:
        tiny_model().head("region_labels")
    assert str(error.value) == 'the model has no head "region_labels"; it has itc, itm, mlm, vqa'


def by_methods(model: VisionLanguageModel, batch):
    """Returns what the model gives, part by part."""
    image = model.encode_image(batch)
    text = model.encode_text(batch["text_ids"], batch["text_mask"])
    fused = model.fuse(image, text)
    pooled = model.pool(fused)
    vectors = model.head("itc").image(image), model.head("itc").text(text)
    return {
        "image": image,
        "text": text,
        "fused": fused,
        "pooled": pooled,
        "itc": (*vectors, model.head("itc").learned_temperature),
        "itm": model.head("itm")(pooled),
        "mlm": model.head("mlm")(fused.text.states, model.text.word_table()),
        "vqa": model.head("vqa")(pooled),
    }


def test_methods_give_what_the_call_gives():
    model, rng = tiny_model(), np.random.default_rng()
    params, batch = random_params(model, rng), random_batch(rng, size=2)

    @jax.jit
    def both(params, batch):
        variables = {"params": params}
        return model.apply(variables, batch), model.apply(variables, batch, method=by_methods)

    called, found = both(params, batch)
    assert called.keys() == found.keys() and set(HEADS) <= called.keys()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), called, found)
    assert called["itc"][2] == np.float32(0.2)


@pytest.fixture(scope="module")
def all_outputs():
    """The forward pass of a model whose every part meets padding, and fresh parameters for it."""
    heads = HEADS | {"itc": {"width": 8, "image_pool": "mean"}, "region_score": {}}
    regions = VISION["regions"] | {"layers": 1}
    model = tiny_model("regions", "single_stream", heads=heads, vision_args=regions)
    apply = jax.jit(lambda params, batch: model.apply({"params": params}, batch))
    return apply, lambda rng: random_params(model, rng)


@pytest.mark.slow
@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_what_stands_in_padding_never_matters(all_outputs, seed):
    apply, params = all_outputs
    rng = np.random.default_rng(seed)
    batch, other = (random_batch(rng, "regions", size=3) for _ in range(2))
    mixed = dict(batch)
    for name, mask in (
        ("text_ids", "text"),
        ("region_features", "region"),
        ("region_boxes", "region"),
    ):
        real = batch[f"{mask}_mask"].reshape(batch[name].shape[:2] + (1,) * (batch[name].ndim - 2))
        mixed[name] = np.where(real, batch[name], other[name])
    values = params(rng)
    own, again = apply(values, batch), apply(values, mixed)
    for name in ("itc", "itm", "vqa", "region_score", "pooled"):
        jax.tree.map(np.testing.assert_array_equal, own[name], again[name])
    words = batch["text_mask"]
    np.testing.assert_array_equal(own["mlm"][words], again["mlm"][words])


def test_widths_that_do_not_go_together():
    def shapes(**changes):
        model = tiny_model(**changes)
        return jax.eval_shape(lambda: init_params(model, jax.random.key(0)))

    wide = VISION["vit"] | {"width": 24}
    shapes(vision_args=wide)
    with pytest.raises(ValueError, match="text has 16, image has 24"):
        shapes(fusion="cross_modality", vision_args=wide, fusion_args=fusion_args("cross_modality"))
    with pytest.raises(ValueError, match="width 16 cannot be split over 3 attention heads"):
        shapes(text_args=TEXT["bert"] | {"heads": 3})
    with pytest.raises(ValueError, match=f"takes {FEATURES + 1}|{FEATURES} wide"):
        batch = random_batch(np.random.default_rng(), "regions", 2)
        args = VISION["regions"] | {"feature_width": FEATURES + 1}
        model = tiny_model("regions", vision_args=args)
        jax.eval_shape(lambda: model.init(jax.random.key(0), batch))


@pytest.fixture(scope="module")
def of_two():
    """A model with heads for one picture and for two, its parameters, and examples of two."""
    heads = {"itm": {}, "nlvr": {"kind": "pair_classifier", "classes": 2, "form": "linear"}}
    model, rng = tiny_model("regions", "single_stream", heads=heads), np.random.default_rng()
    return model, random_params(model, rng), random_batch(rng, "regions", size=2, pictures=2)


def pictures_of(model, batch):
    """Returns the batches of the first and of the second pictures."""
    vision = {*model.vision.reads, *model.vision.may_read}
    return [{n: x[:, i] if n in vision else x for n, x in batch.items()} for i in (0, 1)]


def test_two_pictures_are_two_passes_that_one_head_compares(of_two):
    model, params, batch = of_two
    apply = jax.jit(lambda batch: model.apply({"params": params}, batch))
    outputs, singles = apply(batch), [apply(x) for x in pictures_of(model, batch)]
    assert "itm" not in outputs and all("nlvr" not in single for single in singles)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
    for name in ("image", "fused"):
        jax.tree.map(close, outputs[name], tuple(single[name] for single in singles))
    pooled = np.stack([single["pooled"] for single in singles], axis=1)
    close(outputs["pooled"], pooled)
    output = params["heads_nlvr"]["output"]
    close(outputs["nlvr"], pooled.reshape(2, -1) @ output["kernel"] + output["bias"])


def test_each_picture_may_have_its_own_text(of_two):
    model, params, batch = of_two
    apply = jax.jit(lambda batch: model.apply({"params": params}, batch))
    other = random_batch(np.random.default_rng(), "regions", size=2)
    names = ("text_ids", "text_mask")
    texts = {name: np.stack([batch[name], other[name]], axis=1) for name in names}
    outputs = apply(batch | texts)
    assert len(outputs["text"]) == 2
    second = pictures_of(model, batch)[1] | {name: other[name] for name in names}
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        outputs["fused"][1],
        apply(second)["fused"],
    )
    three = {name: np.stack([batch[name]] * 3, axis=1) for name in names}
    with pytest.raises(ValueError, match="has 2 pictures and 3 texts an example"):
        apply(batch | three)


@pytest.mark.parametrize("vision", VISION_ENCODERS)
def test_one_picture_is_refused_where_every_head_compares_two(vision):
    heads = {"nlvr": {"kind": "pair_classifier", "classes": 2}}
    model, rng = tiny_model(vision, heads=heads), np.random.default_rng()
    run = lambda batch: jax.eval_shape(
        lambda: model.apply({"params": random_params(model, rng)}, batch)
    )
    with pytest.raises(ValueError) as error:
        run(random_batch(rng, vision, size=3))
    assert str(error.value) == (
        "the batch has 1 picture(s) an example, and this model compares 2: give "
        f"{', '.join(model.vision.reads)} as [B, pictures, ...]"
    )
    assert run(random_batch(rng, vision, size=3, pictures=2))["nlvr"].shape == (3, 2)


@pytest.mark.slow
@pytest.mark.parametrize("vision", ["vit", "regions"])
def test_a_fusion_of_two_pictures(vision):
    heads = {"nlvr": {"kind": "classifier", "classes": 2}}
    model, rng = tiny_model(vision, TWO, heads=heads), np.random.default_rng()
    params, batch = random_params(model, rng), random_batch(rng, vision, size=3, pictures=2)
    apply = jax.jit(lambda batch: model.apply({"params": params}, batch))
    outputs = apply(batch)
    assert outputs["nlvr"].shape == (3, 2) and len(outputs["image"]) == 2
    names = (*model.vision.reads, *model.vision.may_read)
    turned = {n: x[:, ::-1] if n in names else x for n, x in batch.items()}
    assert np.abs(apply(turned)["nlvr"] - outputs["nlvr"]).max() > 1e-4
    example = example_batch(model, 3)
    assert example[model.vision.reads[0]].shape[:2] == (3, 2)
    assert jax.eval_shape(apply, example)["nlvr"].shape == (3, 2)
    with pytest.raises(ValueError, match=r"fusion reads 2 picture\(s\) .* and 1 were given: give"):
        apply(random_batch(rng, vision, size=3))


def test_pictures_are_compared_by_the_fusion_or_by_the_head():
    text = mistake(fusion=TWO, heads={"nlvr": {"kind": "pair_classifier"}})
    assert text.startswith("config.model.heads.nlvr compares 2 pictures that are fused one by one")
