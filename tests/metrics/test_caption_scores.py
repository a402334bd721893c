"""BLEU, ROUGE-L and CIDEr: by hand, and how they must behave."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.metrics.bleu import bleu
from vlp_jax.metrics.captions import caption_scores
from vlp_jax.metrics.cider import cider
from vlp_jax.metrics.rouge import rouge_l

TEXTS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=9).map(" ".join)
SETS = st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=2, max_size=5)


def test_bleu_by_hand():
    corpus, each = bleu(["the the the cat"], [["the cat sat here", "the the dog ran"]])
    assert corpus[0] == pytest.approx(3 / 4)  # "the" twice at most
    assert corpus[1] == pytest.approx(math.sqrt(3 / 4 * 2 / 3))
    assert each[:, 0] == pytest.approx(corpus)


def test_bleu_takes_the_shorter_of_two_references_equally_close():
    corpus, _ = bleu(["a b c"], [["a b c d", "x y"]])
    assert corpus[0] == pytest.approx(1.0)
    corpus, _ = bleu(["a b c"], [["a b c d"]])
    assert corpus[0] == pytest.approx(math.exp(1 - 4 / 3))


def test_rouge_takes_precision_and_recall_from_different_references():
    mean, each = rouge_l(["a b c d"], [["a b", "a b c x y z d w"]])
    precision, recall = 4 / 4, 2 / 2
    assert mean == each[0] == pytest.approx(2.44 * precision * recall / (recall + 1.44 * precision))
    assert rouge_l(["a x b"], [["b a"]])[0] == pytest.approx(2.44 / 6 / (1 / 2 + 1.44 / 3))
    assert rouge_l(["", "a"], [[""], ["b"]])[1].tolist() == [1.0, 0.0]


def test_cider_by_hand():
    mean, each = cider(["a b", "c"], [["a b"], ["d"]])
    assert each == pytest.approx([10 * (1 + 1) / 4, 0.0]) and mean == pytest.approx(2.5)
    # One more bigram than the reference: the penalty is exp(-1 / 72).
    each = cider(["a b c", "x"], [["a b"], ["y"]])[1]
    plain = cider(["a b c", "x"], [["a b"], ["y"]], plain=True)[1]
    assert each[0] == pytest.approx(plain[0] * math.exp(-1 / 72))


def test_one_image_has_no_telling_ngram():
    assert cider(["a b"], [["a b"]])[0] == 0.0


@given(SETS)
def test_scores_are_bounded_and_do_not_depend_on_order(pairs):
    captions, references = map(list, zip(*pairs))
    turned = [refs[::-1] for refs in references][::-1]
    for metric, most in ((bleu, 1), (rouge_l, 1), (cider, 10)):
        corpus, each = metric(captions, references)
        assert np.all(each >= 0) and np.all(each <= most + 1e-9)
        other, _ = metric(captions[::-1], turned)
        assert other == pytest.approx(corpus, abs=1e-9)


@given(SETS)
def test_a_caption_that_equals_a_reference_is_best(pairs):
    _, references = map(list, zip(*pairs))
    captions = [refs[0] for refs in references]
    assert np.all(rouge_l(captions, references)[1] == 1.0)
    assert np.all(bleu(captions, references)[1][0] >= 1 - 1e-6)


@given(SETS, TEXTS)
def test_another_reference_never_lowers_rouge(pairs, text):
    captions, references = map(list, zip(*pairs))
    more = [[*refs, text] for refs in references]
    assert np.all(rouge_l(captions, more)[1] >= rouge_l(captions, references)[1])


def test_raw_texts_are_tokenised_first():
    raw = caption_scores(["The cat's hat.", "Two dogs!"], [['the "cat\'s" hat'], ["two birds"]])
    tokens = ["the cat 's hat", "two dogs"], [["the cat 's hat"], ["two birds"]]
    cut = caption_scores(*tokens, tokenized=True)
    for ours, other in zip(raw, cut):
        assert ours == pytest.approx(other)
    assert raw.rouge_l_of_each == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize("metric", [bleu, rouge_l, cider])
@pytest.mark.parametrize(
    "captions, references, message",
    [
        ([], [], "no captions"),
        (["a"], [["a"], ["b"]], "captions has 1, references has 2"),
        (["a"], [[]], r"references\[0\] is \[\], expected a list of texts"),
        (["a"], ["a b"], "references.0. is 'a b', expected a list of texts"),
    ],
)
def test_bad_input_is_named(metric, captions, references, message):
    with pytest.raises(ValueError, match=message):
        metric(captions, references)
