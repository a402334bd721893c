"""ViT and DeiT against the classes of transformers: fresh random configurations at every run."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.encoders.vit import ViT
from vlp_jax.verify.forward import quick_jit
from vlp_jax.weights.conversion import to_params, to_published
from vlp_jax.weights.one_tower_vit import fit_vit, vit_args, vit_table
from vlp_jax.weights.state_dict import read_state_dict

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture
def rng():
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def random_model(rng, family):
    heads, patch = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    config = getattr(transformers, f"{family}Config")(
        hidden_size=heads * int(rng.integers(2, 9)),
        num_hidden_layers=int(rng.integers(0, 4)),
        num_attention_heads=heads,
        intermediate_size=int(rng.integers(1, 40)),
        image_size=patch * int(rng.integers(1, 6)),
        patch_size=patch,
        layer_norm_eps=float(rng.choice([1e-12, 1e-6, 1e-3])),
        qkv_bias=bool(rng.integers(0, 2)),
    )
    model = getattr(transformers, f"{family}Model")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.4)
    return model


def run_torch(model, image):
    pixels = torch.tensor(np.asarray(image).transpose(0, 3, 1, 2))
    with torch.no_grad():
        return model(pixels, interpolate_pos_encoding=True).last_hidden_state.numpy()


def run_port(args, params, image):
    encode = lambda params: ViT(**args).apply({"params": params}, {"image": image}).states
    with jax.default_matmul_precision("highest"):
        return np.asarray(quick_jit(encode)(params["vision"]))


def random_image(rng, side):
    return jnp.asarray(rng.normal(size=(2, side, side, 3)), jnp.float32)


def assert_close(ours, theirs):
    scale = max(1.0, np.abs(theirs).max())
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=2e-5)


@pytest.mark.parametrize("family", ["ViT", "DeiT"])
@pytest.mark.parametrize("form", ["directory", "state dict"])
def test_file_gives_the_outputs_of_its_class_and_goes_back_bit_equal(family, form, rng, tmp_path):
    model = random_model(rng, family)
    model.save_pretrained(tmp_path)
    state = read_state_dict(tmp_path)
    args = vit_args(state.meta.config)
    if form == "state dict":
        state = {key: value.numpy() for key, value in model.state_dict().items()}
    params = to_params(fit_vit(state, args), vit_table(state, args))
    image = random_image(rng, args["image_size"])
    assert_close(run_port(args, params, image), run_torch(model, image))
    written = to_published(params, vit_table(state, args), like=state)
    assert all(written[key].tobytes() == state[key].tobytes() for key in state)


@pytest.mark.parametrize("family", ["ViT", "DeiT"])
def test_positions_fit_other_resolutions_as_the_class_does_it(family, rng, tmp_path):
    model = random_model(rng, family)
    model.save_pretrained(tmp_path)
    state = read_state_dict(tmp_path)
    args = vit_args(state.meta.config)
    args["image_size"] = args["patch_size"] * int(rng.integers(2, 8))
    params = to_params(fit_vit(state, args), vit_table(state, args))
    image = random_image(rng, args["image_size"])
    assert_close(run_port(args, params, image), run_torch(model, image))
