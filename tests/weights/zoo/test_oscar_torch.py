"""Fresh random OSCARs in PyTorch, written as reference bundles and verified by our port."""

import copy
import json

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402

from tests.weights.zoo.oscar_reference import Oscar  # noqa: E402
from vlp_jax.verify import read_bundle, verify_bundle  # noqa: E402
from vlp_jax.verify.forward import load  # noqa: E402

TASKS = ["pretrain", "vqa", "retrieval", "nlvr2", "caption"]


def random_sizes(task: str, rng: np.random.Generator) -> dict:
    """A config in which no two sizes need be equal."""
    heads = int(rng.integers(1, 5))
    pick = lambda *values: values[int(rng.integers(len(values)))]
    losses = {"retrieval": ["xe"], "vqa": ["bce", "xe", "kl"]}.get(task, ["bce", "xe"])
    sizes = dict(
        model=pick("oscar", "oscarplus"),
        task=task,
        vocab_size=int(rng.integers(20, 60)),
        hidden_size=heads * int(rng.integers(3, 9)),
        num_hidden_layers=int(rng.integers(0, 4)),
        num_attention_heads=heads,
        intermediate_size=int(rng.integers(3, 40)),
        hidden_act=pick("gelu", "gelu", "relu"),
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        max_position_embeddings=int(rng.integers(10, 20)),
        type_vocab_size=int(rng.integers(2, 4)),
        layer_norm_eps=pick(1e-12, 1e-5, 1e-3),
        img_feature_dim=int(rng.integers(7, 20)),
        img_feature_type=pick("frcnn", "faster_r-cnn"),
        use_img_layernorm=int(rng.integers(2)),
        img_layer_norm_eps=pick(1e-12, 1e-4),
        num_contrast_classes=int(rng.integers(2, 4)),
        num_labels=2 if task == "retrieval" else int(rng.integers(2, 9)),
        num_choice=2,
        loss_type=pick(*losses),
        classifier="linear" if task == "retrieval" else pick("linear", "mlp"),
        cls_hidden_scale=int(rng.integers(1, 4)),
        tie_weights=bool(rng.integers(2)),
        freeze_embedding=bool(rng.integers(2)),
        label_smoothing=pick(0, 0.1),
        drop_worst_ratio=pick(0, 0.2, 0.5),
        drop_worst_after=pick(0, 0, 1),
    )
    return sizes


def random_inputs(sizes: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of unequal length; the last keeps but its first token and one region."""
    task, pair = sizes["task"], (2,) if sizes["task"] == "nlvr2" else ()
    rows = int(rng.integers(2, 5))
    length = int(rng.integers(6, sizes["max_position_embeddings"] + 1))
    regions = int(rng.integers(1, 6))
    shape = (rows, *pair)
    mask = (rng.random((*shape, length + regions)) < 0.7).astype(np.int64)
    mask[-1] = 0
    mask[..., 0] = mask[..., length] = 1
    inputs = dict(
        input_ids=rng.integers(0, sizes["vocab_size"], (*shape, length)),
        token_type_ids=rng.integers(0, sizes["type_vocab_size"], (*shape, length)),
        attention_mask=mask,
        img_feats=rng.standard_normal((*shape, regions, sizes["img_feature_dim"]), np.float32),
    )
    if task == "pretrain":
        labels = rng.integers(0, sizes["vocab_size"], (rows, length))
        inputs["masked_lm_labels"] = np.where(rng.random((rows, length)) < 0.3, labels, -1)
        inputs["masked_lm_labels"][0, 0] = 5
        inputs["next_sentence_label"] = rng.integers(0, sizes["num_contrast_classes"], rows)
    elif task == "caption":
        inputs |= caption_inputs(mask, length, sizes["vocab_size"], rng)
    elif sizes["loss_type"] == "xe":
        inputs["labels"] = rng.integers(0, sizes["num_labels"], rows)
    else:
        inputs["labels"] = rng.random((rows, sizes["num_labels"]), np.float32).round(1)
    return inputs


def caption_inputs(valid, length, words, rng) -> dict[str, np.ndarray]:
    """The query-key mask written out slot by slot, and the masked words."""
    slots, (rows, total) = length // 2, valid.shape
    mask = np.zeros((rows, total, total), np.int64)
    for query in range(total):
        for key in range(total):
            sees = key >= slots or (query < slots and key <= query)
            mask[:, query, key] = sees * valid[:, query] * valid[:, key]
    positions = np.zeros((rows, length), np.int64)
    positions[:, :slots] = valid[:, :slots] * (rng.random((rows, slots)) < 0.6)
    positions[0, 0] = positions[1, 0] = 1
    ids = np.zeros((rows, slots), np.int64)
    for row, count in enumerate(positions.sum(1)):
        ids[row, :count] = rng.integers(1, words, count)
    return dict(attention_mask=mask, valid=valid, masked_pos=positions, masked_ids=ids)


def random_model(sizes: dict, rng: np.random.Generator, half: bool) -> Oscar:
    torch.manual_seed(int(rng.integers(2**31)))
    model = Oscar(sizes).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.3 * noise if "LayerNorm.weight" in name else 0.3 * noise)
            if half:
                parameter.copy_(parameter.half().float())
    return model


def run(model: Oscar, inputs: dict) -> dict[str, np.ndarray]:
    """Every output, and the gradients of the loss."""
    real = next(model.parameters()).dtype
    tensors = {k: torch.from_numpy(v) for k, v in inputs.items()}
    tensors = {k: v.to(real) if v.is_floating_point() else v for k, v in tensors.items()}
    outputs = model(tensors)
    outputs["loss"].backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    norms = torch.stack([g.norm() for g in grads.values()])
    outputs |= {"grad_param_norms": norms, "grad_norm_total": norms.norm()}
    outputs |= {f"grad/{n}": g for n, g in grads.items()}
    return {k: v.detach().numpy() for k, v in outputs.items()}


def write_bundle(path, sizes: dict, model: Oscar, inputs: dict, half: bool) -> dict:
    outputs = run(model, inputs)
    double = run(copy.deepcopy(model).double(), inputs)
    rounding = {k: float(np.abs(outputs[k] - double[k]).max(initial=0)) for k in outputs}
    names = [k.removeprefix("grad/") for k in outputs if k.startswith("grad/")]
    about = {"float64_max_abs_diff": rounding, "grad_param_names": names}
    path.joinpath("config.json").write_text(json.dumps(sizes | about))
    np.savez(path / "inputs.npz", **inputs)
    np.savez(path / "outputs.npz", **outputs)
    skip = ("position_ids", "token_type_ids", "decoder.bias")
    state = {k: v.clone() for k, v in model.state_dict().items() if not k.endswith(skip)}
    state = {k: v.half() if half else v for k, v in state.items()}
    save_file(state, path / "checkpoint.safetensors")
    return state


@pytest.mark.parametrize("task", TASKS)
def test_a_random_oscar(task, tmp_path):
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    sizes, half = random_sizes(task, rng), bool(rng.integers(2))
    print(sizes, "half precision" if half else "")
    inputs = random_inputs(sizes, rng)
    state = write_bundle(tmp_path, sizes, random_model(sizes, rng, half), inputs, half)
    bundle = read_bundle(tmp_path)
    failed = [row for row in verify_bundle(bundle) if not row.passed]
    assert not failed, "\n".join(map(str, failed))
    loaded = load(bundle)
    written = loaded.published.save(loaded.params, loaded.config, like=bundle.state)
    assert set(written) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(written[name], tensor.numpy(), err_msg=name)
