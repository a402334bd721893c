"""Lists, shards and records, damaged at random, are read or refused; nothing else is raised."""

import itertools
import json

import numpy as np
import pytest

from tests.data.damage import TIMES, damaged
from tests.data.sources.tars import write_shards
from vlp_jax.data.images import decode
from vlp_jax.data.sources import SOURCES, EmojiScenes
from vlp_jax.data.sources.array_record_writer import write_array_records

ENTRIES = [
    {
        "image": f"{k}.jpg",
        "caption": ["a dog", "ein Hund, süß"],
        "image_id": f"coco_{k // 2}",
        "question": "what?",
        "answer": {"dog": 0.9, "cat": 0.3},
    }
    for k in range(8)
]


def as_list(folder):
    (folder / "a.json").write_text(json.dumps(ENTRIES, indent=1))
    return "json", folder / "a.json"


def as_lines(folder):
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, ENTRIES)))
    return "json", folder / "a.jsonl"


def as_utf16(folder):
    (folder / "a.json").write_bytes(json.dumps(ENTRIES).encode("utf-16"))
    return "json", folder / "a.json"


def shards(folder):
    return "webdataset", write_shards(folder / "web", shards=2)


def records(folder):
    write_array_records(EmojiScenes(size=4, concepts=12), folder / "records", "train")
    return "array_records", folder / "records"


def read_all(source):
    for index in range(len(source)):
        try:
            record = source[index]
            if isinstance(record["image"], bytes):
                decode(record["image"])
        except (ValueError, FileNotFoundError):
            continue
    assert len(source.by_image()) <= len(source)
    assert all(isinstance(text, str) for text in (*source.texts(), *source.answers()))
    return len(source.skipped)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [as_list, as_lines, as_utf16, shards, records])
def test_damaged_files_are_read_or_refused(tmp_path, write):
    rng = np.random.default_rng()
    kind, path = write(tmp_path)
    options = {} if kind == "array_records" else {"holdout": 0}
    found = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file())
    whole = {file: file.read_bytes() for file in found}
    refused = 0
    for file in itertools.islice(itertools.cycle(whole), 120 * TIMES):
        file.unlink()
        file.write_bytes(damaged(whole[file], rng))
        try:
            refused += read_all(SOURCES[kind](path=str(path), **options))
        except (ValueError, FileNotFoundError) as error:
            refused += 1
            assert len(str(error)) < 900, error
        file.write_bytes(whole[file])
    assert refused
