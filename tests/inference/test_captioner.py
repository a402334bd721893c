"""A run with a decoder writes captions of pixels: by the verb, the pipeline and the shell."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.inference.program_cases import check_program
from tests.model.tiny import random_like
from tests.training.tiny import tiny
from vlp_jax import load, pipeline
from vlp_jax.cli import predict
from vlp_jax.cli.main import main
from vlp_jax.cli.web.tabs import tabs_of
from vlp_jax.config import ExperimentConfig, build, to_plain
from vlp_jax.inference.exported import write_export
from vlp_jax.inference.model import Model
from vlp_jax.model import Forward
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import unbox
from vlp_jax.tasks import evaluate
from vlp_jax.training.experiment import assemble

DECODER = dict(layers=1, heads=2, mlp_width=32, max_length=12, dropout=0.0, attention_dropout=0.0)
RNG = np.random.default_rng()
PICTURES = list(RNG.integers(0, 256, (3, 32, 32, 3), np.uint8))


@pytest.fixture(scope="module")
def model():
    values = to_plain(tiny("light"))
    values["model"]["heads"] = {"caption": DECODER}
    measured = dict(captioning=dict(limit=4, beams=2, max_length=8, baseline_records=16))
    values["tasks"] = {"captioning_generative": dict(length=12, evaluate=measured)}
    experiment = assemble(build(ExperimentConfig, values, "config"))
    params = random_like(unbox(abstract_params(experiment.model)), RNG)
    return Model(experiment.config, params, experiment.vocabulary)


@pytest.mark.slow
def test_the_verb(model):
    assert model.verbs == ("caption",)
    greedy = model.caption(PICTURES, beams=1, max_length=6, min_length=4)
    assert len(greedy) == 3 and all(found.ids[0] == model.tokenizer.cls_id for found in greedy)
    assert {4, 5, 6} >= {sum(i != model.tokenizer.pad_id for i in found.ids) for found in greedy}
    (alone,) = model.caption(PICTURES[1], beams=1, max_length=6, min_length=4)
    assert alone.ids == greedy[1].ids
    assert alone.score == pytest.approx(greedy[1].score, abs=1e-5)
    with pytest.raises(ValueError, match="13 tokens exceeds the 12 positions of the decoder"):
        model.caption(PICTURES[0], beams=1, max_length=13)
    with pytest.raises(ValueError, match="writes from left to right reads no tags"):
        model.caption(PICTURES[0], tags=["dog"])


def test_the_pipeline_draws_words(model):
    write = pipeline("image-to-text", model)
    options = {"max_new_tokens": 5, "generate_kwargs": {"top_p": 0.9, "min_new_tokens": 3}}
    drawn = model.caption(PICTURES, max_length=6, min_length=4, top_p=0.9)
    assert write(PICTURES, **options) == [[{"generated_text": x.text}] for x in drawn]


def test_the_shell_and_the_demo(model, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(predict, "load_model", lambda args: model)
    file = tmp_path / "a.png"
    Image.fromarray(PICTURES[0]).save(file)
    assert main(["predict", "--model", "run", "--image", str(file), "--caption"]) == 0
    (said,) = model.caption(PICTURES[0])
    assert json.loads(capsys.readouterr().out)["caption"] == said.text
    assert "Caption" in [tab.title for tab in tabs_of(model)]


@pytest.mark.slow
def test_its_program_and_what_is_read_back_write_the_same(model, tmp_path):
    pytest.importorskip("flatbuffers")
    check_program(model, "caption")
    write_export(model, tmp_path / "captioner")
    again = load(tmp_path / "captioner")
    assert [x.ids for x in again.caption(PICTURES)] == [x.ids for x in model.caption(PICTURES)]


def test_the_figures(model):
    outcome = evaluate(model.config, model.vocabulary, Forward(model.module, model.params))
    assert 0 <= outcome.figures["captioning_cider"] <= 10
    assert outcome.figures["captioning_cider_blind"] > 0
    assert len(json.loads(outcome.submissions["captioning_predictions.json"])) == 4
