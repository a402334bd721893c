"""Bundles of losses: the shipped one passes, each error is found, and every mistake is named."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.verify import verify
from vlp_jax.verify.losses import LOSS_FUNCTIONS, Inputs, find_loss, spread

BUNDLE = Path(__file__).parents[1] / "goldens" / "losses-a"
# Few and small: what is tested here is how a bundle is read and judged.
NAMES = ("uniter_triplet", "vqa_bce")


@pytest.fixture
def bundle(tmp_path):
    """A bundle of two losses that can be rewritten."""
    index = json.loads((BUNDLE / "index.json").read_text())
    write_index(tmp_path, {name: index[name] for name in NAMES})
    for name in NAMES:
        shutil.copy(BUNDLE / index[name]["file"], tmp_path)
    return tmp_path


def write_index(folder, index):
    (folder / "index.json").write_text(json.dumps(index))


def edit(folder, name, **arrays):
    """Replaces arrays of a loss, named with "__" for "/"; None takes one out."""
    path = folder / f"{name}.npz"
    changed = dict(np.load(path)) | {key.replace("__", "/"): x for key, x in arrays.items()}
    np.savez(path, **{key: x for key, x in changed.items() if x is not None})


def failed(folder):
    (verdict,) = verify([folder])
    assert not verdict.problem and verdict.kind == "objectives/losses"
    return {row.name for row in verdict.rows if not row.passed}


def problem(folder):
    (verdict,) = verify([folder])
    assert not verdict.passed and "cannot run" not in verdict.problem
    return verdict.problem


@pytest.mark.slow
def test_every_value_and_gradient_of_the_shipped_losses():
    (verdict,) = verify([BUNDLE])
    assert not verdict.problem and [row for row in verdict.rows if not row.passed] == []
    names = {row.name.partition("/")[0] for row in verdict.rows}
    assert names == json.loads((BUNDLE / "index.json").read_text()).keys() and len(names) == 26
    assert sum("/grad/" in row.name for row in verdict.rows) > 40


def test_a_wrong_value_and_a_wrong_gradient_fail_alone(bundle):
    assert failed(bundle) == set()
    arrays = np.load(bundle / "uniter_triplet.npz")
    elements = arrays["out/elements"].copy()
    elements.flat[np.abs(elements).argmax()] *= 1 + 5e-6
    gradient = arrays["grad/scores"].copy()
    gradient.flat[np.abs(gradient).argmax()] *= 1 + 5e-5
    edit(bundle, "uniter_triplet", out__elements=elements, grad__scores=gradient)
    assert failed(bundle) == {"uniter_triplet/elements", "uniter_triplet/grad/scores"}


def test_other_inputs_give_other_losses(bundle):
    edit(bundle, "uniter_triplet", in__margin=np.float32(0.3))
    assert {"uniter_triplet/loss", "uniter_triplet/elements"} <= failed(bundle)


def test_an_output_of_the_bundle_that_is_not_computed_fails(bundle):
    edit(bundle, "vqa_bce", out__mystery=np.float32(1))
    assert failed(bundle) == {"vqa_bce/mystery"}


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"in__targets": None}, 'vqa_bce: no input "targets"'),
        ({"grad__mystery": np.zeros(3)}, 'vqa_bce: a gradient of "mystery", which is no input'),
    ],
)
def test_arrays_that_do_not_fit_are_named(bundle, arrays, message):
    edit(bundle, "vqa_bce", **arrays)
    assert message in problem(bundle)


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"uniter_triplt": {"file": "vqa_bce.npz"}}, 'unknown loss "uniter_triplt". Did you mean'),
        ({"vqa_bce": {}}, 'the entry "vqa_bce" names no "file"'),
        ({"vqa_bce": 3}, 'the entry "vqa_bce" names no "file"'),
        ({"vqa_bce": {"file": "../gone.npz"}}, "gone.npz does not exist"),
    ],
)
def test_a_wrong_index_is_named(bundle, entry, message):
    write_index(bundle, entry)
    assert message in problem(bundle)


def test_damaged_files_are_named(bundle):
    (bundle / "vqa_bce.npz").write_bytes(b"PK nothing")
    assert "vqa_bce.npz is damaged" in problem(bundle)
    (bundle / "index.json").write_text("[]")
    assert "index.json: expected a JSON object, found list" in problem(bundle)


def test_variants_of_a_loss_are_found_by_the_longest_name():
    assert find_loss("oscar_caption_smooth0.2_drop0.5") is LOSS_FUNCTIONS["oscar_caption"]
    assert find_loss("albef_itc_temp_clamped") is LOSS_FUNCTIONS["albef_itc"]
    plain = LOSS_FUNCTIONS["albef_retrieval_itc_no_distill"]
    assert find_loss("albef_retrieval_itc_no_distill_b") is plain
    assert plain is not LOSS_FUNCTIONS["albef_retrieval_itc"]


def test_numbers_are_those_that_were_meant():
    inputs = Inputs(ratio=np.float32(0.3), k=np.array([4]))
    assert inputs.number("ratio") == 0.3 and inputs.number("k") == 4
    assert isinstance(inputs.number("k"), int)


def test_targets_are_spread_in_order():
    mask = np.array([[False, True], [True, False]])
    full = spread(np.array([[1.0, 2.0], [3.0, 4.0]]), mask)
    assert full.tolist() == [[[0, 0], [1, 2]], [[3, 4], [0, 0]]]
    with pytest.raises(ValueError, match="3 rows of targets for 2 masked positions"):
        spread(np.zeros((3, 2)), mask)


def test_a_clamped_temperature_keeps_its_gradient():
    rng = np.random.default_rng()
    names = ("image", "text", "image_momentum", "text_momentum")
    arrays = {name: rng.normal(size=(3, 5)).astype(np.float32) for name in names}
    arrays |= {f"{name}_queue": np.eye(5, 4, dtype=np.float32) for name in ("image", "text")}
    arrays |= {"alpha": np.float32(0.4), "queue_ptr": np.array([3])}

    def run(temperature):
        outputs = LOSS_FUNCTIONS["albef_itc"](Inputs(arrays, temp=temperature))
        return outputs["loss"], outputs

    outside, outputs = jax.grad(run, has_aux=True)(jnp.float32(0.9))
    inside, _ = jax.grad(run, has_aux=True)(jnp.float32(0.5))
    assert outputs["temp_after_clamp"] == 0.5 and outside == inside != 0
    assert outputs["queue_ptr"].tolist() == [2]
