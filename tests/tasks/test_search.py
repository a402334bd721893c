"""Search for texts: against trying all on a toy that notices a wrong memory."""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.tasks.constraints import constraint_fields
from vlp_jax.tasks.search import Constraints, Search, SpecialIds, Writer, write

SPECIAL = SpecialIds(start=1, end=2, mask=3)
TOY_WORDS = 7


def toy_table(rng, images):
    """log p(word | image, position, previous word): [B, L, V, V]."""
    scores = 2 * rng.standard_normal((images, 5, TOY_WORDS, TOY_WORDS))
    return jax.nn.log_softmax(jnp.asarray(scores))


def toy(table):
    """What reads the table and remembers its texts; with those of another it says NaN."""

    def predict(texts, position, memory):
        image = jnp.arange(len(texts)) // (len(texts) // len(table))
        previous = jnp.take_along_axis(texts, (position - 1)[None, None], axis=1)[:, 0]
        memory = memory.at[0, :, position - 1].set(previous)
        before = jnp.where(jnp.arange(texts.shape[1]) < position, texts, 0)
        same = (memory[0] == before).all(-1)
        return jnp.where(same[:, None], table[image, position, previous], jnp.nan), memory

    return Writer(predict, lambda texts, length: jnp.zeros((1, texts, length), int))


def found(table, length, **search):
    return write(toy(jnp.asarray(table)), len(table), Search(length, **search), SPECIAL)


def exhaustive(table, length, penalty, least=2, allowed=lambda middle: True):
    """The best caption by trying all: words between [CLS] and an end at any place."""
    best, best_score = None, -np.inf
    words = [w for w in range(TOY_WORDS) if w not in (SPECIAL.end, SPECIAL.pad)]
    for count in range(length - 1):
        for middle in itertools.product(words, repeat=count):
            if count + 2 < least or not allowed(middle):
                continue
            path = (SPECIAL.start, *middle)
            total = sum(table[i + 1, a, b] for i, (a, b) in enumerate(zip(path, path[1:])))
            ends = table[count + 1, path[-1]]
            # Where a caption is cut off, any word may stand for the end.
            ends = ends.max() if count == length - 2 else max(ends[SPECIAL.end], ends[SPECIAL.pad])
            score = (total + ends) / len(path) ** penalty
            if score > best_score:
                best, best_score = [*path, SPECIAL.end], score
    return best + [SPECIAL.pad] * (length - len(best)), best_score


@pytest.mark.parametrize(
    "length, penalty, least", [(2, 1.0, 2), (4, 1.0, 2), (4, 0.0, 2), (5, 2.0, 2), (5, 0.0, 4)]
)
def test_a_wide_beam_finds_what_trying_all_finds(length, penalty, least):
    table = toy_table(np.random.default_rng(), 3)
    texts = found(table, length, beams=150, length_penalty=penalty, min_length=least)
    for i, (ids, score) in enumerate(zip(texts.ids, texts.scores)):
        expected, best = exhaustive(np.asarray(table[i]), length, penalty, least)
        assert ids.tolist() == expected
        assert float(score) == pytest.approx(best, abs=1e-4)


def constraints(*wanted, needed=2):
    """Automata over the toy's words, whose spelling is their number."""
    spelled = lambda text: list(map(int, text.split()))
    tokenizer = SimpleNamespace(size=TOY_WORDS, piece_ids=spelled, unk_id=-1)
    return Constraints(*map(jnp.asarray, constraint_fields(wanted, tokenizer, needed).values()))


def holds(phrase, middle):
    wanted = tuple(map(int, phrase.split()))
    return any(middle[i : i + len(wanted)] == wanted for i in range(len(middle)))


@pytest.mark.parametrize(
    "wanted",
    [[["4"]], [["4"], ["5", "6"]], [["4 4 5"]], [["4"], ["5"], ["6 4", "3"]], [["4 5"], ["5 4"]]],
)
def test_constrained_beams_find_the_best_text_that_holds_what_is_wanted(wanted):
    table, least = toy_table(np.random.default_rng(), 2), min(2, len(wanted))

    def allowed(middle):
        return sum(any(holds(p, middle) for p in options) for options in wanted) >= least

    texts = write(toy(table), 2, Search(5, beams=150), SPECIAL, constraints(wanted, wanted))
    for i, (ids, score) in enumerate(zip(texts.ids, texts.scores)):
        expected, best = exhaustive(np.asarray(table[i]), 5, 1.0, allowed=allowed)
        assert ids.tolist() == expected
        assert float(score) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("beams", [2, 5])
def test_without_wanted_words_constrained_beams_are_beams(beams):
    table = toy_table(np.random.default_rng(), 3)
    free = write(toy(table), 3, Search(5, beams=beams), SPECIAL, constraints([], [["4"]], []))
    plain = write(toy(table), 3, Search(5, beams=beams), SPECIAL)
    for row in (0, 2):
        assert free.ids[row].tolist() == plain.ids[row].tolist()
        assert float(free.scores[row]) == float(plain.scores[row])
    assert 4 in free.ids[1].tolist()


def test_what_cannot_be_held_is_held_as_far_as_can_be():
    table = toy_table(np.random.default_rng(), 1)
    texts = write(toy(table), 1, Search(3), SPECIAL, constraints([["4"], ["5"]]))
    assert texts.ids[0, 1] in (4, 5) and np.isfinite(texts.scores[0])
    with pytest.raises(ValueError, match="top_p = 0.5: words under constraints"):
        write(toy(table), 1, Search(3, top_p=0.5), SPECIAL, constraints([["4"]]))


@pytest.mark.parametrize("search", [dict(beams=1), dict(beams=3), dict(top_p=0.9)])
def test_pictures_beside_a_picture_change_nothing(search):
    table = toy_table(np.random.default_rng(), 4)
    alone, together = found(table[:1], 5, **search), found(table, 5, **search)
    assert alone.ids[0].tolist() == together.ids[0].tolist()
    assert float(alone.scores[0]) == pytest.approx(float(together.scores[0]), abs=1e-5)


def test_greedy_takes_the_likeliest_word_until_the_end():
    table = np.full((1, 5, TOY_WORDS, TOY_WORDS), np.log(0.01))
    for position, (before, word) in enumerate([(1, 4), (4, 6), (6, 2)], start=1):
        table[0, position, before, word] = np.log(0.5)
    texts = found(table, 5, beams=1)
    assert texts.ids.tolist() == [[1, 4, 6, 2, 0]]
    assert float(texts.scores[0]) == pytest.approx(np.log(0.5))
    assert found(table, 3, beams=1).ids.tolist() == [[1, 4, 2]]


def test_a_text_that_has_to_be_longer_takes_the_next_best_word():
    table = np.full((1, 5, TOY_WORDS, TOY_WORDS), np.log(0.01))
    table[0, :, :, 2], table[0, :, :, 5] = np.log(0.6), np.log(0.3)
    assert found(table, 5, beams=1).ids.tolist() == [[1, 2, 0, 0, 0]]
    assert found(table, 5, beams=1, min_length=4).ids.tolist() == [[1, 5, 5, 2, 0]]


def test_beam_search_prefers_the_better_whole_to_the_better_start():
    table = np.full((1, 3, TOY_WORDS, TOY_WORDS), -20.0)
    table[0, 1, 1, 4], table[0, 1, 1, 5] = np.log(0.6), np.log(0.4)
    table[0, 2, 4, 2], table[0, 2, 5, 2] = np.log(0.1), np.log(0.9)
    assert found(table, 3, beams=2).ids.tolist() == [[1, 5, 2]]
    assert found(table, 3, beams=1).ids.tolist() == [[1, 4, 2]]


def test_words_are_drawn_from_the_likeliest_as_often_as_they_are_likely():
    chances, size = np.array([0.0, 0.0, 0.0, 0.0, 0.5, 0.3, 0.2]), 2000
    table = np.broadcast_to(np.log(chances + 1e-9), (size, 3, TOY_WORDS, TOY_WORDS))
    drawn = lambda top_p, seed=0: np.asarray(found(table, 3, top_p=top_p, seed=seed).ids[:, 1])
    shares = np.bincount(drawn(0.7), minlength=TOY_WORDS) / size
    np.testing.assert_allclose(shares, [0, 0, 0, 0, 5 / 8, 3 / 8, 0], atol=0.05)
    assert set(drawn(1.0)) == {4, 5, 6} and set(drawn(0.5)) == {4}
    assert (drawn(1.0) != drawn(1.0, seed=1)).any()


@pytest.mark.parametrize(
    "settings",
    [dict(max_length=1), dict(beams=0), dict(min_length=21), dict(top_p=0.0), dict(top_p=1.5)],
)
def test_settings_that_make_no_sense_are_refused(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"{name} = {value}"):
        Search(**settings)
