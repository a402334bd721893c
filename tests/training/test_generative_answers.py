"""A run whose answers are written: data, sizes, a step, the evaluation, and the verb `answer`."""

import logging

import numpy as np
import pytest

from tests.training.tiny import Stepper, tiny
from vlp_jax.config import ExperimentConfig, build, to_plain
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.inference.model import Model
from vlp_jax.model import Forward
from vlp_jax.tasks import evaluate
from vlp_jax.training.experiment import assemble

DECODER = dict(layers=1, heads=2, mlp_width=32, max_length=8, dropout=0.0, attention_dropout=0.0)


def config(data=(), **changes):
    """Returns the tiny experiment with a decoder instead of a classifier; `changes` of the task."""
    values = to_plain(tiny("light"))
    values["model"]["heads"] = {"answer": DECODER}
    evaluated = {"vqa_generative": dict(limit=8, baseline_records=32, examples=2)}
    own = dict(answer_length=4, answers=2, question_length=8, evaluate=evaluated)
    values["tasks"] = {"vqa_generative": own | changes}
    values["data"] |= dict(data)
    return build(ExperimentConfig, values, "config")


@pytest.fixture(scope="module")
def experiment():
    return assemble(config())


@pytest.fixture(scope="module")
def trained(experiment):
    """The state after three steps on one batch (the first has no rate yet), and their metrics."""
    return Stepper(experiment, 1, 1, 1).run([experiment.mixture.batch(0)] * 3)


def test_batches_hold_answers_and_the_decoder_has_the_tokenizers_words(experiment):
    batch = experiment.mixture.batch(0)
    assert batch["answer_ids"].shape == batch["answer_mask"].shape == (8, 2, 4)
    np.testing.assert_array_equal(batch["answer_weights"], [[1, 0]] * 8)
    tokenizer = experiment.vocabulary.tokenizer
    spelt = {tokenizer.decode(ids) for ids in batch["answer_ids"][:, 0]}
    assert spelt <= set(experiment.vocabulary.answers)
    assert experiment.config.model.heads["answer"]["vocab_size"] == tokenizer.size


@pytest.mark.slow
def test_a_step_learns_to_write(experiment, trained):
    _, rows = trained
    words = np.log(experiment.vocabulary.tokenizer.size)
    # The first loss is that of a guess among all words, for each of the answer's and for its end.
    guesses = (experiment.mixture.batch(0)["answer_mask"][:, 0].sum(-1) - 1).mean()
    assert rows[0]["vqa_generative_loss"] == pytest.approx(guesses * words, rel=0.1)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert 0 <= rows[0]["answer_word_accuracy"] <= 1


def test_the_evaluation_ranks_the_answers(experiment, trained):
    forward = Forward(experiment.model, trained[0].params)
    outcome = evaluate(experiment.config, experiment.vocabulary, forward)
    assert 0 <= outcome.figures["vqa_generative_accuracy"] <= 1
    assert outcome.figures["vqa_generative_blind"] > 0
    assert {shown.prediction for shown in outcome.answers} <= set(experiment.vocabulary.answers)


@pytest.mark.slow
def test_a_model_that_writes_answers(experiment, trained):
    model = Model(experiment.config, trained[0].params, experiment.vocabulary)
    image = np.zeros((32, 32, 3), np.uint8)
    count = len(model.answers)
    found = model.answer(image, "how many things are there?", top=count)
    probabilities = [answer.probability for answer in found]
    assert {answer.text for answer in found} == set(model.answers)
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    both = model.answer([image, image], ["how many things are there?", "is there a dog?"])
    assert both[0][0].text == found[0].text and len(both) == 2
    assert both[0][0].probability == pytest.approx(found[0].probability, rel=1e-4)


@pytest.mark.slow
def test_an_answer_that_is_written_freely_is_as_likely_as_its_words(experiment, trained):
    words = experiment.vocabulary.tokenizer
    model = Model(experiment.config, trained[0].params, Vocabulary(words))  # no list of answers
    image, question = np.zeros((32, 32, 3), np.uint8), "how many things are there?"
    (free,) = model.answer(image, question, ranked=0)
    assert free.probability == pytest.approx(np.exp(free.score))
    listed = Model(experiment.config, trained[0].params, experiment.vocabulary)
    assert len(listed.answer([image] * 2, [question] * 2, ranked=0)) == 2
    with pytest.raises(ValueError, match="without its list of answers"):
        model.answer(image, question)


def test_a_length_that_holds_no_word_is_refused():
    with pytest.raises(ValueError, match="vqa_generative.answer_length = 2: must be at least 3"):
        assemble(config(answer_length=2))


def test_answers_that_do_not_fit_are_skipped_and_said(caplog):
    with caplog.at_level(logging.WARNING):
        data = dict(vocabulary="bert-base-uncased", source="easy_vqa")
        assemble(config(data, answer_length=3))
    assert "no answer of ['rectangle'] fits answer_length = 3; the shortest has 4" in caplog.text


def test_a_decoder_of_other_words_than_the_data():
    wrong = {"answer": DECODER | {"vocab_size": 7}}
    values = to_plain(config()) | {}
    values["model"]["heads"] = wrong
    with pytest.raises(ValueError, match="heads.answer.vocab_size = 7, but the data has"):
        assemble(build(ExperimentConfig, values, "config"))
