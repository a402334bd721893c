"""Chains of transforms for the records of `fakes`, with the settings that a config would give."""

from tests.data.fakes import WORDS, FakeSource
from vlp_jax.config import DataConfig
from vlp_jax.data.assemble import Feed, make_chain
from vlp_jax.data.masking import Masking, MaskWords
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.tasks.questions import QuestionFields

TOKENIZER = Tokenizer.fit([" ".join(WORDS), "is there a dog"])
VOCABULARY = Vocabulary(TOKENIZER, ("no", "yes"))


def feed_of(provides=FakeSource.provides, train=True, vocabulary=VOCABULARY, **data):
    """Returns a feed of small pictures and short texts, with fields of `DataConfig`."""
    config = DataConfig(**(dict(image_size=16, text_length=8, regions=3) | data))
    return Feed(config, frozenset(provides), vocabulary, train)


def chain(*own, **options):
    """Returns the chain of a source with these transforms of tasks; see `feed_of`."""
    return make_chain(feed_of(**options), lambda feed: own)


def tasks_chain(*tasks, **options):
    """Returns the chain of a source with all transforms of these tasks; see `feed_of`."""
    own = lambda feed: [made for task in tasks for made in task.transforms(feed)]
    return make_chain(feed_of(**options), own)


def questions(count=1, vocabulary=VOCABULARY, **data):
    """Returns the transform of a task that answers questions of 6 tokens."""
    texts = feed_of(vocabulary=vocabulary, **data).texts
    return QuestionFields(texts, 6, vocabulary.answers, count=count)


def words(masking=Masking()):
    """Returns the transform of a task that predicts words."""
    return MaskWords(TOKENIZER, masking)
