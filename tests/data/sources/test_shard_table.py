"""Tests of caption files and of the joined table of shards."""

import pytest

from tests.data.sources.tars import write_shards
from vlp_jax.data.sources.shard_paths import expand_shards
from vlp_jax.data.sources.shard_table import CaptionMember, join_shards


def test_caption_members_are_parsed_and_read():
    assert CaptionMember.parse("TXT", False) == CaptionMember("txt", None, False)
    assert CaptionMember.parse("json:a.b", True) == CaptionMember("json", "a.b", True)
    text = CaptionMember.parse("txt", False)
    assert text.read("\ufeffkäse \n".encode()) == ["käse"] and text.read(b" \n") == []
    listed = CaptionMember.parse("json:c", False)
    assert listed.read(b'{"c": [" a ", "", "b"]}') == ["a", "b"]


@pytest.mark.parametrize("text", ["json:", ":key", "", "json"])
def test_malformed_caption_members_are_refused(text):
    with pytest.raises(ValueError, match="captions: "):
        CaptionMember.parse(text, False)


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"[1]", b'{"d": 1}', b"[" * 100_000])
def test_damaged_json_is_a_value_error(data):
    with pytest.raises(ValueError, match="json cannot be read"):
        CaptionMember.parse("json:c", False).read(data)


def test_rows_know_their_shard(tmp_path):
    shards = expand_shards(str(write_shards(tmp_path / "cc", shards=3, size=2)))
    table, skipped = join_shards(shards, ["jpg"], ["txt", "alt"])
    assert skipped == [] and table.starts.tolist() == [0, 2, 4]
    assert table.shard_numbers().tolist() == [0, 0, 1, 1, 2, 2]
    assert [table.shard_of(row) for row in range(6)] == [0, 0, 1, 1, 2, 2]
    assert table.name(3) == f"{shards[1]} sample 000000003"
    (shard, offset, length), missing = table.text_spans(3)
    assert shards[shard].read_bytes()[offset : offset + length] == b"caption 3" and missing is None
    shard, offset, length = table.image_span(5)
    assert shard == 2 and shards[2].read_bytes()[offset : offset + 2] == b"\xff\xd8"
