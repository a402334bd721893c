"""Phrase grounding: where phrases are read, overlaps, loss and recalls."""

import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.config import DataConfig, EvaluationConfig, ExperimentConfig
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.losses.phrases import phrase_loss
from vlp_jax.tasks import Run, build_tasks
from vlp_jax.tasks.phrase_grounding import (
    PhraseEvaluation,
    PhraseFields,
    PhraseTask,
    last_word_end,
    phrase_end,
    positions_of,
)

CAPTION = "a red dog , and a red cat ."
BOXES = [[0, 0, 0.5, 1], [0.5, 0, 1, 0.5]]
WORDS = Tokenizer.fit([CAPTION])
TEXTS = TextEncoder(WORDS, "plain")


def example(length=16, phrases=((9, BOXES), (25, BOXES[1:])), captions=(CAPTION,)):
    """An example with three regions, of which the last is filling."""
    given = [{"end": end, "boxes": boxes} for end, boxes in phrases]
    made = Example({"captions": list(captions), "phrases": given}, None)
    ids, _ = TEXTS.encode(CAPTION, length)
    regions = np.array([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.6], [0, 0, 0.5, 1]], np.float32)
    made["text_ids"], made["region_boxes"] = ids, regions
    made["region_mask"] = np.array([True, True, False])
    return made


def test_a_phrase_is_read_at_its_last_piece_beside_its_overlaps():
    made = PhraseFields(TEXTS, 3)(example(), None)
    pieces = WORDS.piece_ids(CAPTION[:9])
    assert made["phrase_positions"].tolist() == [3, 8, -1]
    assert example()["text_ids"][3] == pieces[-1] == WORDS.piece_ids("dog")[0]
    expected = [[0.5, 0.25 / 0.3, 0], [0, 0.25 / 0.3, 0], [0, 0, 0]]
    np.testing.assert_allclose(made["phrase_overlaps"], expected, atol=1e-6)


def test_a_phrase_that_is_cut_off_is_not_read():
    made = PhraseFields(TEXTS, 2)(example(length=6), None)
    assert made["phrase_positions"].tolist() == [3, 0]
    few = TextEncoder(WORDS, "albef", max_words=3)
    ids = few.encode(few.caption(CAPTION), 16)[0]
    assert positions_of(few, ids, CAPTION, ["red dog"]).tolist() == [3]
    with pytest.raises(ValueError, match='"red cat" does not end within the 16 tokens'):
        positions_of(few, ids, CAPTION, ["red cat"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"captions": (CAPTION, "a")}, "phrases are of one caption, and the record has 2"),
        ({"phrases": ((1, BOXES),) * 3}, "the record has 3 phrases, expected up to 2"),
        ({"phrases": ((1, None),)}, 'no "boxes"'),
    ],
)
def test_records_that_do_not_fit(changed, message):
    with pytest.raises(ValueError, match=message):
        PhraseFields(TEXTS, 2)(example(**changed), None)


def test_phrases_are_found_as_whole_words_where_they_first_occur():
    assert phrase_end("The dog, a Red  dog", "red dog") == 19
    assert phrase_end("catfish and cat and cat", "cat") == 15
    assert last_word_end("a dog .") == 5 and last_word_end("...") == 3
    for phrase in ("fish", " ", "dog"):
        with pytest.raises(ValueError, match=f'phrase "{phrase}": it is not in the text'):
            phrase_end("catfish and cat", phrase)


def test_the_loss_reads_phrases_at_their_positions():
    rng = np.random.default_rng(0)
    logits, overlaps = rng.normal(size=(2, 5, 3)), rng.random((2, 2, 3))
    batch = {"phrase_positions": np.array([[1, 4], [0, -1]]), "phrase_overlaps": overlaps}
    result = loss_of(PhraseTask(), FakeViews(batch, grounding=logits))
    read, right = np.stack([logits[0, [1, 4]], logits[1, [0, 0]]]), overlaps >= 0.5
    right[1] = False  # cut off, and filling
    assert float(result.loss) == pytest.approx(float(phrase_loss(read, right)), rel=1e-6)
    best = [right[0, i, read[0, i].argmax()] for i in (0, 1)]
    assert result.metrics["phrase_accuracy"] == pytest.approx(sum(best) / 3)


def evaluated(sign, text_length=64):
    """Returns a run that tells regions by their overlap, or by what they lack, and its outcome."""
    scenes = dict(form="phrases", concepts=12, canvas=64, size=8)
    shapes = dict(image_size=64, regions=4, text_length=text_length)
    data = DataConfig(source="emoji_tasks", source_args={"emoji_tasks": scenes}, **shapes)
    config = ExperimentConfig(data=data, evaluation=EvaluationConfig(batch_size=3))
    forward = lambda function, batch: sign * batch["phrase_overlaps"]
    run = Run(config, Vocabulary(Tokenizer.fit(["the dog"])), forward, PhraseTask())
    return run, PhraseEvaluation()(run, "entities")


@pytest.mark.parametrize(("sign", "low", "high"), [(1, 1, 1), (-1, 0.1, 0.9)])
def test_the_evaluation_counts_phrases(sign, low, high):
    run, outcome = evaluated(sign)
    figures = outcome.figures
    assert low <= figures["entities_r1"] <= high
    assert figures["entities_r5"] == figures["entities_upper_bound"] == 1  # of four regions
    assert figures["entities_r1"] <= figures["entities_r5"] == figures["entities_r10"]
    assert 0 < figures["entities_r1_chance"] < 1 and 0 < figures["entities_r1_blind"] < 1
    assert figures.keys() - {f"entities_r{k}_blind_name" for k in (1, 5, 10)} == (
        PhraseEvaluation().figures("entities")
    )
    count = sum(len(record["phrases"]) for record in run.source(PhraseEvaluation()))
    assert f"{count} phrases" in outcome.rows[0].note and outcome.rows[0].headline


def test_what_is_cut_off_is_not_found_and_lowers_no_bound():
    """Eight scenes of which each has a phrase in its first tokens, and some further ones."""
    figures = evaluated(1, text_length=16)[1].figures
    assert 0 < figures["entities_r10"] < 1 == figures["entities_upper_bound"]


def test_boxes_that_would_not_move_with_the_picture():
    config = ExperimentConfig(data=DataConfig(augment="crop"), tasks={"entities": {}})
    with pytest.raises(ValueError, match='config.tasks.entities: the right box .* "crop"'):
        build_tasks(config)
