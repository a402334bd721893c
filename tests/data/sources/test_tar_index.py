"""Tests of the index of a tar shard: layouts, damage, and the file that keeps it."""

import gzip
import io
import os
import tarfile

import numpy as np
import pytest

from tests.data.sources.tars import sample, write_tar
from vlp_jax.data.sources.tar_index import build_index, open_indices, split_name


def content(shard, index):
    """Returns {key: {extension: bytes}}, as the index finds them in the file."""
    data, found = shard.read_bytes(), {}
    for extension in index.extensions:
        for key, (offset, length) in zip(index.keys, index.spans(extension), strict=True):
            if offset >= 0:
                found.setdefault(key.decode(), {})[str(extension)] = data[offset : offset + length]
    return found


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_member_is_found_in_each_tar_format(tmp_path, form):
    rng = np.random.default_rng()
    long = "folder/" + "x" * (90 if form == tarfile.USTAR_FORMAT else 180)
    expected = {
        "000000000": {"jpg": rng.bytes(700), "txt": b"", "json": b"{}"},
        "000000001": {"jpg": rng.bytes(512), "seg.png": rng.bytes(3)},
        long: {"jpg": rng.bytes(1025), "txt": "käse".encode()},
    }
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w", format=form) as tar:
        for key, members in expected.items():
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    index = build_index(shard)
    assert content(shard, index) == expected and str(index.problem) == ""
    assert ((0 <= index.places) & (index.places < 1)).all() and len(set(index.places)) == 3


def test_members_of_a_sample_may_lie_apart_and_the_last_of_a_name_counts(tmp_path):
    members = [("a.jpg", b"A"), ("b.jpg", b"B"), ("a.txt", "one"), ("b.txt", "b"), ("a.txt", "two")]
    shard = tmp_path / "s.tar"
    write_tar(shard, members)
    expected = {"a": {"jpg": b"A", "txt": b"two"}, "b": {"jpg": b"B", "txt": b"b"}}
    assert content(shard, build_index(shard)) == expected


def test_what_is_no_sample_is_passed_over(tmp_path):
    names = ["._0.jpg", ".DS_Store", "README", "__index__.json", "dir/._1.txt"]
    shard = tmp_path / "s.tar"
    write_tar(shard, [(name, b"x") for name in names] + [("0.jpg", b"y")])
    with tarfile.open(shard, "a") as tar:
        folder, link = tarfile.TarInfo("1.jpg"), tarfile.TarInfo("2.jpg")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "0.jpg"
        tar.addfile(folder)
        tar.addfile(link)
    assert content(shard, build_index(shard)) == {"0": {"jpg": b"y"}}


@pytest.mark.parametrize(
    "name, key, extension",
    [
        ("000.jpg", "000", "jpg"),
        ("./a/000.Seg.PNG", "a/000", "seg.png"),
        ("a.b/000.txt", "a.b/000", "txt"),
        (".hidden.jpg", ".hidden.jpg", ""),
        ("plain", "plain", ""),
    ],
)
def test_names_split_at_the_first_dot(name, key, extension):
    assert split_name(name) == (key, extension)


def test_damage_ends_reading_and_is_described(tmp_path):
    shard = tmp_path / "s.tar"
    write_tar(shard, [m for k in range(4) for m in sample(f"{k}")])
    whole, index = shard.read_bytes(), build_index(shard)
    third = int(index.spans("jpg")[2, 0])
    for damaged, problem in (
        (whole[: third + 5], 'cut short within "2.jpg"'),
        (whole[: third - 100], "damaged at byte"),
        (whole[: third - 512], "the end mark is missing"),
        (whole[: third - 512] + b"\xffrubbish" * 100, "damaged at byte"),
    ):
        shard.write_bytes(damaged)
        found = build_index(shard)
        assert problem in str(found.problem) and [k.decode() for k in found.keys] == ["0", "1"]


def with_header(whole, place, **changed):
    """Returns a shard with parts of the header at `place` changed and its checksum set right."""
    header = bytearray(whole[place : place + 512])
    for name, data in changed.items():
        start = {"size": 124, "kind": 156}[name]
        header[start : start + len(data)] = data
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return whole[:place] + bytes(header) + whole[place + 512 :]


def numbered(value):
    """Returns a size as tar writes those that octal digits can't express: 12 bytes, base 256."""
    return (b"\xff" if value < 0 else b"\x80") + (value % 256**11).to_bytes(11, "big")


HEADERS = {
    "a size that leads back": {"size": numbered(-512)},
    "a size just below 0": {"size": numbered(-1)},
    "a sparse file beyond all files": {"size": numbered(2**70), "kind": b"S"},
    "a long name without end": {"size": numbered(2**70), "kind": b"L"},
    "a long name of negative size": {"size": numbered(-1024), "kind": b"L"},
    "a sparse file that leads back": {"size": numbered(-512), "kind": b"S"},
}


@pytest.mark.parametrize("changed", HEADERS.values(), ids=HEADERS.keys())
def test_damaged_headers_end_reading_of_their_shard_only(tmp_path, changed):
    shards = [tmp_path / "0.tar", tmp_path / "1.tar"]
    for shard in shards:
        write_tar(shard, [m for k in range(2) for m in sample(f"{k}")])
    whole = shards[0].read_bytes()
    second = int(build_index(shards[0]).spans("jpg")[1, 0]) - 512
    shards[0].write_bytes(with_header(whole, second, **changed))
    damaged, sound = open_indices(shards)
    assert str(damaged.problem) and damaged.keys.tolist() == [b"0"]
    assert str(sound.problem) == "" and sound.keys.tolist() == [b"0", b"1"]


def test_a_chain_of_long_names_is_damage(tmp_path):
    name = tarfile.TarInfo("././@LongLink")
    name.type = tarfile.GNUTYPE_LONGNAME
    shard = tmp_path / "s.tar"
    shard.write_bytes(name.tobuf(tarfile.GNU_FORMAT) * 2000)
    assert "recursion" in str(build_index(shard).problem)


@pytest.mark.parametrize("name", ["BZ7", "BZh9"])
def test_a_name_that_begins_like_a_compressed_file_is_a_name(tmp_path, name):
    shard = tmp_path / "s.tar"
    write_tar(shard, sample(name))
    assert build_index(shard).keys.tolist() == [name.encode()]


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100])
def test_a_file_that_is_no_tar_has_no_samples(tmp_path, data):
    shard = tmp_path / "s.tar"
    shard.write_bytes(data)
    index = build_index(shard)
    assert str(index.problem) and len(index.keys) == 0 and index.spans("jpg").shape == (0, 2)


def test_a_compressed_shard_is_refused(tmp_path):
    shard = tmp_path / "s.tar.gz"
    write_tar(tmp_path / "s.tar", sample("0"))
    shard.write_bytes(gzip.compress((tmp_path / "s.tar").read_bytes()))
    with pytest.raises(ValueError, match="compressed with gzip.*decompress it"):
        build_index(shard)


def test_an_index_is_built_once_and_anew_when_the_shard_changes(tmp_path, monkeypatch):
    from vlp_jax.data.sources import tar_index

    built = []
    original = tar_index.build_index
    monkeypatch.setattr(tar_index, "build_index", lambda file: built.append(file) or original(file))
    shards = [tmp_path / "0.tar", tmp_path / "1.tar"]
    for shard in shards:
        write_tar(shard, sample("0"))
    first, again = open_indices(shards), open_indices(shards)
    assert sorted(built) == shards and (tmp_path / "0.tar.tar_index.npz").is_file()
    for one, other in zip(first, again, strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name))
    write_tar(shards[1], sample("0") + sample("1"))
    os.utime(shards[1], ns=(0, 0))
    assert [len(index.keys) for index in open_indices(shards)] == [1, 2] and len(built) == 3
