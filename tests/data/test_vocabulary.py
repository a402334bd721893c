"""Tests of the vocabulary: words, answers and the names of region classes."""

import pytest

from vlp_jax.config import DataConfig
from vlp_jax.data.assemble import open_sources
from vlp_jax.data.sources import SOURCES, Source
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary, make_vocabulary

SCENES = dict(emoji_scenes=dict(size=64, concepts=12))
WORDS = Tokenizer.fit(["a dog"])


def made(source, tokenizer="fit", words=()):
    return make_vocabulary(
        tokenizer, open_sources(DataConfig(source=source, source_args=SCENES)), words
    )


def test_a_vocabulary_survives_json_and_reads_those_without_region_names():
    whole = Vocabulary(WORDS, ("no", "yes"), ("cat", "dog"), ("animal",))
    values = whole.to_json()
    again = Vocabulary.from_json(values)
    assert (again.answers, again.region_classes) == (("no", "yes"), ("cat", "dog"))
    assert again.region_attributes == ("animal",)
    del values["region_classes"], values["region_attributes"]
    assert Vocabulary.from_json(values).region_classes == ()


def test_region_names_come_from_the_sources_that_have_them():
    vocabulary = made("emoji_scenes::easy_vqa")
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
        made("emoji_scenes::others", "bert-base-uncased")


def test_answers_come_from_all_sources_that_ask():
    alone, both = made("emoji_scenes"), made("emoji_scenes::easy_vqa")
    assert set(alone.answers) < set(both.answers) and list(both.answers) == sorted(both.answers)


def test_a_fitted_tokenizer_knows_the_words_that_tasks_add():
    assert "zyzzyva" not in made("emoji_scenes").tokenizer.word_pieces("zyzzyva")
    assert made("emoji_scenes", words=["zyzzyva"]).tokenizer.word_pieces("zyzzyva") == ["zyzzyva"]


def test_a_tokenizer_that_is_not_there_says_what_can_be_written():
    with pytest.raises(FileNotFoundError, match='config.data.vocabulary = "bert": expected "bert-'):
        made("emoji_scenes", "bert")
