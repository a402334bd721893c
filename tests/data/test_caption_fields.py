"""Tests of the text fields: which caption, which second text, whose, and what is predicted."""

import numpy as np
import pytest

from vlp_jax.data.batch import IGNORE, check_batch, stack
from vlp_jax.data.caption_fields import CaptionFields
from vlp_jax.data.masking import Masking, MaskWords
from vlp_jax.data.pairing import PAIRINGS, ExchangeTexts, Pairing
from vlp_jax.data.region_fields import Regions
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Chain, Example, Stage, Transform

OWN = {"captions": ["red dog", "blue apple"], "labels": ["dog", "apple"]}
OTHER = {"captions": ["left face", "right face"], "labels": ["face", "sun", "moon"]}
TOKENIZER = Tokenizer.fit([w for r in (OWN, OTHER) for w in r["captions"] + r["labels"]])
EVERY = Masking(probability=1.0)


class Both(Transform):
    """Shows all regions of a record."""

    stage = Stage.PICTURE

    def __call__(self, example, rng):
        return {"regions": Regions({}, np.arange(len(example.record.get("labels", ()))))}


def refuse(draw):
    raise AssertionError("another record was read though nothing is exchanged")


def made(
    seed=0,
    record=OWN,
    other=lambda draw: OTHER,
    pairing=None,
    masking=None,
    predict=True,
    **options,
):
    own = [Both(), CaptionFields(TextEncoder(TOKENIZER, add_sep=True), 12, **options)]
    if pairing is not None:
        pairing = pairing if isinstance(pairing, Pairing) else PAIRINGS[pairing]
        own.append(ExchangeTexts(pairing, predict))
    if masking is not None:
        own.append(MaskWords(TOKENIZER, masking))
    chain = Chain(own)
    out = chain(record, np.random.default_rng(seed), other)
    check_batch(stack([out, out]), chain.fields)
    return out


def parts(out):
    """Returns the words of both segments."""
    segments = out.get("text_segments", np.zeros_like(out["text_ids"]))
    ids, mask = out["text_ids"], out["text_mask"]
    return tuple(TOKENIZER.decode(ids[mask & (segments == s)]) for s in (0, 1))


def test_without_a_pairing_all_is_the_records_own():
    for seed in range(9):
        out = made(seed, other=refuse)
        assert parts(out)[0] in OWN["captions"] and set(out) == {"text_ids", "text_mask"}
        out = made(seed, other=refuse, pairing="none")
        assert parts(out)[0] in OWN["captions"] and out["pair_labels"] == 0


def test_a_wrong_caption_has_label_one():
    for seed in range(30):
        out = made(seed, pairing="caption")
        theirs = parts(out)[0] in OTHER["captions"]
        assert out["pair_labels"] == int(theirs) and out["pair_labels"].dtype == np.int32
    labels = [int(made(seed, pairing="caption")["pair_labels"]) for seed in range(200)]
    assert 70 < sum(labels) < 130


@pytest.mark.parametrize("pairing, labels", [("oscar", {0, 1}), ("oscarplus", {0, 1, 2})])
def test_tags_or_caption_are_exchanged_never_both(pairing, labels):
    seen = set()
    for seed in range(60):
        out = made(seed, pairing=pairing, tags=True)
        caption, tags = parts(out)
        wrong = (tags == "face sun moon", caption in OTHER["captions"])
        assert (
            wrong
            == {0: (False, False), 1: (True, False), 2: (False, True)}[int(out["pair_labels"])]
        )
        assert wrong[0] or tags == "dog apple"
        seen.add(int(out["pair_labels"]))
    assert seen == labels


def test_no_more_tags_are_shown_of_another_image_than_of_the_own():
    pairing = Pairing((("second", 1.0, 1),), "tags")
    assert parts(made(pairing=pairing, tags=True, regions=2))[1] == "face sun"


def test_the_second_caption_is_another_one_of_the_image_or_of_another():
    seen = set()
    for seed in range(60):
        out = made(seed, pairing="second_caption")
        first, second = parts(out)
        assert first in OWN["captions"] and second != first
        assert (second in OTHER["captions"]) == bool(out["pair_labels"])
        seen.add((first, second))
    assert len(seen) == 6
    with pytest.raises(ValueError, match="has one caption, and this pairing shows two"):
        made(0, {"captions": ["red dog"]}, pairing=Pairing((("second", 0.0, 1),), "caption"))


def test_evaluation_shows_the_first_caption_alone_and_its_own_tags():
    for tags in (False, True):
        for seed in range(9):
            out = made(seed, other=refuse, tags=tags, train=False)
            assert parts(out) == ("red dog", "dog apple" if tags else "")
            assert "pair_labels" not in out


@pytest.mark.parametrize("pairing", ["caption", "oscar", "oscarplus", "second_caption"])
def test_words_of_a_wrong_pair_are_masked_and_predicted_unless_told_otherwise(pairing):
    tags = PAIRINGS[pairing].second == "tags"
    for seed in range(30):
        given = dict(seed=seed, pairing=pairing, tags=tags, masking=EVERY)
        kept, dropped = made(**given), made(**given, predict=False)
        np.testing.assert_array_equal(kept["mlm_ids"], dropped["mlm_ids"])
        label = int(kept["pair_labels"])
        second = label == 1 and pairing != "caption"
        exchanged = kept.get("text_segments", np.zeros_like(kept["text_ids"])) == int(second)
        exchanged &= label > 0
        assert (dropped["mlm_labels"][exchanged] == IGNORE).all()
        rest = ~exchanged
        np.testing.assert_array_equal(dropped["mlm_labels"][rest], kept["mlm_labels"][rest])
        assert (kept["mlm_labels"] != IGNORE).any()


@pytest.mark.parametrize(
    "record, message",
    [({"labels": []}, 'no "captions"'), (OWN | {"captions": [3]}, "caption is a int")],
)
def test_a_bad_record_is_explained(record, message):
    with pytest.raises(ValueError, match=message):
        made(0, record)


def test_a_bad_record_of_another_image_is_explained():
    wrong_caption, wrong_tags = (Pairing(((part, 1.0, 1),)) for part in ("caption", "second"))
    with pytest.raises(ValueError, match="no caption with words"):
        made(other=lambda draw: {"captions": ["..."]}, pairing=wrong_caption)
    with pytest.raises(ValueError, match='no "labels"'):
        made(other=lambda draw: {"captions": ["x"]}, pairing=wrong_tags, tags=True)


def test_a_note_says_which_of_its_own_captions_a_record_shows():
    fields, seen = CaptionFields(TextEncoder(TOKENIZER), 12), set()
    for seed in range(20):
        made = fields(Example(OWN, None), np.random.default_rng(seed))
        shown = TOKENIZER.decode(made["text_ids"][made["text_mask"]])
        assert shown == OWN["captions"][made["caption_place"]]
        seen.add(shown)
    assert seen == set(OWN["captions"])
    exchanged = Example(OWN, None)
    exchanged |= {"exchanged": "caption", "stranger": OTHER}
    assert "caption_place" not in fields(exchanged, np.random.default_rng(0))
