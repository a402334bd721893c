"""Published text preparation: cleaning, word pieces and pairs, as each model was trained."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vlp_jax.config import Registry
from vlp_jax.data.foreign import shortened

_DELETED = re.compile(r"[,.'!?\"()*#:;~]")
_RUNS = re.compile(r"\s{2,}")

_WORDS_AND_GAPS = re.compile(r"\w+|\W+")

Cleaner = Callable[[str, int], str]
Pieces = Callable[[Any, str], list[int]]


class TextStyle(NamedTuple):
    """How a model was shown texts.

    caption, question: cleaners, each `(text, max_words) -> text`.
    question_end: what follows every question, once it is known to have words.
    pieces: `(tokenizer, text) -> ids` of the word pieces.
    """

    caption: Cleaner
    question: Cleaner
    question_end: str = ""
    pieces: Pieces = lambda tokenizer, text: tokenizer.piece_ids(text)


TEXT_STYLES: Registry = Registry("text style")
"""Maps a name to a `TextStyle`."""


def pre_caption(caption: str, max_words: int = 30) -> str:
    """Returns a caption cleaned as in ALBEF `dataset/utils.py`: lower case, no punctuation."""
    caption = _DELETED.sub("", caption.lower()).replace("-", " ").replace("/", " ")
    caption = _RUNS.sub(" ", caption.replace("<person>", "person"))
    return _first_words(caption.rstrip("\n").strip(" "), max_words)


def pre_question(question: str, max_words: int = 30) -> str:
    """Returns a question cleaned as in ALBEF `dataset/utils.py`.

    Unlike captions, runs of spaces stay and only trailing spaces go, so that an empty word
    counts towards `max_words` (30 in training, 50 at test) as in the original.
    """
    question = _DELETED.sub("", question.lower()).replace("-", " ").replace("/", " ")
    return _first_words(question.rstrip(" "), max_words)


def plain(text: str, max_words: int = 30) -> str:
    """Returns the text as it is, without surrounding space; the tokenizer does the truncation."""
    del max_words
    return text.strip()


def _first_words(text: str, count: int) -> str:
    words = text.split(" ")
    return " ".join(words[:count]) if len(words) > count else text


def split_question(question: str, max_words: int = 30) -> str:
    """Returns a question as VisualBERT's reader splits it: lower-case words and signs, by blanks.

    "," and "?" are deleted, and "'s" is a part of its own. Source: `tokenize` of Pythia's
    `text_utils.py`, which uclanlp/visualbert uses.
    """
    del max_words
    question = question.lower().replace("'s", " 's").replace(",", "").replace("?", "")
    parts = (part.strip() for part in _WORDS_AND_GAPS.findall(question))
    return " ".join(part for part in parts if part)


def _pieces_by_word(tokenizer: Any, text: str) -> list[int]:
    return [piece for word in text.split() for piece in tokenizer.piece_ids(word)]


TEXT_STYLES.register("albef")(TextStyle(pre_caption, pre_question))
TEXT_STYLES.register("plain")(TextStyle(plain, plain))
TEXT_STYLES.register("uniter")(TextStyle(plain, plain, pieces=_pieces_by_word))
# The state of [MASK] answers the question.
TEXT_STYLES.register("visualbert")(TextStyle(plain, split_question, " ? [MASK]"))


def usable_text(
    tokenizer,
    texts: Sequence[str],
    clean: Callable[[str, int], str] = plain,
    max_words: int = 30,
    kind: str = "caption",
) -> tuple[str, int]:
    """Returns the first text that has words after cleaning, cleaned, and its place.

    Words are judged by word pieces (`Tokenizer.has_words`), because texts of invisible characters
    leave [CLS] alone. clean: one of TEXT_STYLES. ValueError if no text has words or one is no text;
    `kind` says what they are.
    """
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{kind} is a {type(text).__name__}, expected text")
        cleaned = clean(text, max_words)
        if tokenizer.has_words(cleaned):
            return cleaned, place
    raise ValueError(f"no {kind} with words in it: {shortened(ascii(list(texts)))}")


def whitespace_pieces(tokenizer, text: str) -> list[str]:
    """Returns word pieces of each whitespace-separated word (UNITER `prepro.py`)."""
    return [piece for word in text.split() for piece in tokenizer.word_pieces(word)]


def encode_pair(
    tokenizer,
    first: str,
    second: str,
    length: int,
    truncate: str = "longer",
    pieces: Pieces = TextStyle._field_defaults["pieces"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (ids int32, mask bool, segments int32), each [length], of two texts (OSCAR).

    Layout `[CLS] first [SEP] second [SEP]`, segment 0 up to the first [SEP] and 1 after it;
    padding has segment 0. An empty second text leaves out its [SEP].
    truncate: "longer" drops the last token of the longer part until both fit, the second part's
    on a tie (pre-training, `oscar/datasets/oscar_tsv.py`); "second" keeps as much of the first
    part as fits (fine-tuning, `oscar/run_retrieval.py`).
    """
    if length < 3:
        raise ValueError(f"pair length is {length}, expected at least 3 for [CLS] and two [SEP]")
    ids = pieces(tokenizer, first), pieces(tokenizer, second)
    kept, kept_second = _pair_lengths(len(ids[0]), len(ids[1]), length, truncate)
    head = [tokenizer.cls_id, *ids[0][:kept], tokenizer.sep_id]
    tail = [] if kept_second is None else [*ids[1][:kept_second], tokenizer.sep_id]
    ids = np.full(length, tokenizer.pad_id, np.int32)
    used = len(head) + len(tail)
    ids[:used] = head + tail
    segments = np.zeros(length, np.int32)
    segments[len(head) : used] = 1
    return ids, np.arange(length) < used, segments


def _pair_lengths(first: int, second: int, length: int, truncate: str) -> tuple[int, int | None]:
    """Returns how many tokens of either part fit; None leaves out the second part's [SEP] too."""
    if truncate not in ("longer", "second"):
        raise ValueError(f'truncate is "{truncate}", expected "longer" or "second"')
    if not second:
        return min(first, length - 2), None
    if truncate == "second":
        first = min(first, length - 2)
        room = length - 3 - first
        return first, min(second, room) if room >= 0 else None
    while first + second > length - 3:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second or None
