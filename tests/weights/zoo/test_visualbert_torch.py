"""VisualBERT against the classes of transformers: fresh random configurations at every run."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.weights.zoo.reading import read_head
from vlp_jax.model import build_model
from vlp_jax.verify.forward import quick_jit
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import find_architecture

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

OPTIONAL = {
    "region_types": ("visual_token_type_ids", 1),
    "region_alignment": ("image_text_alignment", 2),
}
JOINT_OUTPUTS = ("last_hidden_state", "prediction_logits")
CHOICES = 3


@pytest.fixture
def rng():
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def random_config(rng):
    heads = int(rng.integers(1, 5))
    return transformers.VisualBertConfig(
        vocab_size=int(rng.integers(8, 60)),
        hidden_size=heads * int(rng.integers(2, 9)),
        visual_embedding_dim=int(rng.integers(1, 20)),
        num_hidden_layers=int(rng.integers(0, 4)),
        num_attention_heads=heads,
        intermediate_size=int(rng.integers(1, 40)),
        max_position_embeddings=int(rng.integers(8, 20)),
        type_vocab_size=int(rng.integers(2, 4)),
        hidden_act=str(rng.choice(["gelu", "relu"])),
        layer_norm_eps=float(rng.choice([1e-12, 1e-5, 1e-3])),
        num_labels=int(rng.integers(1, 9)),
    )


def random_model(rng, name):
    """Returns a class with weights large enough that every bias and norm can be seen."""
    model = getattr(transformers, name)(random_config(rng)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.4)
    return model


def random_inputs(rng, config, choices=None):
    """Returns numpy inputs with holes in the masks; the last row has two words and one region."""
    size, length, regions = (int(rng.integers(*x)) for x in ((1, 4), (3, 9), (1, 6)))
    lead = (size,) if choices is None else (size, choices)
    text_mask, region_mask = rng.random((*lead, length)) < 0.7, rng.random((*lead, regions)) < 0.7
    text_mask[..., :2], region_mask[..., 0] = True, True
    text_mask[-1, ..., 2:], region_mask[-1, ..., 1:] = False, False
    features = rng.normal(size=(*lead, regions, config.visual_embedding_dim))
    return {
        "input_ids": rng.integers(0, config.vocab_size, (*lead, length)),
        "attention_mask": text_mask.astype(np.int64),
        "token_type_ids": rng.integers(0, config.type_vocab_size, (*lead, length)),
        "visual_embeds": features.astype(np.float32),
        "visual_attention_mask": region_mask.astype(np.int64),
    }


def maybe(rng, config, inputs):
    """Adds visual types and an alignment, each half of the time."""
    flat = inputs["visual_embeds"].shape[:-1]
    if rng.random() < 0.5:
        inputs["visual_token_type_ids"] = rng.integers(0, config.type_vocab_size, flat)
    if rng.random() < 0.5:
        words = (int(np.prod(flat[:-1])), flat[-1], int(rng.integers(1, 4)))
        inputs["image_text_alignment"] = rng.integers(-1, inputs["input_ids"].shape[-1], words)
    return inputs


def run_torch(model, inputs):
    with torch.no_grad():
        return model(**{name: torch.as_tensor(value) for name, value in inputs.items()})


def run_port(name, config, params, inputs):
    """Returns our outputs under the names of the class's, and the mask of the joint sequence."""
    rows = lambda key, rank: jnp.asarray(inputs[key]).reshape(-1, *inputs[key].shape[-rank:])
    batch = {
        "region_features": rows("visual_embeds", 2),
        "region_mask": rows("visual_attention_mask", 1).astype(bool),
    }
    for ours, (theirs, rank) in OPTIONAL.items():
        if theirs in inputs:
            batch[ours] = rows(theirs, rank)
    words = rows("input_ids", 1), rows("attention_mask", 1).astype(bool), rows("token_type_ids", 1)

    def outputs(model):
        fused = model.fuse(model.encode_image(batch), model.encode_text(*words))
        joint = fused.text.concatenate(fused.image)
        return joint.mask, HEAD_OUTPUTS[name](model, fused, joint.states, inputs)

    model = build_model(config)
    run = quick_jit(lambda params: model.apply({"params": params}, method=outputs))
    with jax.default_matmul_precision("highest"):
        return run(params)


def word_outputs(model, fused, states, inputs):
    return {
        "prediction_logits": model.head("mlm")(states, model.text.word_table()),
        "seq_relationship_logits": read_head(model, "itm", fused),
    }


def phrase_outputs(model, fused, states, inputs):
    positions = jnp.maximum(jnp.asarray(inputs["region_to_phrase_position"]), 0)
    phrases = jnp.take_along_axis(fused.text.states, positions[..., None], axis=1)
    return {"logits": jax.nn.log_softmax(model.head("grounding")(phrases, fused.image))}


def choice_outputs(model, fused, states, inputs):
    return {"logits": read_head(model, "vcr", fused).reshape(-1, CHOICES)}


HEAD_OUTPUTS = {
    "VisualBertModel": lambda model, fused, states, inputs: {
        "last_hidden_state": states,
        "pooler_output": model.pool(fused),
    },
    "VisualBertForPreTraining": word_outputs,
    "VisualBertForQuestionAnswering": lambda model, fused, *_: {
        "logits": read_head(model, "vqa", fused)
    },
    "VisualBertForVisualReasoning": lambda model, fused, *_: {
        "logits": read_head(model, "nlvr2", fused)
    },
    "VisualBertForMultipleChoice": choice_outputs,
    "VisualBertForRegionToPhraseAlignment": phrase_outputs,
}


def assert_close(ours, theirs, mask=None):
    ours, theirs = np.asarray(ours), theirs.numpy()
    assert ours.shape == theirs.shape
    if mask is not None:
        ours, theirs = ours[mask], theirs[mask]
    scale = max(1.0, np.abs(theirs).max())
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=2e-5)


def load_directory(path):
    """Returns the published model, our config, the parameters and the tensors of a directory."""
    state = read_state_dict(path)
    published = find_architecture(state.meta.config)
    config = published.from_published(state.meta.config)
    return published, config, published.load(state, config), state


@pytest.mark.parametrize("name", HEAD_OUTPUTS)
def test_directory_gives_the_outputs_of_its_class(name, rng, tmp_path):
    original = random_model(rng, name)
    original.save_pretrained(tmp_path)
    _, config, params, _ = load_directory(tmp_path)
    inputs = random_inputs(rng, original.config, CHOICES if name.endswith("Choice") else None)
    inputs = maybe(rng, original.config, inputs)
    if name.endswith("Alignment"):
        size, length = inputs["input_ids"].shape
        inputs["region_to_phrase_position"] = rng.integers(-1, length, (size, 3))
    expected = run_torch(original, inputs)
    mask, outputs = run_port(name, config, params, inputs)
    for key, ours in outputs.items():
        theirs = getattr(expected, key)
        if name.endswith("Alignment"):  # the class's masked regions are at -3e38
            real = np.broadcast_to(inputs["visual_attention_mask"][:, None] == 1, ours.shape)
            assert_close(ours, theirs.log_softmax(-1), real)
        else:
            assert_close(ours, theirs, np.asarray(mask) if key in JOINT_OUTPUTS else None)


@pytest.mark.parametrize("name", HEAD_OUTPUTS)
def test_directory_is_written_bit_equal_and_read_by_its_class(name, rng, tmp_path):
    original = random_model(rng, name)
    original.save_pretrained(tmp_path / "theirs")
    published, config, params, state = load_directory(tmp_path / "theirs")
    written = published.save(params, config, like=state)
    assert list(written) == list(state)
    assert all(written[key].tobytes() == state[key].tobytes() for key in state)
    published.write_huggingface(tmp_path / "ours", params, config)
    again = type(original).from_pretrained(tmp_path / "ours").state_dict()
    before = original.state_dict()
    assert again.keys() == before.keys()
    unused = "attention.value."  # of the phrase grounding
    differ = [key for key in before if not torch.equal(again[key], before[key])]
    assert all(key.startswith(unused) for key in differ)


def test_original_file_means_type_zero_and_a_directory_type_one(rng, tmp_path):
    original = random_model(rng, "VisualBertModel")
    original.save_pretrained(tmp_path)
    published, config, params, state = load_directory(tmp_path)
    zero = published.from_published(state.meta.config | {"default_visual_type": 0})
    inputs = random_inputs(rng, original.config)
    for ours, kind in ((config, 1), (zero, 0)):
        types = np.full(inputs["visual_embeds"].shape[:2], kind)
        expected = run_torch(original, inputs | {"visual_token_type_ids": types})
        mask, outputs = run_port("VisualBertModel", ours, params, inputs)
        assert_close(outputs["last_hidden_state"], expected.last_hidden_state, np.asarray(mask))
