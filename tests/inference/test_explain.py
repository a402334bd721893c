"""Where a model looks for each word: every family and method, words, boxes, and what is refused."""

import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import vlp_jax
from tests.inference.published import random_regions, sizes_of, write_weights
from vlp_jax.config import ExperimentConfig
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.inference import Model, load
from vlp_jax.inference.explain import methods
from vlp_jax.weights.zoo import ZOO

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
REGIONS = random_regions(12)
TEXT = "a dog's sofa"


@pytest.mark.drawn(3)
@pytest.mark.slow
@pytest.mark.parametrize("method", ["attention", pytest.param("gradcam", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["uniter", "lxmert", "visualbert", "oscar", "vilbert_12in1"])
def test_words_over_regions(loaded, name, method):
    found = loaded(name).explain(text=TEXT, regions=REGIONS, method=method)
    assert found.words == tuple(TEXT.split()) and found.method == method
    shown = len(found.boxes)  # UNITER takes those that are sure enough
    assert found.weights.shape == (3, shown) and found.weights.dtype == np.float32
    assert (found.weights >= 0).all() and found.weights.any() and found.maps is None
    np.testing.assert_allclose(found.boxes, REGIONS.boxes[:shown], rtol=1e-5)
    assert found.names == REGIONS.names[:shown]
    assert found.picture.shape == (100, 200, 3) and (found.picture == 255).all()
    chance = loaded(name).match(texts=TEXT, regions=REGIONS)[0]
    assert found.probability == pytest.approx(chance, abs=1e-6)


@pytest.mark.slow
def test_words_over_pixels(loaded):
    model = loaded("albef")
    found = model.explain(PIXELS, TEXT, method="attention")
    assert found.words == ("a", "dogs", "sofa") and found.weights is None
    assert found.maps.shape == (3, 2, 2) and found.maps.dtype == np.float32
    assert (found.maps > 0).all() and (found.maps.sum((1, 2)) < 1).all()  # [CLS] has the rest
    read = model.inputs.pictures("", PIXELS).fields["image"]
    np.testing.assert_array_equal(found.picture, read[0])
    assert methods(model.module, model.rules) == ("gradcam", "attention")


@pytest.mark.slow
def test_without_a_matching_head_there_is_no_probability(loaded):
    found = loaded("albef_vqa").explain(PIXELS, TEXT)
    assert found.method == "attention" and found.probability is None


def test_a_word_has_the_mean_of_its_pieces_and_tags_are_no_words(loaded, monkeypatch):
    """OSCAR reads [CLS] text [SEP] tags [SEP]; with made-up maps a position's weight is itself."""
    model = loaded("oscar")
    numbered = lambda function, batch, task: [np.tile(np.arange(99.0)[:, None], (1, 12))]
    monkeypatch.setitem(model.__dict__, "_odds", lambda *_: np.zeros(1))
    monkeypatch.setitem(model.__dict__, "compute", numbered)
    found = model.explain(text=TEXT, regions=REGIONS, tags="sofa;lamp")
    assert Tokenizer.bert_uncased().word_pieces(TEXT) == [
        "a", "dog", "'", "s", "sofa",
    ]  # fmt: skip
    assert found.words == tuple(TEXT.split())
    np.testing.assert_allclose(found.weights[:, 0], [1, (2 + 3 + 4) / 3, 5])


def test_alignment_is_the_plan_from_words_to_regions(loaded):
    """Rows sum to one, and with the plan's columns all regions get as much from all positions."""
    model = loaded("uniter")
    found = model.explain(text=TEXT, regions=REGIONS, method="alignment")
    np.testing.assert_allclose(found.weights.sum(1), 1.0, rtol=1e-5)
    batch = model.inputs.batch("", model.inputs.pictures("", None, REGIONS), TEXT, model.rules.text)
    fused = model.apply(batch)["fused"]
    cost = 1 - _cosines(fused.text, fused.image)
    plan = _proximal_plan(cost)
    rows = len(cost) * plan
    words = [rows[1], rows[2:5].mean(0), rows[5]]
    np.testing.assert_allclose(found.weights, words, rtol=2e-3)


def _cosines(text, image):
    states = (np.asarray(x.states[0], np.float64)[np.asarray(x.mask[0])] for x in (text, image))
    words, regions = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in states)
    return words @ regions.T


def _proximal_plan(cost, beta=0.5):
    """Xie et al. 2020, algorithm 1, in float64."""
    (m, n), plan, row = cost.shape, np.ones(cost.shape), np.full(len(cost), 1 / len(cost))
    for _ in range(50):
        weights = np.exp(-cost / beta) * plan
        column = 1 / (n * (weights.T @ row))
        row = 1 / (m * (weights @ column))
        plan = row[:, None] * weights * column
    return plan


def test_boxes_are_drawn_on_the_picture_that_is_given(loaded):
    picture = np.random.default_rng().integers(0, 256, (50, 100, 3), dtype=np.uint8)
    found = loaded("lxmert").explain(picture, TEXT, regions=REGIONS)
    np.testing.assert_array_equal(found.picture, picture)
    np.testing.assert_allclose(found.boxes, REGIONS.boxes / 2, rtol=1e-5)
    with pytest.raises(ValueError, match="40 x 30.*200 x 100"):
        loaded("lxmert").explain(PIXELS.swapaxes(0, 1), TEXT, regions=REGIONS)


def test_the_layer_can_be_chosen(loaded):
    model = loaded("uniter")
    ask = lambda layer: model.explain(text=TEXT, regions=REGIONS, method="attention", layer=layer)
    first, second, usual = (ask(layer).weights for layer in (0, 1, None))
    np.testing.assert_array_equal(first, usual)  # of two, the first is the middle
    assert np.abs(first - second).max() > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, given, message",
    [
        ("lxmert", dict(method="alignment"), 'is "alignment"; .* supports gradcam, attention'),
        ("uniter_vqa", dict(method="gradcam"), "supports alignment, attention"),
        ("albef_nlvr2", {}, "no word of this model reads one picture by itself"),
        ("uniter", dict(layer=7, method="attention"), "layer is 7; .* 2 layer.*expected 0 to 1"),
        ("uniter", dict(layer=0, method="alignment"), "layer is 0; alignment .* give none"),
        ("uniter", dict(text=" "), "expected a string with words in it"),
        ("uniter", dict(text=["a", "b"]), "expected a string with words in it"),
        ("uniter", dict(regions=[REGIONS, REGIONS]), "takes one picture; 2 were given"),
        ("albef", dict(image=PIXELS), "this model reads pixels; give `images` and no `regions`"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_refused(loaded, name, given, message):
    with pytest.raises(ValueError, match=message):
        loaded(name).explain(**{"text": TEXT, "regions": REGIONS} | given)


def snippets() -> list[str]:
    page = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("code", snippets(), ids=lambda code: code.split('"')[1])
def test_what_the_page_shows_runs(code, loaded, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.resize(PIXELS, (100, 200, 3))).save("photo.png")
    Path("features").mkdir()
    np.savez("features/photo.npz", features=REGIONS.features, boxes=REGIONS.boxes, image_w=200,
             image_h=100)  # fmt: skip
    tiny = lambda name, *given, **options: loaded("albef" if "runs" in name else name)
    monkeypatch.setattr(vlp_jax, "load", tiny)
    made = {"vlp_jax": vlp_jax, "np": np}
    exec(code, made)
    assert len(capsys.readouterr().out.splitlines()) == len(made["found"].words) > 4


@pytest.mark.parametrize("aligned", [True, False])
def test_a_run_can_be_aligned_if_it_was_trained_to(aligned):
    published = ZOO["uniter"]
    model = published.from_published(dict(published.sizes) | sizes_of("uniter"))
    tasks = {"itm": {"negatives": "swapped"}} | ({"alignment": {}} if aligned else {})
    config = ExperimentConfig(model=model, tasks=tasks)
    run = Model(config, None, Vocabulary(Tokenizer.bert_uncased()))
    known = ("gradcam", "alignment", "attention") if aligned else ("gradcam", "attention")
    assert methods(run.module, run.rules) == known


@pytest.mark.slow
def test_gradcam_is_that_of_albef_written_out_in_float64(tmp_path):
    """Slopes of the matching logit by probabilities of the middle layer, by differences."""
    sizes = sizes_of("albef")
    sizes["bert_config"] = sizes["bert_config"] | {"num_hidden_layers": 4}  # three of fusion
    file = write_weights(tmp_path, "albef", sizes=sizes)
    model = load("albef", file, sizes=sizes)
    found = model.explain(PIXELS, TEXT, method="gradcam")
    published = {k: v.astype(np.float64) for k, v in load_file(file).items()}
    batch = model.inputs.batch("", model.inputs.pictures("", PIXELS), TEXT, model.rules.text)
    made = model.apply(batch)
    text, image = (np.asarray(made[n].states[0], np.float64) for n in ("text", "image"))
    forward = partial(_match_logit, published, text[np.asarray(made["text"].mask[0])], image)
    _, probabilities = forward(None)
    slopes = np.zeros_like(probabilities)
    for place in np.ndindex(slopes.shape):
        step = np.zeros_like(slopes)
        step[place] = 1e-5
        slopes[place] = (forward(step)[0] - forward(-step)[0]) / 2e-5
    heat = (probabilities * np.maximum(slopes, 0)).mean(0)
    words = np.stack([heat[1], heat[2], heat[3]])  # [CLS] a dogs sofa
    assert words[:, 1:].min() > 0
    np.testing.assert_allclose(found.maps.reshape(3, 4), words[:, 1:], rtol=1e-3)


def _match_logit(tensors, states, image, shift):
    """The logit, and the probabilities [heads, text, image] of the second fusion layer."""
    for layer in (1, 2, 3):
        own = partial(_layer_part, tensors, f"text_encoder.bert.encoder.layer.{layer}.")
        states, _ = _attention(own, "attention", states, states, None)
        moved = shift if layer == 2 else None
        states, read = _attention(own, "crossattention", states, image, moved)
        if layer == 2:
            kept = read
        hidden = own("intermediate.dense", states)
        hidden = hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2
        states = own("output.LayerNorm", states + own("output.dense", hidden))
    return _dense(tensors, "itm_head", states[0])[1], kept


def _attention(own, name, states, context, shift):
    split = lambda x: x.reshape(len(x), 2, -1).swapaxes(0, 1)
    query, key, value = (
        split(own(f"{name}.self.{part}", x))
        for part, x in (("query", states), ("key", context), ("value", context))
    )
    scores = np.exp(query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1]))
    read = scores / scores.sum(-1, keepdims=True)
    mixed = ((read if shift is None else read + shift) @ value).swapaxes(0, 1)
    output = own(f"{name}.output.dense", mixed.reshape(len(states), -1))
    return own(f"{name}.output.LayerNorm", states + output), read


def _layer_part(tensors, prefix, name, x):
    if not name.endswith("LayerNorm"):
        return _dense(tensors, prefix + name, x)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * tensors[f"{prefix}{name}.weight"] + tensors[f"{prefix}{name}.bias"]


def _dense(tensors, name, x):
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]
