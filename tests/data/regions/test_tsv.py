"""TSV files: finding lines, `.lineidx` files that do not fit, cut-off text, wrong columns."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.regions.pictures import (
    assert_equal,
    bottom_up_line,
    encoded,
    lxmert_line,
    only,
    oscar_line,
    random_pictures,
    write_lines,
)
from vlp_jax.data.regions import base64_arrays, line_index, open_regions
from vlp_jax.data.regions.base64_arrays import decode_array
from vlp_jax.data.regions.line_index import index_lines
from vlp_jax.data.regions.tsv_file import TsvFile


@pytest.fixture
def pictures():
    return random_pictures(5)


@pytest.fixture
def tsv(tmp_path, pictures):
    return write_lines(tmp_path / "f.tsv", [oscar_line(k, r) for k, r in pictures.items()])


def offsets_of(path):
    lines = path.read_bytes().splitlines(keepends=True)
    return np.cumsum([0, *map(len, lines)])[:-1].tolist()


def write_lineidx(path, offsets):
    path.with_suffix(".lineidx").write_text("".join(f"{o}\n" for o in offsets))


@given(st.lists(st.tuples(st.text("abc", min_size=1), st.text("xyz\t")), min_size=1), st.booleans())
def test_lines_are_found(tmp_path_factory, lines, ended):
    path = tmp_path_factory.mktemp("lines") / "a.tsv"
    path.write_text("\n".join(f"{key}\t{rest}" for key, rest in lines) + "\n" * ended)
    index = index_lines(path)
    assert index["offsets"].tolist() == [*offsets_of(path), path.stat().st_size]
    assert index["keys"].tobytes().decode().split("\n") == [key for key, _ in lines]
    write_lineidx(path, offsets_of(path))
    again = index_lines(path)
    assert all(np.array_equal(index[name], again[name]) for name in index)


def test_lines_longer_than_a_chunk_and_long_keys(tmp_path, monkeypatch):
    monkeypatch.setattr(line_index, "_CHUNK", 7)
    keys = ["k" * 300, "l", "m" * 3000]
    path = write_lines(tmp_path / "a.tsv", [f"{key}\t{'x' * 50}" for key in keys])
    assert TsvFile(path).keys == keys
    write_lineidx(path, offsets_of(path))
    assert index_lines(path)["offsets"].tolist() == [*offsets_of(path), path.stat().st_size]


def test_a_line_has_its_columns(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes("ä\tx y\tz\r\nb\t\t\nc\t1\t2".encode())
    file = TsvFile(path)
    assert file.keys == ["ä", "b", "c"] and len(file) == 3
    assert [[bytes(column) for column in file.columns(i)] for i in (2, 0, 1)] == [
        [b"c", b"1", b"2"], ["ä".encode(), b"x y", b"z"], [b"b", b"", b""]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda o: [5, *o[1:]], r"starts with \[5\], expected \[0\]"),
        (lambda o: [], r"starts with \[\], expected \[0\]"),
        (lambda o: [o[0], o[2], o[1], *o[3:]], "line 3: offset .* follows .*, expected rising"),
        (lambda o: [o[0], o[1], o[1], *o[3:]], "line 3: offset .* expected rising"),
        (lambda o: [*o, 10**9], "reaches to byte 1000000000, but .* Delete the .lineidx"),
        (lambda o: [o[0], o[1] + 1, *o[2:]], "line 2: no line starts at"),
        (lambda o: o[:-1], "ends before .*f.tsv does"),
        (lambda o: ["zero", *o[1:]], "expected one whole number a line"),
    ],
)
def test_a_lineidx_that_does_not_fit(tsv, change, message):
    write_lineidx(tsv, change(offsets_of(tsv)))
    with pytest.raises(ValueError, match=message):
        open_regions("oscar_tsv", str(tsv))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty, expected one picture a line"),
        (b"a\t1\n\nb\t2\n", r"line 2: expected a key and a tab, found b''"),
        (b"no tab\na\tb\n", "line 1: expected a key and a tab, found b'no tab'"),
        (b"\tx\n", "line 1: expected a key and a tab"),
        (b"k" * 5000 + b"\tx\n", "line 1: expected a key and a tab"),
        (b"\xff\tx\n", "keys are not UTF-8"),
    ],
)
def test_files_that_are_no_tsv(tmp_path, content, message):
    path = tmp_path / "a.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        TsvFile(path)


def test_keys_occur_once(tmp_path, pictures):
    lines = [oscar_line(k, r) for k, r in pictures.items()]
    path = write_lines(tmp_path / "a.tsv", [*lines, lines[2]])
    key = list(pictures)[2]
    with pytest.raises(
        ValueError, match=f'the key "{key}" occurs twice, as picture number 2 and 5'
    ):
        open_regions("oscar_tsv", str(path))


def test_lines_are_found_anew_when_the_file_changes(tmp_path, pictures):
    lines = [oscar_line(k, r) for k, r in pictures.items()]
    path = write_lines(tmp_path / "a.tsv", lines[:2])
    assert len(open_regions("oscar_tsv", str(path))) == 2
    assert (tmp_path / "a.tsv.lines.npz").is_file()
    write_lines(path, lines)
    assert open_regions("oscar_tsv", str(path)).keys() == list(pictures)


def test_a_file_that_becomes_shorter_is_an_error(tsv, pictures):
    store = open_regions("oscar_tsv", str(tsv))
    os.truncate(tsv, tsv.stat().st_size - 10)
    with pytest.raises(ValueError, match="has become shorter"):
        store[list(pictures)[-1]]


def test_one_bad_line_spoils_only_its_picture(tmp_path, pictures):
    lines = [lxmert_line(k, r) for k, r in pictures.items()]
    bad, good = list(pictures)[0], list(pictures)[1]
    for place in (slice(-5, None), slice(-40, None)):  # within a number, and between two rows
        broken = list(lines[0])
        del broken[place]
        path = write_lines(tmp_path / f"{place.start}.tsv", ["".join(broken), *lines[1:]])
        store = open_regions("lxmert_tsv", str(path))  # opens by the next picture
        with pytest.raises(ValueError, match=f'picture "{bad}": .*(base64|cut off)'):
            store[bad]
        kept = ("labels", "confidence", "attributes", "attribute_confidence")
        assert_equal(store[good], only(pictures[good], *kept))


@pytest.mark.parametrize(
    "kind, line, message",
    [
        ("lxmert_tsv", bottom_up_line, 'has 7 columns, expected img_id, .*Is it a "butd_tsv"'),
        ("butd_tsv", lxmert_line, 'has 10 columns, expected image_id, .*Is it a "lxmert_tsv"'),
        ("butd_tsv", oscar_line, 'has 3 columns.*Is it an "oscar_tsv"'),
        ("oscar_tsv", bottom_up_line, "the line has 7 columns, expected key, number of boxes and"),
    ],
)
def test_the_format_of_another_model(tmp_path, pictures, kind, line, message):
    path = write_lines(tmp_path / "a.tsv", [line(k, r) for k, r in pictures.items()])
    with pytest.raises(ValueError, match=message):
        open_regions(kind, str(path))


def test_oscar_features_need_their_box(tmp_path):
    rng = np.random.default_rng()
    path = write_lines(tmp_path / "a.tsv", [f"a\t3\t{encoded(rng.random((3, 20)) * 9)}"])
    with pytest.raises(ValueError, match="the last six numbers of the features: a box is"):
        open_regions("oscar_tsv", str(path))
    path = write_lines(tmp_path / "b.tsv", [f"a\t3\t{encoded(rng.random((3, 6)))}"])
    with pytest.raises(ValueError, match=r"features have shape \[3, 6\]"):
        open_regions("oscar_tsv", str(path))


@pytest.mark.parametrize(
    "text, message",
    [
        ("a\tnot json", "features: not valid JSON"),
        ("a\t[1]", 'no "num_boxes" and "features"'),
        ('a\t{"num_boxes": 1.5, "features": ""}', "num_boxes is 1.5"),
        ('a\t{"num_boxes": 0, "features": ""}', "num_boxes is 0, expected at least 1"),
    ],
)
def test_damaged_oscar_json(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        open_regions("oscar_tsv", str(write_lines(tmp_path / "a.tsv", [text])))


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "has no such picture"),
        ([{"class": "a"}], "there are 1 names for 5 features"),
        ({"boxes": []}, "expected a list of objects with a class"),
        (["dog"], "expected a list of objects with a class"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, tsv, pictures, content, message):
    keys = ["other"] if content is None else list(pictures)
    labels = write_lines(tmp_path / "label.tsv", [f"{k}\t{json.dumps(content)}" for k in keys])
    with pytest.raises(ValueError, match=message):
        open_regions("oscar_tsv", str(tsv), labels=str(labels))


@pytest.fixture(params=["pybase64", "standard library"])
def either_decoder(request, monkeypatch):
    if request.param == "standard library":
        monkeypatch.setattr(base64_arrays, "pybase64", None)


@pytest.mark.usefixtures("either_decoder")
@pytest.mark.parametrize("as_bytes", [False, True])
def test_base64_arrays(as_bytes):
    rows = np.random.default_rng().standard_normal((4, 6)).astype(np.float32)
    text = encoded(rows).encode() if as_bytes else encoded(rows)
    np.testing.assert_array_equal(decode_array("x", text, "<f4", 4), rows)
    assert decode_array("x", encoded(np.arange(4), "<i8"), "<i8", 4).tolist() == [0, 1, 2, 3]
    for broken, message in (
        (text[:-2], "x are not whole base64 text"),
        (text[:-4], "x hold 93 bytes, which are not 4 rows of <f4 numbers: the text is cut off"),
        (text[:0], "x hold 0 bytes"),
    ):
        with pytest.raises(ValueError, match=message):
            decode_array("x", broken, "<f4", 4)
    with pytest.raises(ValueError, match="num_boxes is 0, expected at least 1"):
        decode_array("x", text, "<f4", 0)
