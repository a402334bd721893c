"""Tests of preflights: of the tiny experiment on simulated devices, and of their parts."""

import json

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.training.tiny import tiny, write_pairs
from vlp_jax.cli.main import main
from vlp_jax.cli.measure.assumed import StandIn
from vlp_jax.cli.measure.memory import device_bytes, out_of_memory, replicated_bytes
from vlp_jax.cli.measure.preflight import _placed, _shares, make_plan, preflight
from vlp_jax.cli.measure.preflight_page import as_json, page
from vlp_jax.cli.measure.run_checks import check_tasks
from vlp_jax.cli.measure.search import largest_batch
from vlp_jax.config import replace
from vlp_jax.parallel import make_mesh
from vlp_jax.parallel.topology import CHIPS, Slices, simulated

CONFIG = "tests/training/tiny_config.py:light"


@pytest.fixture(autouse=True)
def platforms(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # which the verb sets, for good


@pytest.fixture
def compiles_fast():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.slow
def test_a_page_and_its_json(devices8, tmp_path, compiles_fast):
    unmeasured = dict(tasks__retrieval=None, tasks__near_miss=None)  # "light" has no such heads
    config = tiny("light", mesh__fsdp=2, data__batch_size=16, **unmeasured)
    found = preflight(config, simulated(8, slices=2), tmp_path / "run")
    (program,) = found.programs
    assert program.tasks == ("vqa",) and program.share == 1
    assert found.ready and found.mesh == "data=4, fsdp=2, tensor=1"
    assert program.flops > 0 and program.peak > program.parts["parameters"]
    assert program.flops_ratio == pytest.approx(1, rel=0.03)  # nothing is computed again
    assert {one.net for one in program.traffic} == {"ICI", "DCN"}
    text = page(found, 0.4)
    for said in (
        "ok  data emoji_scenes",
        "all-reduce",
        "parameters",
        " that loss and gradient need",
        "4 checkpoints take",
    ):
        assert said in text
    plain = json.loads(json.dumps(as_json(found, 0.4)))
    assert plain["programs"][0]["parts"] == program.parts
    assert plain["programs"][0]["flops_ratio"] == program.flops_ratio
    assert plain["hours"] is None  # no peak is known of this computer


def test_bytes_are_those_of_one_device(devices8):
    mesh = make_mesh(4, 2, devices=devices8)
    whole, split = (NamedSharding(mesh, PartitionSpec(*names)) for names in ((), ("data", "fsdp")))
    arrays = {
        "split": jax.device_put(np.zeros((8, 6), np.float32), split),
        "whole": jax.device_put(np.zeros((3, 5), np.int32), whole),
        "key": jax.device_put(jax.random.key(0), whole),
    }
    found = {name: device_bytes(x) for name, x in arrays.items()}
    assert found == {"split": 2 * 3 * 4, "whole": 3 * 5 * 4, "key": 8}
    assert found["split"] == arrays["split"].addressable_shards[0].data.nbytes
    assert replicated_bytes(arrays) == 3 * 5 * 4 + 8


def test_absent_data_are_assumed_and_said(tmp_path, devices8):
    (tmp_path / "there").mkdir()
    absent = dict(data__source="json", data__path=str(tmp_path / "there/pairs.json"))
    plan = make_plan(tiny("light", **absent), devices8)
    assert isinstance(plan.sources["json"], StandIn)
    verdicts = {check.about: check.verdict for check in plan.checks}
    assert verdicts == {"data json": "assumed", "vocabulary": "assumed"}
    shapes = {name: x.shape for name, x in plan.experiment.abstract_batch("json").items()}
    assert shapes["image"] == (8, 32, 32, 3)
    assert plan.experiment.config.model.text_args["vocab_size"] == 30522


def test_a_source_that_joins_late_has_its_share_of_the_steps(devices8):
    late = dict(data__per_source={"easy_vqa": {"first_step": 4}})
    config = tiny("light", data__source="emoji_scenes::easy_vqa", **late)
    experiment = make_plan(config, jax.devices()[:1]).experiment
    assert _shares(experiment) == {
        ("emoji_scenes", ("vqa",)): pytest.approx(5 / 6),
        ("easy_vqa", ("vqa",)): pytest.approx(1 / 6),
    }
    assert all(check.verdict == "ok" for check in check_tasks(config, experiment))
    (wrong,) = [
        check
        for check in check_tasks(replace(config, "training.steps", 4), experiment)
        if check.verdict == "wrong"
    ]
    assert wrong.said == "source easy_vqa trains nothing: it joins at step 4 of a run of 4"


def test_a_mean_of_figures_waits_for_its_evaluations(devices8):
    kept = dict(evaluation__best="mine", evaluation__means={"mine": ("vqa_accuracy", "vqa_blind")})
    plan = make_plan(tiny("light", training__evaluate_every=2, **kept), devices8)
    assert plan.experiment.config.evaluation.means == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topology", "v5e:4x5"], 'no topology "v5e:4x5". Did you mean "v5e:4x'),
        (["--topology", "v9:2x2"], "TPUs: v4, v5e, v5p, v6e, tpu7x; GPUs: a100, h100, h200"),
        (["--topology", "h10:8"], 'no chips "h10". Did you mean "h100"?'),
        (["--topology", "h100:12"], 'no GPUs "h100:12". Did you mean "h100:8"'),
        (["--topology", "h100:16", "--slices", "2"], "--slices is for TPUs"),
        (["--devices", "6", "--slices", "4"], "6 devices cannot be divided into 4 slices"),
        (["--devices", "8", "--search", "batch"], "--search needs --topology"),
        (["--devices", "8", "--utilisation", "40"], "--utilisation 40.0: expected a share"),
        (["--devices", "8", "--config.data.batch_size=12"], "Nearest valid: 16"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments, said, capsys, devices8):
    assert main(["preflight", "--config", CONFIG, *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.slow
def test_what_is_wrong_is_said_and_is_the_status(tmp_path, capsys, devices8, compiles_fast):
    list_ = write_pairs(tmp_path, 24)
    (tmp_path / "file").write_text("")
    arguments = [
        "preflight", "--config", "tests/training/tiny_config.py:pairs", "--devices", "1",
        "--config.data.source=json", f"--config.data.path={list_}",
        "--config.tasks.vqa={}", "--config.init_from=('missing.pth',)",
        "--workdir", str(tmp_path / "file" / "run"), "--json", str(tmp_path / "found.json"),
    ]  # fmt: skip
    assert main(arguments) == 1
    found = json.loads((tmp_path / "found.json").read_text())
    assert f"{capsys.readouterr().out.splitlines()[-1]}".endswith("4 things are wrong")
    wrong = {
        check["about"]: check["said"] for check in found["checks"] if check["verdict"] == "wrong"
    }
    assert wrong.keys() == {"task vqa", "evaluations", "weights", "workdir"}
    assert "near_miss" in wrong["evaluations"] and "is no folder" in wrong["workdir"]
    assert found["fits"] and not found["ready"]


@pytest.mark.parametrize(
    ("room", "start", "found"),
    [(1000, 64, 768), (1024, 64, 1024), (64, 64, 64), (100, 512, 96), (20, 64, 16), (15, 64, 0)],
)
def test_the_largest_batch_is_found(room, start, found):
    tried = []
    assert largest_batch(lambda size: tried.append(size) or size <= room, start, 16) == found
    assert len(tried) == len(set(tried)) and not any(size % 16 for size in tried)


def test_a_refusal_becomes_a_sentence():
    said = (
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space "
        "hbm. Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G."
    )
    sentence = "it does not fit: a chip needs 20.50 GiB of HBM and has 15.75 GiB"
    assert out_of_memory(said) == sentence
    assert out_of_memory("RESOURCE_EXHAUSTED: too much.\nmore") == "it does not fit: too much."
    assert out_of_memory("INTERNAL: something else") is None


class Refused:
    """A program that compiles with all effort alone."""

    def __init__(self, reason):
        self.reason, self.tried = reason, []

    def compile(self, options=None):
        self.tried.append(options)
        if options:
            raise jax.errors.JaxRuntimeError(self.reason)
        return "compiled"


def test_what_does_not_fit_when_compiled_quickly_is_tried_as_it_would_run():
    program = Refused("RESOURCE_EXHAUSTED: too much")
    assert _placed(program, Slices("v5e:1x1", (), 1, CHIPS["v5e"])) == "compiled"
    assert program.tried == [{"exec_time_optimization_effort": -1.0}, None]


def test_a_refusal_for_another_reason_is_not_tried_again():
    program = Refused("INTERNAL: something else")
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        _placed(program, Slices("v5e:1x1", (), 1, CHIPS["v5e"]))
    assert len(program.tried) == 1
