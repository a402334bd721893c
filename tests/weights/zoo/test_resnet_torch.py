"""ResNet against Hugging Face's torch classes, with fresh random sizes and weights at every run."""

import numpy as np
import pytest

from vlp_jax.encoders.resnet import ResNet
from vlp_jax.weights.conversion import to_published
from vlp_jax.weights.zoo.resnet import huggingface_table, load_resnet, read_resnet, write_resnet

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", params=["basic", "bottleneck"])
def drawn(request):
    """A random torch model of each kind and the generator that drew it."""
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print(f"{request.param}: seed {seed}")
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    stages = int(rng.integers(1, 4))
    config = transformers.ResNetConfig(
        embedding_size=int(rng.integers(3, 9)),
        hidden_sizes=[int(4 * rng.integers(1, 5)) for _ in range(stages)],
        depths=[int(rng.integers(1, 4)) for _ in range(stages)],
        layer_type=request.param,
        hidden_act=str(rng.choice(["relu", "gelu", "silu"])),
        downsample_in_first_stage=bool(rng.integers(2)),
        downsample_in_bottleneck=bool(rng.integers(2)),
    )
    model = transformers.ResNetModel(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
            torch.nn.init.normal_(module.bias, 0.0, 0.2)
    return model, rng


def run_torch(model, image: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns the last feature map as tokens, and every stage's output, channels last."""
    with torch.no_grad():
        output = model(torch.from_numpy(image.transpose(0, 3, 1, 2)), output_hidden_states=True)
    maps = [h.numpy().transpose(0, 2, 3, 1) for h in output.hidden_states[1:]]
    return maps[-1].reshape(len(image), -1, maps[-1].shape[-1]), maps


def test_directory_gives_the_numbers_of_torch(drawn, tmp_path):
    model, rng = drawn
    model.save_pretrained(tmp_path)
    side = int(rng.integers(20, 70))  # odd sides and sides that no stride divides, too
    args, params = read_resnet(tmp_path, side)
    image = rng.normal(size=(2, side, side, 3)).astype(np.float32)
    ours, sown = ResNet(**args).apply(
        {"params": params}, {"image": image}, mutable=["intermediates"]
    )
    theirs, maps = run_torch(model, image)
    for stage, expected in enumerate(maps):
        (got,) = sown["intermediates"][f"stage_{stage}_output"]
        np.testing.assert_allclose(got, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))
    np.testing.assert_allclose(ours.states, theirs, atol=1e-5 * max(1.0, np.abs(theirs).max()))
    assert ours.mask.all() and ours.states.shape[2] == args["widths"][-1]


def test_round_trip_is_bit_equal(drawn, tmp_path):
    model, _ = drawn
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "theirs")
    args, params = read_resnet(tmp_path / "theirs", 32)
    back = to_published(params, huggingface_table(args), like=state)
    assert back.keys() == state.keys()
    assert all(back[name].tobytes() == state[name].tobytes() for name in state)
    write_resnet(tmp_path / "ours", args, params)
    again = transformers.ResNetModel.from_pretrained(tmp_path / "ours")
    written = again.state_dict()
    assert all(
        np.array_equal(written[name].numpy(), value)
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    )
    assert again.config.downsample_in_bottleneck == model.config.downsample_in_bottleneck


def test_classification_files_and_fp16_load(drawn, tmp_path):
    model, _ = drawn
    whole = transformers.ResNetForImageClassification(model.config)
    whole.resnet.load_state_dict(model.state_dict())
    whole.half().save_pretrained(tmp_path)
    args, params = read_resnet(tmp_path, 32)
    kernel = model.state_dict()["embedder.embedder.convolution.weight"].half().float().numpy()
    stem = params["stem"]["convolution"]["kernel"]
    assert stem.dtype == np.float32
    np.testing.assert_array_equal(stem, kernel.transpose(2, 3, 1, 0))


def test_a_missing_tensor_is_named(drawn, tmp_path):
    model, _ = drawn
    model.save_pretrained(tmp_path)
    args, _ = read_resnet(tmp_path, 32)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    del state["embedder.embedder.normalization.running_var"]
    with pytest.raises(ValueError, match="embedder.embedder.normalization.running_var"):
        load_resnet(state, args)
