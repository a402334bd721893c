"""Tests of the parts that a data config describes: vocabulary, region names and processors."""

import pytest

from tests.data.sources.tars import write_shards
from vlp_jax.config import DataConfig
from vlp_jax.data.assemble import (
    Vocabulary,
    make_mixture,
    make_processor,
    make_vocabulary,
    open_source,
)
from vlp_jax.data.pairing import PAIRINGS
from vlp_jax.data.region_masking import RegionMasking
from vlp_jax.data.sources import SOURCES, Source
from vlp_jax.data.tokenizer import Tokenizer

SCENES = dict(emoji_scenes=dict(size=64, concepts=12))
WORDS = Tokenizer.fit(["a dog"])


def test_a_vocabulary_survives_json_and_reads_those_without_region_names():
    whole = Vocabulary(WORDS, ("no", "yes"), ("cat", "dog"), ("animal",))
    values = whole.to_json()
    again = Vocabulary.from_json(values)
    assert (again.answers, again.region_classes) == (("no", "yes"), ("cat", "dog"))
    assert again.region_attributes == ("animal",)
    del values["region_classes"], values["region_attributes"]
    assert Vocabulary.from_json(values).region_classes == ()


def test_region_names_come_from_the_sources_that_have_them():
    config = DataConfig(source="emoji_scenes::easy_vqa", source_args=SCENES, vocabulary="fit")
    vocabulary = make_vocabulary(config)
    assert len(vocabulary.region_classes) == 120 and len(vocabulary.region_attributes) == 6


def test_sources_that_name_other_classes_do_not_go_together(monkeypatch):
    class Others(Source):
        provides = frozenset({"image"})

        def __init__(self, **options):
            pass

        def __len__(self):
            return 0

        def __getitem__(self, index):
            raise IndexError

        def region_classes(self):
            return ("cat",)

    monkeypatch.setitem(SOURCES, "others", Others)
    with pytest.raises(
        ValueError, match=r"differ in their region_classes \(emoji_scenes 120, others 1\)"
    ):
        make_vocabulary(DataConfig(source="emoji_scenes::others", source_args=SCENES))


def test_the_config_reaches_the_processor():
    config = DataConfig(
        source_args=SCENES, pairing="caption", region_pixels=4, global_region=True,
        region_masking="vilbert", region_mask_probability=0.3, predict_wrong_pairs=False,
    )  # fmt: skip
    source = open_source(config, "emoji_scenes", "train")
    made = make_processor(config, source, Vocabulary(WORDS, source.answers()), train=True)
    assert made.region_masking == RegionMasking(0.3, (0.9, 0.0, 0.1), overlap=0.4)
    assert (made.pairing, made.region_pixels) == (PAIRINGS["caption"], 4)
    assert made.global_region and not made.predict_wrong_pairs
    plain = make_processor(DataConfig(), source, Vocabulary(WORDS, source.answers()), train=True)
    assert plain.region_masking is None and plain.pairing == PAIRINGS["none"]


def test_one_kind_of_source_occurs_several_times_under_names(tmp_path):
    args = {
        name: {"kind": "webdataset", "path": str(write_shards(tmp_path / name, 1, size)), **options}
        for name, size, options in (("cc3m", 6, {"holdout": 0}), ("sbu", 9, {"holdout": 0}))
    }
    config = DataConfig(
        source="cc3m::sbu::emoji_scenes", source_args=args | SCENES, weights={"sbu": 2.0},
        vocabulary="fit", batch_size=3, image_size=16,
    )  # fmt: skip
    assert [len(open_source(config, name, "train")) for name in ("cc3m", "sbu")] == [6, 9]
    vocabulary = make_vocabulary(config)
    assert "caption" in vocabulary.tokenizer.word_pieces("caption")
    mixture = make_mixture(config, vocabulary, seed=0)
    assert {mixture.choice(step) for step in range(50)} == {"cc3m", "sbu", "emoji_scenes"}
    assert mixture["sbu"].batch(0)["image"].shape == (3, 16, 16, 3)


def test_unknown_names_and_kinds_of_sources_say_what_to_write():
    args = {"cc3m": {"kind": "webdatset"}}
    named = DataConfig(source_args={"cc3m": {"kind": "webdataset"}})
    for config, name, message in (
        (named, "cc3", r'config.data.source: unknown source "cc3". Did you mean "cc3m".*cc3.kind'),
        (DataConfig(source_args=args), "cc3m", r'source_args.cc3m.kind: .*mean "webdataset"'),
        (DataConfig(source_args=args), "emoji", r"source_args.cc3m.kind: unknown source"),
        (
            DataConfig(source_args={"emoij": {}}),
            "emoji",
            r'config.data.source_args: .*mean "emoji"',
        ),
    ):
        with pytest.raises(ValueError, match=message):
            open_source(config, name, "train")
    config = DataConfig(source="emoji", weights={"emoijs": 1.0})
    with pytest.raises(ValueError, match='config.data.weights: unknown source "emoijs"'):
        make_mixture(config, Vocabulary(WORDS, ()), seed=0)
