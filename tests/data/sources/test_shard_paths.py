"""Tests of patterns of shards."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlp_jax.data.sources.shard_paths import expand_shards


def touch(folder, *names):
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def names(folder, pattern):
    return [str(path.relative_to(folder)) for path in expand_shards(pattern)]


def test_braces_wildcards_folders_and_joined_patterns(tmp_path):
    touch(tmp_path, "a/00009.tar", "a/00010.tar", "a/00011.tar", "b/train.tar", "b/val.tar")
    touch(tmp_path, "a/00009.tar.tar_index.npz", "a/00009.parquet", "a/7.tar")
    root = str(tmp_path)
    ranged = ["a/00009.tar", "a/00010.tar", "a/00011.tar"]
    assert names(tmp_path, f"{root}/a/{{00009..00011}}.tar") == ranged
    assert names(tmp_path, f"{root}/a/000{{09..11}}.tar") == ranged
    assert names(tmp_path, f"{root}/a/000{{09,11}}.tar") == ["a/00009.tar", "a/00011.tar"]
    assert names(tmp_path, f"{root}/a/{{7..7}}.tar") == ["a/7.tar"]
    assert names(tmp_path, f"{root}/a") == [*ranged, "a/7.tar"]
    assert names(tmp_path, f"{root}/a/0001?.tar") == ["a/00010.tar", "a/00011.tar"]
    assert names(tmp_path, f"{root}/b/{{val,train}}.tar") == ["b/val.tar", "b/train.tar"]
    both = names(tmp_path, f"{root}/b/val.tar::{root}/a/000{{10..11}}.tar")
    assert both == ["b/val.tar", "a/00010.tar", "a/00011.tar"]


def test_the_last_of_several_groups_changes_first(tmp_path):
    touch(tmp_path, *(f"{part}{n:02d}.tar" for part in "ab" for n in range(2)))
    pattern = f"{tmp_path}/{{a,b}}{{00..01}}.tar"
    assert names(tmp_path, pattern) == ["a00.tar", "a01.tar", "b00.tar", "b01.tar"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1200), st.integers(0, 12), st.integers(1, 6))
def test_a_range_keeps_the_width_of_its_zeros(tmp_path, first, count, width):
    numbers = [f"{n:0{width}d}" for n in range(first, first + count + 1)]
    touch(tmp_path, *(f"{number}.tar" for number in numbers))
    pattern = tmp_path / f"{{{numbers[0]}..{numbers[-1]}}}.tar"
    assert [path.stem for path in expand_shards(str(pattern))] == numbers


BAD = {
    "{3..1}.tar": "must rise",
    "{0..99999999}.tar": "a million at most",
    "{a..c}.tar": r"expected a range such as \{00000\.\.00331\}",
    "{0}.tar": "expected a range",
    "{0,{1,2}}.tar": "cannot be nested",
    "{0..1.tar": "must pair up",
    "a.tar::": 'empty pattern around "::"',
    "hdfs://host/{0..1}.tar": "is an address; expected a local path, or one in a bucket",
    "pipe:cat a.tar": "is an address; expected a local path, or one in a bucket",
    "a.tar::a.tar": "named twice",
}


@pytest.mark.parametrize("pattern", BAD)
def test_mistakes_say_what_is_expected(pattern, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a.tar")
    with pytest.raises(ValueError, match=BAD[pattern]):
        expand_shards(pattern)


def test_missing_shards_are_counted_and_the_first_is_named(tmp_path):
    touch(tmp_path, "00000.tar", "00002.tar", "notes/readme.txt")
    with pytest.raises(FileNotFoundError, match=r"2 of 4 match no file, the first is .*00001\.tar"):
        expand_shards(f"{tmp_path}/{{00000..00003}}.tar")
    with pytest.raises(FileNotFoundError, match='Did you mean "0000[02].tar"'):
        expand_shards(f"{tmp_path}/0000.tar")
    with pytest.raises(FileNotFoundError, match='no file matches.*Did you mean "0000[02].tar"'):
        expand_shards(f"{tmp_path}/000*0.tgz")
    with pytest.raises(FileNotFoundError, match=r"no file matches .*notes/\*\.tar"):
        expand_shards(f"{tmp_path}/notes")
    with pytest.raises(FileNotFoundError, match="The folder .*other does not exist"):
        expand_shards(f"{tmp_path}/other/*.tar")
    assert expand_shards(f"{tmp_path}/00000.tar") == [Path(tmp_path, "00000.tar")]


def test_braces_stand_for_folders_and_wildcards_too(tmp_path):
    touch(tmp_path, "train/0.tar", "train/1.tar", "train/0.tar.tar_index.npz", "val/0.tar")
    every = ["val/0.tar", "train/0.tar", "train/1.tar"]
    for pattern in ("{val,train}", "{val,train}/*.tar", "{val,train}/*"):
        assert names(tmp_path, f"{tmp_path}/{pattern}") == every
    assert names(tmp_path, f"{tmp_path}/{{val/0.tar,train}}") == every
    touch(tmp_path, "test/0.txt")
    for pattern in ("{val,test}", "{val,test}/*.tar"):
        with pytest.raises(FileNotFoundError, match=r"1 of 2 match no file.* .*test/\*\.tar"):
            expand_shards(f"{tmp_path}/{pattern}")


@pytest.mark.parametrize("pattern", ["x" * 70_000, "{" + "a" * 90_000 + ",b}.tar", "{" * 70_000])
def test_messages_are_short_however_long_the_pattern_is(pattern):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        expand_shards(pattern)
    assert type(error.value) in (ValueError, FileNotFoundError) and len(str(error.value)) < 600


def test_kept_indices_are_no_shards(tmp_path):
    kept = ("0.tar.tar_index.npz", f"0.tar.tar_index.npz.{'a' * 32}.tmp")
    touch(tmp_path, "0.tar", *kept)
    assert names(tmp_path, f"{tmp_path}/*") == ["0.tar"]
