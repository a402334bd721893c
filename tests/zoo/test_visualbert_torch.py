"""VisualBERT against the classes of transformers: fresh random configurations at every run."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.heads.phrase_grounding import states_at
from vlp_jax.interchange.state_dict import read_state_dict
from vlp_jax.layers.tokens import Fused
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.model import build_model
from vlp_jax.zoo import find_architecture

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = {
    "VisualBertModel": "",
    "VisualBertForPreTraining": "prediction_logits",
    "VisualBertForQuestionAnswering": "logits",
    "VisualBertForVisualReasoning": "logits",
    "VisualBertForMultipleChoice": "logits",
    "VisualBertForRegionToPhraseAlignment": "logits",
}
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
    return {
        "input_ids": rng.integers(0, config.vocab_size, (*lead, length)),
        "attention_mask": text_mask.astype(np.int64),
        "token_type_ids": rng.integers(0, config.type_vocab_size, (*lead, length)),
        "visual_embeds": rng.normal(size=(*lead, regions, config.visual_embedding_dim)).astype("f4"),
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


def run_port(config, params, inputs):
    """Returns the bound outputs: fused tokens, pooled vector and a function to apply methods."""
    rows = lambda name, rank: jnp.asarray(inputs[name]).reshape(-1, *inputs[name].shape[-rank:])
    batch = {
        "region_features": rows("visual_embeds", 2),
        "region_mask": rows("visual_attention_mask", 1).astype(bool),
    }
    optional = {"region_types": ("visual_token_type_ids", 1), "region_alignment": ("image_text_alignment", 2)}
    batch |= {ours: rows(*theirs) for ours, theirs in optional.items() if theirs[0] in inputs}
    words = rows("input_ids", 1), rows("attention_mask", 1).astype(bool), rows("token_type_ids", 1)
    model = build_model(config)
    method = lambda m: m.fuse(m.encode_text(*words), m.encode_image(batch))
    apply = lambda method, *args: model.apply({"params": params}, *args, method=method)
    fused = apply(method)
    return fused, apply(Model.pool, fused), apply


def joint(fused: Fused):
    tokens = fused.text.concatenate(fused.image)
    return np.asarray(tokens.states), np.asarray(tokens.mask)


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


@pytest.mark.parametrize("name", CLASSES)
def test_directory_gives_the_outputs_of_its_class_and_is_written_bit_equal(name, rng, tmp_path):
    original = random_model(rng, name)
    original.save_pretrained(tmp_path / "theirs")
    published, config, params, state = load_directory(tmp_path / "theirs")
    inputs = random_inputs(rng, original.config, CHOICES if name.endswith("Choice") else None)
    inputs = maybe(rng, original.config, inputs)
    if name.endswith("Alignment"):
        count = int(rng.integers(1, 5))
        positions = rng.integers(-1, inputs["input_ids"].shape[1], (len(inputs["input_ids"]), count))
        inputs["region_to_phrase_position"] = positions
    expected = run_torch(original, inputs)
    with jax.default_matmul_precision("highest"):
        check_outputs(name, run_port(config, params, inputs), expected, inputs)

    written = published.save(params, config, like=state)
    assert list(written) == list(state)
    assert all(written[key].tobytes() == state[key].tobytes() for key in state)
    published.write_huggingface(tmp_path / "ours", params, config)
    again = type(original).from_pretrained(tmp_path / "ours").eval()
    unused = ("attention.value.",)
    for key, value in again.state_dict().items():
        assert key.startswith(unused) or torch.equal(value, original.state_dict()[key]), key
    assert again.config.num_labels == original.config.num_labels or name not in (
        "VisualBertForQuestionAnswering",
        "VisualBertForVisualReasoning",
    )


def check_outputs(name, ours, expected, inputs):
    """Compares what each class returns with the port's outputs."""
    fused, pooled, apply = ours
    states, mask = joint(fused)
    if name == "VisualBertModel":
        assert_close(states, expected.last_hidden_state, mask)
        assert_close(pooled, expected.pooler_output)
    elif name == "VisualBertForPreTraining":
        assert_close(apply(Model.word_logits, states), expected.prediction_logits, mask)
        assert_close(apply(Model.match_logits, fused), expected.seq_relationship_logits)
    elif name == "VisualBertForRegionToPhraseAlignment":
        phrases = states_at(fused.text.states, jnp.asarray(inputs["region_to_phrase_position"]))
        logits = apply(lambda m: m.head("grounding")(phrases, fused.image))
        assert_close(jax.nn.softmax(logits), expected.logits.softmax(-1))
        real = np.broadcast_to(np.asarray(fused.image.mask)[:, None], logits.shape)
        assert_close(logits, expected.logits, real)
    else:
        head = {"Answering": "vqa", "Reasoning": "nlvr2", "Choice": "vcr"}
        head = next(ours for ending, ours in head.items() if name.endswith(ending))
        logits = apply(Model.class_logits, head, fused)
        assert_close(logits.reshape(tuple(expected.logits.shape)), expected.logits)


def test_original_file_means_type_zero_and_a_directory_type_one(rng, tmp_path):
    original = random_model(rng, "VisualBertModel")
    original.save_pretrained(tmp_path)
    published, config, params, state = load_directory(tmp_path)
    zero = published.from_published(state.meta.config | {"default_visual_type": 0})
    inputs = random_inputs(rng, original.config)
    for ours, kind in ((config, 1), (zero, 0)):
        types = np.full(inputs["visual_embeds"].shape[:2], kind)
        expected = run_torch(original, inputs | {"visual_token_type_ids": types})
        states, mask = joint(run_port(ours, params, inputs)[0])
        assert_close(states, expected.last_hidden_state, mask)
