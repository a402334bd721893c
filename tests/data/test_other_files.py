"""Files of another kind than a reader is meant for are refused in one sentence, by every reader."""

import numpy as np
import pytest

from tests.data.fakes import png
from vlp_jax.data.answer_lists import read_answers
from vlp_jax.data.regions import REGION_STORES, open_regions
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.inference.region_inputs import as_regions

RANDOM = np.random.default_rng(3).bytes(3000)
CONTENTS = {
    "a picture": png(np.zeros((4, 4, 3), np.uint8)),
    "nothing": b"",
    "words": b"hello\nworld\n",
    "Latin words": "h\xe9llo \x9f".encode("latin-1") * 50,
    "a list of lists": b"[" * 100_000,
    "objects in objects": b'{"a":' * 100_000,
    "zeros": bytes(100_000),
    "columns": b"a\0b\tc\n" * 5,
    "one long line": b"x" * 1_000_000,
    "numbers": b"[1e400," + b"9" * 100_000 + b"]",
    "packed": b"\x1f\x8b" + RANDOM,
    "a pickle": b"\x80\x04\x95" + RANDOM,
    "HDF5": b"\x89HDF\r\n\x1a\n" + RANDOM,
    "a zip file": b"PK\x03\x04" + RANDOM,
    "an array": b"\x93NUMPY\x01\0v\0" + RANDOM,
}
MADE = {"emoji", "emoji_scenes", "emoji_tasks", "easy_vqa", "joined"}  # no files of others
SUFFIXES = ("", ".json", ".jsonl", ".tar", ".tsv", ".h5", ".mdb", ".npz", ".pkl", ".array_record")
INSIDE = ("data.mdb", "dataset_info.json", "state.json", "train.json", "features.json", "a.npz")


def readers(path):
    """Yields what opens a path, by name."""
    for name in sorted(SOURCES.keys() - MADE):
        yield name, lambda name=name: SOURCES[name](path=str(path))
    for name in REGION_STORES:
        yield name, lambda name=name: open_regions(name, str(path))
    yield "regions", lambda: as_regions(str(path))
    yield "vocabulary", lambda: Tokenizer.from_vocab_file(path)
    if path.suffix in (".json", ".pkl"):  # any other text is a list of answers
        yield "answers", lambda: read_answers(path)


def check(path):
    for name, read in readers(path):
        with pytest.raises((ValueError, OSError)) as error:
            read()
        assert type(error.value) in (ValueError, FileNotFoundError, IsADirectoryError), (name, path)
        assert len(str(error.value)) < 900, (name, path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_files_of_another_kind(tmp_path, content):
    pytest.importorskip("datasets")
    pytest.importorskip("tensorflow_datasets")
    for suffix in SUFFIXES:
        path = tmp_path / f"file{suffix}"
        path.write_bytes(content)
        check(path)
    for name in INSIDE:
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(content)
        check(tmp_path / name)
