"""BERT WordPiece tokenisation with fixed-length output, wrapping the `tokenizers` library."""

import functools
import logging
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from vlp_jax.data.foreign import foreign_bytes, listed, shortened
from vlp_jax.data.json_text import parse_json
from vlp_jax.data.paths import any_path
from vlp_jax.data.sources.nested_texts import valid_text
from vlp_jax.data.whole_file import write_whole

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufffc")  # letters and signs without ink
_LOG = logging.getLogger(__name__)
_ASSETS = Path(__file__).parent / "assets"


class Tokenizer:
    """Turns text into `[CLS] pieces... ([SEP])`, padded or cut to a length.

    Immutable after construction, so it may be shared between threads; it can be pickled.
    Attributes: pad_id, unk_id, cls_id, sep_id, mask_id, special_ids (these five) and size, one more
    than the largest id.
    """

    def __init__(self, backend: tokenizers.Tokenizer, name: str = "tokenizer"):
        missing = [token for token in SPECIAL_TOKENS if backend.token_to_id(token) is None]
        if missing:
            raise ValueError(
                f"{name} has no {', '.join(missing)}; a BERT vocabulary holds "
                + ", ".join(SPECIAL_TOKENS)
            )
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.special_ids = tuple(backend.token_to_id(token) for token in SPECIAL_TOKENS)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = self.special_ids
        self.size = _table_size(backend, name)
        self._last = None, None

    @classmethod
    def from_vocab(
        cls, tokens: Sequence[str], lowercase: bool = True, name: str = "vocabulary"
    ) -> "Tokenizer":
        """Builds a tokenizer whose id of a token is its place in `tokens`."""
        if not tokens:
            raise ValueError(f"{name} is empty, expected one token a line")
        repeated = [token for token, count in Counter(tokens).items() if count > 1]
        if repeated:
            raise ValueError(
                f"{name} holds {len(repeated)} tokens more than once: {listed(repeated)}"
            )
        vocabulary = {token: index for index, token in enumerate(tokens)}
        backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        known = [token for token in SPECIAL_TOKENS if token in vocabulary]
        backend.add_special_tokens(known)  # a literal "[SEP]" in a text is that token
        return cls(backend, name)

    @classmethod
    def from_vocab_file(cls, path: str | Path, lowercase: bool | None = None) -> "Tokenizer":
        """Reads a vocab.txt: one token a line, the line number is the id.

        By default texts are made lower case unless the vocabulary has words with capitals.
        """
        path = any_path(path, "vocabulary file")
        if not path.is_file():
            raise FileNotFoundError(f'vocabulary file "{path}" does not exist')
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f'vocabulary file "{path}" is not UTF-8 text: {error}') from None
        tokens = [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]
        tokens = [] if tokens == [""] else tokens
        cased = _is_cased(tokens)
        lowercase = not cased if lowercase is None else lowercase
        if lowercase == cased:
            _LOG.warning(
                '"%s" has %s capitals, and texts are%s made lower case, as was asked: words become '
                "[UNK]",
                path,
                *(("words with", "") if cased else ("no words with", " not")),
            )
        return cls.from_vocab(tokens, lowercase, f'vocabulary file "{path}"')

    @classmethod
    def bert_uncased(cls) -> "Tokenizer":
        """Returns the BERT-base-uncased tokenizer (30,522 tokens) that ships with the package."""
        return _bert_uncased()

    @classmethod
    def fit(cls, texts: Iterable[str], min_count: int = 1, lowercase: bool = True) -> "Tokenizer":
        """Builds a small vocabulary in which every word of `texts` can be spelt.

        Whole words (BERT basic tokenisation) that occur at least `min_count` times, the most
        frequent first, and every character and ##character, those of ASCII always.
        """
        normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        splitter = pre_tokenizers.BertPreTokenizer()
        counts: Counter[str] = Counter()
        for text in texts:
            pieces = splitter.pre_tokenize_str(normalizer.normalize_str(text))
            counts.update(word for word, _ in pieces)
        if not counts:
            raise ValueError("no words to build a vocabulary from: the texts are empty")
        letters = string.digits + (string.ascii_lowercase if lowercase else string.ascii_letters)
        characters = sorted(set("".join(counts)) | set(letters + string.punctuation))
        words = sorted(counts, key=lambda word: (-counts[word], word))
        tokens = [*SPECIAL_TOKENS, *characters, *("##" + c for c in characters)]
        known = set(tokens)
        tokens += [w for w in words if counts[w] >= min_count and w not in known]
        return cls.from_vocab(tokens, lowercase, "fitted vocabulary")

    @classmethod
    def from_directory(cls, directory: str | Path, lowercase: bool | None = None) -> "Tokenizer":
        """Reads tokenizer.json, or vocab.txt with the lower-casing of tokenizer_config.json.

        `lowercase` goes before what the configuration of a vocab.txt says.
        """
        directory = any_path(directory, "folder of the tokenizer")
        whole, vocabulary = directory / "tokenizer.json", directory / "vocab.txt"
        if whole.is_file():
            with foreign_bytes(f'"{whole}" is not a tokenizer file'):
                backend = tokenizers.Tokenizer.from_buffer(whole.read_bytes())
            return cls(backend, f'"{whole}"')
        if vocabulary.is_file():
            stated = _lowercase_of(directory) if lowercase is None else lowercase
            return cls.from_vocab_file(vocabulary, stated)
        raise FileNotFoundError(f'"{directory}" holds neither tokenizer.json nor vocab.txt')

    def to_json(self) -> str:
        """Returns the whole tokenizer as the text of a tokenizer.json."""
        return self._backend.to_str()

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """Returns the tokenizer that `to_json` described."""
        return cls(tokenizers.Tokenizer.from_str(text))

    def save(self, directory: str | Path) -> None:
        """Writes tokenizer.json and vocab.txt into `directory`, which is made if need be."""
        directory = any_path(directory, "folder of the tokenizer")
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        write_whole(directory / "tokenizer.json", self._backend.to_str(pretty=True))
        write_whole(directory / "vocab.txt", "\n".join(tokens) + "\n")

    def piece_ids(self, text: str) -> list[int]:
        """Returns the ids of the word pieces alone, without [CLS] or [SEP]."""
        return self._encoded(text).ids

    def word_pieces(self, text: str) -> list[str]:
        """Returns the word pieces of a text as strings."""
        return self._encoded(text).tokens

    def _encoded(self, text: str) -> tokenizers.Encoding:
        """Returns the pieces of a text; the last ones are kept.

        For a caption is asked for twice: whether it has words, and which pieces they are.
        """
        known, encoding = self._last
        if text != known:
            encoding = self._split(text)
            self._last = text, encoding  # at once, for other threads
        return encoding

    def _split(self, text: str) -> tokenizers.Encoding:
        try:
            return self._backend.encode(text, add_special_tokens=False)
        except TypeError:  # lone surrogates, which Python allows in texts
            return self._backend.encode(valid_text(text), add_special_tokens=False)

    def has_words(self, text: str) -> bool:
        """Tells whether a model sees anything of a text: a word piece besides special tokens.

        Not of zero-width and soft-hyphen characters, byte order marks, spaces of any kind or lone
        accents, which BERT's cleaning takes out; nor of blank letters (U+3164, U+2800), which it
        calls unknown. Words that are not in the vocabulary count.
        """
        pieces = set(self.piece_ids(text)).difference(self.special_ids)
        return bool(pieces) or any(map(_is_visible, text)) and self._has_unknown(text)

    def _has_unknown(self, text: str) -> bool:
        """Tells whether a text has unknown words, apart from those that are spelt "[UNK]"."""
        return self.unk_id in self.piece_ids(text.replace(SPECIAL_TOKENS[1], " "))

    def encode(
        self, text: str, length: int, add_sep: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns (ids int32, mask bool), each [length]: `[CLS] pieces`, with [SEP] if wanted.

        A long text is cut so that [CLS] and [SEP] stay. ALBEF has no [SEP] at the end of a
        single text (`models/tokenization_bert.py`), every other published model has one.
        """
        return self.frame(self.piece_ids(text), length, add_sep)

    def frame(
        self, pieces: Sequence[int], length: int, add_sep: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the same of the ids of word pieces."""
        pieces = pieces[: max(0, length - 1 - add_sep)]
        tokens = [self.cls_id, *pieces, self.sep_id] if add_sep else [self.cls_id, *pieces]
        if len(tokens) > length:
            raise ValueError(f"text length is {length}, too short for the special tokens alone")
        ids = np.full(length, self.pad_id, np.int32)
        ids[: len(tokens)] = tokens
        mask = np.zeros(length, np.bool_)
        mask[: len(tokens)] = True
        return ids, mask

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of the ids, without special tokens and with word pieces joined."""
        return self._backend.decode([int(i) for i in ids], skip_special_tokens=True)


def _table_size(backend: tokenizers.Tokenizer, name: str) -> int:
    """Returns how many rows a table needs for all ids; ValueError if most would be of no token."""
    vocabulary = backend.get_vocab(with_added_tokens=True)
    last = max(vocabulary, key=vocabulary.__getitem__)
    size = vocabulary[last] + 1
    if size > 2 * len(vocabulary):
        raise ValueError(
            f'{name} gives the token "{shortened(last, 60)}" the id {size - 1}, but holds '
            f"{len(vocabulary)} tokens; expected ids from 0 on without large gaps"
        )
    return size


def _is_visible(character: str) -> bool:
    """Tells whether a character leaves a mark: no space, control or format, and no blank letter."""
    return unicodedata.category(character)[0] not in "ZCM" and character not in _BLANK


@functools.cache
def _bert_uncased() -> Tokenizer:
    return Tokenizer.from_vocab_file(_ASSETS / "bert-base-uncased-vocab.txt")


def _is_cased(tokens: Sequence[str]) -> bool:
    """Tells whether a vocabulary has capital letters, apart from names such as [CLS]."""
    return any(token != token.lower() for token in tokens if not token.startswith("["))


def _lowercase_of(directory: Path) -> bool | None:
    """Returns `do_lower_case` of a transformers tokenizer directory, None where it says nothing."""
    path = directory / "tokenizer_config.json"
    if not path.is_file():
        return None
    with foreign_bytes(f'"{path}" is not a tokenizer configuration'):
        stated = parse_json(path.read_bytes(), "it").get("do_lower_case")
        if stated not in (None, True, False):
            raise ValueError(f'"do_lower_case" is {stated!r:.80}; expected true or false')
        return stated
