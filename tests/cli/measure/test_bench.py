"""Tests of `vlp-jax bench` without torch."""

import json
import re
import shlex

import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.tiny import CONFIG, ROOT, tiny
from vlp_jax.cli.main import build_parser, main
from vlp_jax.cli.measure.bench_contrastive import contrastive_row, symmetric_loss
from vlp_jax.cli.measure.bench_data import on_drawn_data
from vlp_jax.cli.measure.bench_models import MODELS, SIZES, experiment_to_time, model_to_time
from vlp_jax.cli.measure.bench_ours import TRUNK
from vlp_jax.cli.measure.bench_turns import Program, Spread, by_turns
from vlp_jax.config.shipped import shipped_configs
from vlp_jax.model import build_model
from vlp_jax.parallel.peaks import peak_flops
from vlp_jax.weights.zoo import DETECTORS

MISTAKES = {
    "model": (["albeff"], 'unknown model to time "albeff". Did you mean "albef"?'),
    "detector": (["frcnn_v"], 'unknown model to time "frcnn_v". Did you mean "frcnn_vg"?'),
    "dtype": (["frcnn_vg", "--dtype", "bfloat16"], "frcnn_vg: detectors compute in float32"),
    "override": (["frcnn_vg", "--config.name=x"], "a detector has no config for --config.name=x"),
    "batch": (["--batch", "0"], "--batch 0: must be at least 1"),
    "steps": (["--steps", "0"], "--steps 0: must be at least 1"),
    "contrastive": (["--contrastive", "1"], "--contrastive 1: must be at least 2 pairs"),
    "compile": (["--compile"], "--compile is torch's: give --against torch as well"),
    "both": (["albef", "--config", "x.py"], "give --config or models (albef), not both"),
    "twin": (["--config", "x.py", "--against", "torch"], "there is no twin of a config"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert main(["bench", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_programs_take_turns(monkeypatch):
    """A turn of a short program has several calls, of which the result is waited for once."""
    now, log = [0.0], []
    monkeypatch.setattr("vlp_jax.cli.measure.bench_turns.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("vlp_jax.cli.measure.bench_turns.time.sleep", lambda seconds: None)

    def program(name: str, seconds: float) -> Program:
        def call() -> str:
            now[0] += seconds
            log.append(name)
            return name

        return Program(call, lambda result: log.append(f"wait {result}"))

    found = by_turns({"a": program("a", 1.0), "b": program("b", 0.15)}, 2)
    assert found == {"a": pytest.approx([1.0, 1.0]), "b": pytest.approx([0.15, 0.15])}
    assert log[8:] == ["a", "wait a", "b", "b", "wait b"] * 2


def test_a_spread_is_median_and_quartiles():
    assert Spread.of([4.0, 1.0, 2.0, 3.0, 5.0]) == Spread(3.0, 2.0, 4.0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_made_in_every_size(name, size):
    config = model_to_time(name, size, 4, "bfloat16")
    model = build_model(config.model)
    full = MODELS[name]().model.text_args["width"]
    assert model.text.width == full // SIZES[size]
    assert config.training.dtype == "bfloat16" and config.data.batch_size == 4


def test_an_experiment_without_its_data_reads_drawn_records(tmp_path, caplog):
    """Of its own sizes and for its own tasks; no evaluation is left."""
    gone = tmp_path / "gone.json"
    overrides = ["--config.data.source=json", f"--config.data.path={gone}"]
    experiment = experiment_to_time(str(CONFIG), overrides)
    assert "drawn records take the place of the data" in caplog.text
    assert set(experiment.tasks) == {"itc", "itm", "mlm", "vqa"}
    batch = experiment.mixture["json"].first
    assert batch["image"].shape == (8, 32, 32, 3) and batch["image"].std() > 10
    assert batch["text_mask"].all() and (batch["answer_scores"].sum(1) > 0).all()
    assert not any(args.get("evaluate") for args in experiment.config.tasks.values())


def test_a_source_that_joins_late_is_timed_like_any():
    late = dict(data__per_source={"easy_vqa": {"first_step": 3}})
    config = tiny("light", data__source="easy_vqa::emoji_scenes", **late)
    assert on_drawn_data(config).mixture.choice(0) == "easy_vqa"


def test_regions_fill_every_slot():
    batch = on_drawn_data(model_to_time("lxmert", "tiny", 8, "float32")).mixture["captions"].first
    assert batch["region_mask"].all() and batch["region_features"].shape == (8, 36, 2048)
    assert batch["region_features"].std() > 0.1 and batch["text_mask"].all()


class Device:
    def __init__(self, kind: str):
        self.device_kind = kind


def test_peaks_go_by_kind():
    assert (
        peak_flops(Device("NVIDIA H100 80GB HBM3")) == peak_flops(Device("NVIDIA H200")) == 989e12
    )
    assert peak_flops(Device("TPU v5 lite")) == 197e12
    assert peak_flops(Device("cpu")) is None


def test_the_contrastive_loss_is_the_mean_of_both_directions():
    rng = np.random.default_rng()
    image, text = rng.normal(size=(2, 700, 4)).astype(np.float32)
    logits = image.astype(np.float64) @ text.T / 0.07
    log_sums = [np.logaddexp.reduce(logits, axis) for axis in (0, 1)]
    expected = np.mean(log_sums) - logits.diagonal().mean()
    found = symmetric_loss(jnp.asarray(image), jnp.asarray(text))
    assert found == pytest.approx(expected, rel=1e-5)
    row = contrastive_row(700, 4, "float32", 1)
    assert row.temporary_bytes > 0 and row.seconds.median > 0
    # For both directions: the similarities, the same made anew, and the gradients of both sides.
    assert row.flops == 4 * 2 * 700**2 * 4


@pytest.mark.slow
def test_a_benchmark_prints_a_table_and_writes_figures(tmp_path, capsys):
    path = tmp_path / "figures.json"
    arguments = [
        "two_towers",
        "--size",
        "tiny",
        "--batch",
        "8",
        "--steps",
        "1",
        "--json",
        str(path),
    ]
    assert main(["bench", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "train" in shown and "infer" in shown and "pairs/s" in shown
    figures = json.loads(path.read_text())
    train, infer = figures["rows"]
    assert (train["tasks"], infer["tasks"]) == (["itc"], ["itc"])
    ours, forward = train["sides"]["jax"], infer["sides"]["jax"]
    assert ours["flops_per_pair"] == pytest.approx(3 * forward["flops_per_pair"], rel=0.05)
    assert ours["pairs_per_second"] == pytest.approx(8 / ours["seconds"]["median"])
    assert ours["memory_bytes"] > forward["memory_bytes"] > 0 and ours["mfu"] is None
    assert train["size"] == "tiny" and figures["ceiling_flops"]["jax"] > 0 and train["ratios"] == {}


@pytest.mark.slow
def test_any_experiment_can_be_timed(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert main(["bench", "--config", f"{CONFIG}:light", "--steps", "1", "--json", str(path)]) == 0
    train, infer = json.loads(path.read_text())["rows"]
    assert infer["tasks"] == [TRUNK] and infer["sides"]["jax"]["flops_per_pair"] > 0
    assert (train["model"], train["batch"], train["tasks"]) == ("tiny", 8, ["vqa"])


def test_the_commands_of_the_page_are_taken():
    page = (ROOT / "docs/performance.md").read_text().partition("## bench")[2]
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    ours = [words[2:] for words in commands if words[:2] == ["vlp-jax", "bench"]]
    assert len(ours) == len(commands) - 1
    for arguments in ours:
        given = build_parser("bench").parse_args(["bench", *arguments])
        assert set(given.models) <= {*MODELS, *DETECTORS} and given.config in (
            None,
            *shipped_configs(),
        )
