"""Tests of WordPiece tokenisation: literal ids, files, vocabularies built from texts."""

import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import vlp_jax.data.tokenizer as module
from vlp_jax.data.tokenizer import SPECIAL_TOKENS, Tokenizer

TEXTS = ["A red apple!", "the dog's face", "naïve café", "你好 dog"]
BERT = Tokenizer.bert_uncased()


def test_the_shipped_vocabulary_is_berts():
    path = Path(module.__file__).parent / "assets" / "bert-base-uncased-vocab.txt"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    assert (BERT.size, BERT.pad_id, BERT.unk_id) == (30522, 0, 100)
    assert (BERT.cls_id, BERT.sep_id, BERT.mask_id) == (101, 102, 103)
    assert BERT.special_ids == (0, 100, 101, 102, 103)


def test_literal_ids_with_and_without_sep():
    ids, mask = BERT.encode("Hello world", 6)
    assert ids.tolist() == [101, 7592, 2088, 0, 0, 0]
    assert mask.tolist() == [True] * 3 + [False] * 3
    assert ids.dtype == np.int32 and mask.dtype == np.bool_
    ids, _ = BERT.encode("Hello world", 6, add_sep=True)
    assert ids.tolist() == [101, 7592, 2088, 102, 0, 0]


def test_truncation_keeps_the_special_tokens():
    assert BERT.encode("Hello world hello", 3)[0].tolist() == [101, 7592, 2088]
    assert BERT.encode("Hello world hello", 3, add_sep=True)[0].tolist() == [101, 7592, 102]
    assert BERT.encode("Hello", 1)[0].tolist() == [101]
    with pytest.raises(ValueError, match="too short"):
        BERT.encode("Hello", 1, add_sep=True)


def test_word_pieces_and_decode():
    assert BERT.word_pieces("Playing unaffable") == ["playing", "una", "##ffa", "##ble"]
    assert BERT.decode(BERT.encode("unaffable dogs!", 12, True)[0]) == "unaffable dogs!"
    assert BERT.word_pieces("yes[SEP]") == ["yes", "[SEP]"]


def test_it_agrees_with_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    vocabulary = Path(module.__file__).parent / "assets" / "bert-base-uncased-vocab.txt"
    reference = transformers.BertTokenizer(vocab=str(vocabulary))
    for text in [*TEXTS, "It's 3.5% -- naïve?! [MASK]", "", "snow☃man"]:
        expected = reference(text, padding="max_length", max_length=12, truncation=True)
        ids, mask = BERT.encode(text, 12, add_sep=True)
        assert ids.tolist() == expected["input_ids"]
        assert mask.astype(int).tolist() == expected["attention_mask"]
    reference.save_pretrained(tmp_path)
    assert Tokenizer.from_directory(tmp_path).encode("the dogs", 8)[0].tolist() == (
        BERT.encode("the dogs", 8)[0].tolist()
    )


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_fitted_vocabulary_spells_its_texts(lowercase):
    tokenizer = Tokenizer.fit(TEXTS, lowercase=lowercase)
    assert tokenizer.special_ids == (0, 1, 2, 3, 4)
    for text in TEXTS:
        assert tokenizer.unk_id not in tokenizer.encode(text, 20)[0]
    assert ("apple" in tokenizer.word_pieces("an apple")) and ("Dog" not in TEXTS)
    assert tokenizer.word_pieces("zebra") == ["z", "##e", "##b", "##r", "##a"]


def test_min_count_spells_rare_words():
    tokenizer = Tokenizer.fit(["dog dog cat"], min_count=2)
    assert tokenizer.word_pieces("dog cat") == ["dog", "c", "##a", "##t"]


@given(st.lists(st.text(max_size=60), min_size=1, max_size=4), st.integers(2, 30), st.booleans())
def test_any_text_gives_a_well_formed_encoding(texts, length, add_sep):
    tokenizer = Tokenizer.fit([*texts, "anchor"])
    for text in texts:
        ids, mask = tokenizer.encode(text, length, add_sep)
        assert ids.shape == mask.shape == (length,) and ids[0] == tokenizer.cls_id
        used = int(mask.sum())
        assert mask[:used].all() and (ids[used:] == tokenizer.pad_id).all()
        assert (ids >= 0).all() and (ids < tokenizer.size).all()
        if not any(token in text for token in SPECIAL_TOKENS):
            assert tokenizer.unk_id not in ids
        if add_sep:
            assert ids[used - 1] == tokenizer.sep_id


def test_save_pickle_and_files_round_trip(tmp_path):
    tokenizer = Tokenizer.fit(TEXTS)
    tokenizer.save(tmp_path / "new" / "folder")
    (tmp_path / "plain").mkdir()
    vocabulary = (tmp_path / "new" / "folder" / "vocab.txt").read_bytes()
    (tmp_path / "plain" / "vocab.txt").write_bytes(vocabulary)
    copies = [
        pickle.loads(pickle.dumps(tokenizer)),
        Tokenizer.from_directory(tmp_path / "new" / "folder"),
        Tokenizer.from_directory(tmp_path / "plain"),
        Tokenizer.from_vocab_file(tmp_path / "plain" / "vocab.txt"),
    ]
    for copy in copies:
        assert copy.size == tokenizer.size and copy.special_ids == tokenizer.special_ids
        for text in TEXTS:
            assert copy.encode(text, 9)[0].tolist() == tokenizer.encode(text, 9)[0].tolist()


def test_lowercasing_is_read_from_a_transformers_directory(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, "Dog", "dog"]))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert Tokenizer.from_directory(tmp_path).word_pieces("Dog") == ["Dog"]
    (tmp_path / "tokenizer_config.json").unlink()
    assert Tokenizer.from_directory(tmp_path).word_pieces("Dog") == ["Dog"]  # as the words are
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, "dog"]))
    assert Tokenizer.from_directory(tmp_path).word_pieces("Dog") == ["dog"]


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "is empty"),
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\ndog\n", r"has no \[MASK\]"),
        ("\n".join([*SPECIAL_TOKENS, "dog", "dog", "cat"]), "more than once: dog"),
        ("\n".join([*SPECIAL_TOKENS, *["x" * 10_000] * 2]), "more than once: x{60}…$"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_bad_vocabulary_is_explained(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        Tokenizer.from_vocab_file(path)
    assert str(path) in str(error.value)


def test_a_hole_among_the_ids_makes_the_table_longer_but_not_without_end(tmp_path):
    tokenizer = Tokenizer.from_vocab([*SPECIAL_TOKENS, "a", "dog"])
    for place, size in ((9, 10), (99, None)):
        text = tokenizer.to_json().replace('"dog":6', f'"dog":{place}')
        (tmp_path / "tokenizer.json").write_text(text)
        if size:
            made = Tokenizer.from_directory(tmp_path)
            assert made.size == size > max(made.piece_ids("a dog"))
            continue
        with pytest.raises(ValueError, match='gives the token "dog" the id 99, but holds 7 tokens'):
            Tokenizer.from_directory(tmp_path)


def test_lower_case_against_the_vocabulary_is_said(tmp_path, caplog):
    (tmp_path / "cased.txt").write_text("\n".join([*SPECIAL_TOKENS, "A", "cat", "London"]))
    (tmp_path / "plain.txt").write_text("\n".join([*SPECIAL_TOKENS, "a", "cat"]))
    assert Tokenizer.from_vocab_file(tmp_path / "cased.txt").word_pieces("A cat") == ["A", "cat"]
    assert Tokenizer.from_vocab_file(tmp_path / "plain.txt").word_pieces("A cat") == ["a", "cat"]
    assert not caplog.text
    Tokenizer.from_vocab_file(tmp_path / "cased.txt", lowercase=True)
    Tokenizer.from_vocab_file(tmp_path / "plain.txt", lowercase=False)
    assert 'cased.txt" has words with capitals, and texts are made lower case' in caplog.text
    assert 'plain.txt" has no words with capitals, and texts are not made lower' in caplog.text


def test_missing_files_and_broken_json(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        Tokenizer.from_vocab_file(tmp_path / "nowhere.txt")
    with pytest.raises(FileNotFoundError, match="neither tokenizer.json nor vocab.txt"):
        Tokenizer.from_directory(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="not a tokenizer file"):
        Tokenizer.from_directory(tmp_path)
    with pytest.raises(ValueError, match="texts are empty"):
        Tokenizer.fit(["", " "])


def test_threads_agree():
    texts = [f"dog number {i} is nice" for i in range(200)]
    alone = [BERT.encode(text, 10)[0].tolist() for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: BERT.encode(text, 10)[0].tolist(), texts)) == alone


def test_json_round_trip():
    copy = Tokenizer.from_json(BERT.to_json())
    assert copy.special_ids == BERT.special_ids and copy.size == BERT.size
    assert copy.word_pieces("unaffable") == ["una", "##ffa", "##ble"]


class Counted:
    """A backend that lists the texts which it was given."""

    def __init__(self, backend):
        self.backend, self.seen = backend, []

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def encode(self, text, **options):
        self.seen.append(text)
        return self.backend.encode(text, **options)


def test_a_text_that_is_asked_for_words_is_split_once():
    backend = Counted(tokenizers.Tokenizer.from_str(BERT.to_json()))
    tokenizer = Tokenizer(backend)
    for text in ("hello world", "a dog", "hello world"):
        assert tokenizer.has_words(text)
        assert tokenizer.piece_ids(text) == BERT.piece_ids(text)
    assert backend.seen == ["hello world", "a dog", "hello world"]
