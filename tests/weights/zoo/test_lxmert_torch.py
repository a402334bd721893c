"""Fresh random LXMERTs of `transformers`, saved as directories, against our port."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.weights.zoo.reading import read_head
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.model import build_model
from vlp_jax.verify.forward import quick_jit
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import find_architecture

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLASSES = ["LxmertModel", "LxmertForPreTraining", "LxmertForQuestionAnswering"]


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fresh seed, which a failing test prints."""
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print("seed", seed)
    return np.random.default_rng(seed)


def random_lxmert(name: str, rng: np.random.Generator):
    """An LXMERT of random sizes, whose biases and norms are random too."""
    heads = int(rng.integers(1, 5))
    number = lambda low, high: int(rng.integers(low, high))
    switch = lambda: bool(rng.random() < 0.7)
    config = transformers.LxmertConfig(
        vocab_size=number(20, 60),
        hidden_size=heads * number(2, 9),
        num_attention_heads=heads,
        intermediate_size=number(3, 40),
        l_layers=number(0, 3),
        r_layers=number(0, 3),
        x_layers=number(1, 3),  # its forward pass needs at least one
        max_position_embeddings=number(9, 20),
        type_vocab_size=number(1, 4),
        visual_feat_dim=number(3, 20),
        visual_pos_dim=number(4, 8),
        num_object_labels=number(2, 9),
        num_attr_labels=number(2, 9),
        num_qa_labels=number(2, 9),
        hidden_act=str(rng.choice(["gelu", "gelu", "relu", "silu"])),
        task_qa=switch(),
        task_obj_predict=switch(),
        visual_obj_loss=switch(),
        visual_attr_loss=switch(),
        visual_feat_loss=switch(),
    )
    torch.manual_seed(int(rng.integers(2**31)))
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def random_batch(config, rng: np.random.Generator) -> dict[str, np.ndarray]:
    size, length = int(rng.integers(1, 4)), int(rng.integers(1, config.max_position_embeddings + 1))
    regions = int(rng.integers(1, 7))
    text_mask = rng.random((size, length)) < 0.7
    region_mask = rng.random((size, regions)) < 0.7
    text_mask[:, 0] = region_mask[:, 0] = True
    features, boxes = config.visual_feat_dim, config.visual_pos_dim
    return {
        "text_ids": rng.integers(0, config.vocab_size, (size, length)),
        "text_mask": text_mask,
        "text_segments": rng.integers(0, config.type_vocab_size, (size, length)),
        "region_features": rng.normal(size=(size, regions, features)).astype(np.float32),
        "region_boxes": rng.random((size, regions, boxes)).astype(np.float32),
        "region_mask": region_mask,
    }


def run_theirs(model, batch: dict[str, np.ndarray]):
    arguments = {
        "input_ids": batch["text_ids"],
        "attention_mask": batch["text_mask"].astype(np.float32),
        "token_type_ids": batch["text_segments"],
        "visual_feats": batch["region_features"],
        "visual_pos": batch["region_boxes"],
        "visual_attention_mask": batch["region_mask"].astype(np.float32),
    }
    with torch.no_grad():
        return model(**{name: torch.from_numpy(array) for name, array in arguments.items()})


def run_ours(model: Model, batch: dict) -> dict[str, jax.Array]:
    text = model.encode_text(batch["text_ids"], batch["text_mask"], batch["text_segments"])
    fused = model.fuse(model.encode_image(batch), text)
    outputs = {
        "language_output": fused.text.states,
        "vision_output": fused.image.states,
        "pooled_output": model.pool(fused),
    }
    if "mlm" in model.heads:
        outputs["prediction_logits"] = read_head(model, "mlm", fused)
        outputs["cross_relationship_score"] = read_head(model, "itm", fused)
    if "vqa" in model.heads:
        outputs["question_answering_score"] = read_head(model, "vqa", fused)
    return outputs


def errors(theirs, ours: dict, batch: dict) -> dict[str, float]:
    """The largest error of each output both have, over real tokens, as a share of its size."""
    masks = {"language_output": "text_mask", "prediction_logits": "text_mask"}
    masks["vision_output"] = "region_mask"
    found = {}
    for name in set(ours) & set(theirs.keys()):
        expected = theirs[name].numpy()
        keep = batch[masks[name]] if name in masks else slice(None)
        error = np.abs(np.asarray(ours[name]) - expected)[keep].max()
        found[name] = error / max(1.0, np.abs(expected[keep]).max())
    return found


@pytest.mark.parametrize("name", CLASSES)
def test_a_random_lxmert(name, rng, tmp_path):
    theirs = random_lxmert(name, rng)
    theirs.save_pretrained(tmp_path / "theirs")
    state = read_state_dict(tmp_path / "theirs")
    published = find_architecture(state.meta.config)
    config = published.from_published(state.meta.config)
    params = published.load(state, config)
    batch = random_batch(theirs.config, rng)
    expected = run_theirs(theirs, batch)
    with jax.default_matmul_precision("highest"):
        model, arrays = build_model(config), jax.tree.map(jnp.asarray, batch)
        run = quick_jit(lambda params: model.apply({"params": params}, arrays, method=run_ours))
        ours = run(params)
    found = errors(expected, ours, batch)
    assert len(found) >= (3 if name == "LxmertModel" else 1), found
    assert max(found.values()) < 1e-5, found

    back = published.save(params, config, like=state)
    assert back.keys() == state.keys()
    assert all(back[key].tobytes() == state[key].tobytes() for key in state)

    published.write_huggingface(tmp_path / "ours", params, config)
    reread, report = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(report.values()), report
    former, tensors = theirs.state_dict(), reread.state_dict()
    assert tensors.keys() == former.keys()
    assert all(torch.equal(tensors[key], former[key]) for key in former)


def test_region_heads_of_a_random_lxmert(rng, tmp_path):
    """Hugging Face computes object, attribute and feature scores only on the way to their loss."""
    theirs = random_lxmert("LxmertForPreTraining", rng)
    while not theirs.config.task_obj_predict:
        theirs = random_lxmert("LxmertForPreTraining", rng)
    theirs.save_pretrained(tmp_path)
    state = read_state_dict(tmp_path)
    published = find_architecture(state.meta.config)
    config = published.from_published(state.meta.config)
    states = rng.normal(size=(2, 3, theirs.config.hidden_size)).astype(np.float32)
    with torch.no_grad():
        expected = theirs.obj_predict_head(torch.from_numpy(states))
    head = lambda model, states: model.head("regions")(states)
    ours = build_model(config).apply({"params": published.load(state, config)}, states, method=head)
    names = {"obj": "object", "attr": "attribute", "feat": "feature"}
    assert {names[key] for key in expected} == set(ours)
    for key, value in expected.items():
        np.testing.assert_allclose(ours[names[key]], value.numpy(), atol=1e-5, rtol=1e-5)
