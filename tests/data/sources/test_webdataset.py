"""Tests of the source "webdataset": records, splits, damage, and the pipeline over it."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.data.chains import chain
from tests.data.sources.tars import sample, write_shards, write_tar
from vlp_jax.data.images import decode
from vlp_jax.data.pipeline import Pipeline
from vlp_jax.data.sources import WebDataset
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary


def captions(source):
    return [source[k]["captions"] for k in range(len(source))]


def test_records_of_img2dataset_shards(tmp_path):
    folder = write_shards(tmp_path / "cc", shards=3, size=4)
    source = WebDataset(path=f"{folder}/{{00000..00002}}.tar", holdout=0)
    assert source.provides == {"image", "caption"} and source.skipped == []
    assert captions(source) == [[f"caption {k}"] for k in range(12)]
    assert [source[k]["image_id"] for k in range(12)] == list(range(12))
    assert decode(source[5]["image"]).shape == (12, 16, 3)
    assert source[5]["name"] == f"{folder}/00001.tar sample 000000005"
    assert list(source.texts()) == [f"caption {k}" for k in range(12)]
    with pytest.raises(IndexError, match="12 records"):
        source[12]


def test_threads_and_copies_read_the_same_bytes(tmp_path):
    source = WebDataset(path=str(write_shards(tmp_path / "cc", 4, 5)), holdout=0)
    order = np.random.default_rng().integers(20, size=200).tolist()
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(source.__getitem__, order))
    copy = pickle.loads(pickle.dumps(source))
    assert threaded == [copy[index] for index in order]


def test_samples_of_one_image_are_one_where_they_name_it(tmp_path, caplog):
    """img2dataset writes a sample a caption."""
    names = ["http://a/1.jpg", 7, "http://a/1.jpg", 7, None, None]
    members = [m for k, n in enumerate(names) for m in sample(k, f"caption {k}", url=n)]
    path = write_tar(tmp_path / "s.tar", members)
    source = WebDataset(path=path, holdout=0, image_id="json:url")
    assert [record["image_id"] for record in source] == [0, 1, 0, 1, 2, 3]
    assert source.image_ids().tolist() == [0, 1, 0, 1, 2, 3]
    assert "2 samples name no image, and count as one each; the first is" in caplog.text
    assert captions(source.by_image()) == [
        ["caption 0", "caption 2"], ["caption 1", "caption 3"], ["caption 4"], ["caption 5"]
    ]  # fmt: skip
    assert len(WebDataset(path=path, holdout=0).by_image()) == 6
    splits = [WebDataset(s, path, holdout=0.4, image_id="json:url") for s in ("train", "test")]
    assert not set(splits[0].image_ids().tolist()) & set(splits[1].image_ids().tolist())
    assert sum(map(len, splits)) == 6
    with pytest.raises(ValueError, match='6 samples name no image, the first is .*no "uri"'):
        WebDataset(path=path, image_id="json:uri")


def test_captions_from_text_files_and_json_keys(tmp_path):
    members = sample("0", "one\n\n two \n", alt={"en": "three", "de": ["vier", None, ""]}, n=3)
    path = write_tar(tmp_path / "s.tar", members)

    def read(**options):
        return WebDataset(path=path, holdout=0, **options)[0]["captions"]

    assert read() == ["one\n\n two"]
    assert read(caption_lines=True) == ["one", "two"]
    assert read(captions="json:alt.en") == ["three"]
    assert read(captions="json:alt.de, txt", caption_lines=True) == ["vier", "one", "two"]
    with pytest.raises(ValueError, match='sample 0: json .*no "alts".*Did you mean "alt"'):
        read(captions="json:alts.en")
    with pytest.raises(ValueError, match='"n" is 3; expected text'):
        read(captions="json:n")


def test_captions_are_those_of_all_members_that_have_some(tmp_path):
    bad = [("2.jpg", sample("2")[0][1]), ("2.json", "{"), ("2.txt", "two")]
    members = sample("0", "zero", c="nought") + sample("1", "one") + bad + sample("3", " ", d=1)
    path = write_tar(tmp_path / "s.tar", members)
    source = WebDataset(path=path, holdout=0, captions="json:c,txt")
    assert [source[k]["captions"] for k in range(3)] == [["nought", "zero"], ["one"], ["two"]]
    with pytest.raises(ValueError, match='s.tar sample 3: json cannot be read: .*no "c"'):
        source[3]
    assert list(source.texts()) == ["nought", "zero", "one", "two"]
    with pytest.raises(ValueError, match="sample 0: json .*"):
        list(WebDataset(path=path, holdout=0, captions="json:e").texts())


def test_half_a_character_in_json_ends_nothing(tmp_path):
    members = [m for k in range(4) for m in sample(f"{k}", c="a dog \ud83d")]
    path = write_tar(tmp_path / "s.tar", members)
    source = WebDataset(path=path, holdout=0, captions="json:c")
    assert source[0]["captions"] == ["a dog \ufffd"]
    tokenizer = Tokenizer.fit(source.texts())
    options = dict(vocabulary=Vocabulary(tokenizer), image_size=8, text_length=6)
    pipeline = Pipeline(source, chain(provides=source.provides, **options), 2)
    assert len(pipeline.batch(0)["image"]) == 2 and pipeline.skipped_total == 0


def test_pictures_of_several_kinds(tmp_path):
    jpg, other = sample("0")[0][1], sample("1")[0][1]
    members = [("0.png", other), ("0.jpg", jpg), ("0.txt", "a"), ("1.webp", other), ("1.txt", "b")]
    path = write_tar(tmp_path / "s.tar", members)
    assert WebDataset(path=path, holdout=0)[0]["image"] == jpg
    assert WebDataset(path=path, holdout=0)[1]["image"] == other
    only = WebDataset(path=path, holdout=0, images="png")
    assert len(only) == 1 and only[0]["image"] == other
    assert only.skipped == [f"{path} sample 1: no image (png)"]


def test_holdout_is_by_name_and_validation_shards_are_apart(tmp_path):
    folder = write_shards(tmp_path / "cc", shards=4, size=25)
    sets = [
        captions(WebDataset(split, str(folder), holdout=0.2)) for split in ("train", "validation")
    ]
    assert len(sets[0]) + len(sets[1]) == 100 and 8 <= len(sets[1]) <= 34
    assert not {c for (c,) in sets[0]} & {c for (c,) in sets[1]}
    (folder / "00003.tar").unlink()
    fewer = captions(WebDataset("validation", str(folder), holdout=0.2))
    assert fewer == [c for c in sets[1] if int(c[0].split()[1]) < 75]
    other = write_shards(tmp_path / "val", shards=1, size=2)
    options = {"path": str(folder), "validation_path": str(other)}
    assert captions(WebDataset("test", **options)) == [["caption 0"], ["caption 1"]]
    assert len(WebDataset("train", **options)) == 75
    held_out = WebDataset("test", **options)
    assert held_out[0]["image_id"] == 75 and len(list(held_out.texts())) == 75


def test_incomplete_samples_and_cut_shards_are_listed(tmp_path):
    whole, cut = tmp_path / "0.tar", tmp_path / "1.tar"
    write_tar(whole, sample("0")[1:] + sample("1")[:2] + sample("2"))
    write_tar(cut, sample("3") + sample("4"))
    os.truncate(cut, cut.stat().st_size // 2)  # within the second sample
    source = WebDataset(path=str(tmp_path), holdout=0)
    assert [source[k]["name"][-1] for k in range(len(source))] == ["2", "3"]
    reasons = "\n".join(source.skipped)
    assert f"{whole} sample 0: no image (jpg, jpeg, png, webp)" in reasons
    assert f"{whole} sample 1: no caption file (txt)" in reasons
    assert f"{cut}: cut short" in reasons


def test_training_replaces_and_lists_corrupt_samples_and_resumes(tmp_path):
    rng = np.random.default_rng()
    members = [m for k in range(14) for m in sample(f"{k}", f"a dog {k}", rng)]
    members += [("bad.jpg", b"\xff\xd8 no picture"), ("bad.txt", "a dog")]
    members += [("empty.jpg", members[0][1]), ("empty.txt", "  ")]
    path = write_tar(tmp_path / "s.tar", members)
    vocabulary = Vocabulary(Tokenizer.fit(["a dog"]))
    made = chain(provides={"image", "caption"}, vocabulary=vocabulary, image_size=8, text_length=6)

    def pipeline(host=0, hosts=1):
        source = WebDataset(path=path, holdout=0)
        return Pipeline(source, made, 4, seed=7, host=host, hosts=hosts)

    whole = pipeline()
    batches = [whole.batch(step) for step in range(8)]
    assert whole.skipped_total == 2
    reasons = sorted(whole.skipped.values())
    assert reasons[0].startswith(f"{path} sample bad: image of ")
    assert reasons[1] == f"{path} sample empty: the caption is empty"
    halves = [pipeline(host, 2).batch(5) for host in range(2)]
    resumed = pipeline().iterate(5)
    for field, value in batches[5].items():
        np.testing.assert_array_equal(value, np.concatenate([half[field] for half in halves]))
        np.testing.assert_array_equal(value, pipeline().batch(5)[field])
    np.testing.assert_array_equal(next(resumed)["image"], batches[5]["image"])
    resumed.close()


def test_mistakes_say_what_is_expected(tmp_path):
    path = str(write_shards(tmp_path / "cc", 1, 3))
    for options, message in (
        ({"path": None}, "needs `path`"),
        ({"split": "valid"}, '"valid".*Did you mean "validation"'),
        ({"caption": "txt"}, '"caption".*Did you mean "captions"'),
        ({"captions": "json"}, 'as in "json:caption"'),
        ({"captions": "txt,"}, "expected names joined by commas"),
        ({"images": 3}, r"images = 3 \(int\): expected str"),
        ({"holdout": 1}, "holdout is 1.0; expected a share"),
        ({"split": "test", "holdout": 0}, "split 'test' is empty"),
        ({"captions": "text"}, r"expected files .* and text, found jpg, json, txt.*first of 3"),
    ):
        with pytest.raises(ValueError, match=message):
            WebDataset(**{"path": path, **options})
    with pytest.raises(FileNotFoundError, match="match no file, the first is"):
        WebDataset(path=f"{path}/{{00000..00001}}.tar")


def test_names_with_dots_end_in_a_short_message(tmp_path):
    members = [m for k in range(3000) for m in ((f"img.{k}.jpg", b"x"), (f"img.{k}.txt", "a"))]
    path = write_tar(tmp_path / "dots.tar", members)
    with pytest.raises(ValueError, match="and 5995 more.*name ends at its first dot") as caught:
        WebDataset(path=path)
    assert len(str(caught.value)) < 900
