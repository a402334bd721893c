"""Tests of the parts that a data config describes: sources, transforms and their mixture."""

import pytest

from tests.data.chains import chain
from tests.data.sources.tars import write_shards
from vlp_jax.config import DataConfig
from vlp_jax.data.assemble import (
    Feed,
    check_names,
    make_chain,
    make_mixture,
    open_source,
    open_sources,
)
from vlp_jax.data.caption_fields import CaptionFields
from vlp_jax.data.picture_fields import PictureFields
from vlp_jax.data.region_fields import RegionFields, RegionReader
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.sources.emoji import Emoji
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary, make_vocabulary

SCENES = dict(emoji_scenes=dict(size=64, concepts=12))
WORDS = Tokenizer.fit(["a dog"])
NOTHING = lambda feed: ()


def test_the_config_reaches_the_transforms():
    config = DataConfig(
        image_size=32, augment="crop_flip", flip=False, regions=5, region_pixels=4,
        global_region=True, text_length=9, text_style="plain", max_words=7, add_sep=True, tags=True,
    )  # fmt: skip
    provides = frozenset({"image", "regions", "caption"})
    for train in (True, False):
        made = make_chain(Feed(config, provides, Vocabulary(WORDS), train), NOTHING)
        texts = TextEncoder(WORDS, "plain", 7, add_sep=True)
        assert made.transforms == (
            PictureFields(provides, 32, "crop_flip", False, RegionReader(5, 4), train),
            RegionFields(5, global_region=True),
            CaptionFields(texts, 9, 5, tags=True, train=train),
        )


@pytest.mark.parametrize(
    "provides, kinds",
    [
        ({"image"}, [PictureFields]),
        ({"image", "caption"}, [PictureFields, CaptionFields]),
        ({"regions"}, [PictureFields, RegionFields]),
        ({"region_features", "caption"}, [PictureFields, RegionFields, CaptionFields]),
    ],
)
def test_shared_transforms_follow_what_the_source_provides(provides, kinds):
    assert [type(t) for t in chain(provides=provides).transforms] == kinds


def test_tasks_see_the_feed_of_each_source():
    seen = []
    config = DataConfig(
        source="emoji_scenes::easy_vqa", source_args=SCENES, batch_size=4, image_size=16
    )
    sources, vocabulary = open_sources(config), Vocabulary(WORDS)
    make_mixture(config, sources, vocabulary, lambda feed: seen.append(feed) or (), seed=0)
    assert [feed.provides for feed in seen] == [source.provides for source in sources.values()]
    assert all(feed.train and feed.vocabulary is vocabulary for feed in seen)
    assert [feed.has_regions for feed in seen] == [True, False]


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
    sources = open_sources(config)
    vocabulary = make_vocabulary(config.vocabulary, sources)
    assert "caption" in vocabulary.tokenizer.word_pieces("caption")
    mixture = make_mixture(config, sources, vocabulary, NOTHING, seed=0)
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
        check_names(config)


def test_a_wrong_option_is_told_with_its_place():
    config = DataConfig(source_args={"emoji": {"image_size": -4}})
    message = r"^config.data.source_args.emoji: image_size is -4; expected an integer from 8 to"
    with pytest.raises(ValueError, match=message):
        open_source(config, "emoji", "train")


SPLIT = {
    "emoji": {"split": "test"},
    "joined": {"parts": {"a": {"kind": "emoji", "split": "test"}}},
    "found_regions": {"records": {"kind": "emoji", "split": "test"}, "features": "a.tsv"},
}


@pytest.mark.parametrize("name", SPLIT)
def test_the_split_is_none_of_the_options(name):
    message = f"^config.data.source_args.{name}: .*split = 'test' is no option: training reads"
    with pytest.raises(ValueError, match=message):
        open_source(DataConfig(source_args={name: SPLIT[name]}), name, "train")


@pytest.mark.parametrize(
    ("entry", "meant"), [("captoin", "caption"), ("captions", "caption"), ("quesions", "question")]
)
def test_a_misspelt_entry_of_provides(monkeypatch, entry, meant):
    class Mine(Emoji):
        provides = frozenset({"image", entry})

    monkeypatch.setitem(SOURCES, "mine", Mine)
    message = f'source mine provides "{entry}", which nothing reads. Did you mean "{meant}"'
    with pytest.raises(ValueError, match=message):
        open_source(DataConfig(source="mine"), "mine", "train")
    Mine.provides = frozenset({"image", "depth"})  # of its own, for a task of its own
    open_source(DataConfig(source="mine"), "mine", "train")
