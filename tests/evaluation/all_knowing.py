"""A model for the tests of the evaluation tasks: it knows every answer, or gets every one wrong."""

from types import SimpleNamespace

import numpy as np

from vlp_jax.data.assemble import make_processor, open_source
from vlp_jax.evaluation.context import Context
from vlp_jax.layers.tokens import Tokens


class AllKnowing:
    """Stands in for `Bound` on the first `count` records of a split.

    Image tokens carry the record's number, text tokens their word ids. `sign` = -1 turns every
    score around.
    """

    def __init__(self, config, vocabulary, split="test", count=16, sign=1.0):
        heads = {name: None for name in ("itc", "itm", "mlm", "vqa")}
        self.model = SimpleNamespace(heads=heads, vision=SimpleNamespace(reads=("image",)))
        self.vocabulary, self.count, self.sign = vocabulary, count, sign
        self.records = open_source(config.data, config.data.sources[0], split)
        processor = make_processor(config.data, self.records, vocabulary, train=False)
        examples = [processor(self.records[i], np.random.default_rng(0)) for i in range(count)]
        self.ids = np.stack([e["text_ids"] for e in examples])
        if "question" in self.records.provides:
            self.questions = np.stack([e["question_ids"] for e in examples])
            self.scores = np.stack([e["answer_scores"] for e in examples])

    def images(self, batch):
        states = np.repeat(np.asarray(batch["image_id"], np.float64)[:, None, None], 5, axis=1)
        return Tokens(states, np.ones(states.shape[:2], bool))

    def texts(self, ids, mask, segments=None):
        return Tokens(np.asarray(ids, np.float64)[..., None], np.asarray(mask))

    def image_vectors(self, images):
        return self.sign * np.eye(self.count)[self._numbers(images)]

    def text_vectors(self, texts):
        return (self._words(texts)[:, None] == self.ids[None]).all(-1).astype(float)

    def temperature(self):
        return 0.5

    def match(self, texts, images):
        right = (self._words(texts) == self.ids[self._numbers(images)]).all(-1)
        return self.sign * np.where(right, 1.0, -1.0)

    def answer_logits(self, questions, images):
        numbers = self._numbers(images)
        assert (self._words(questions) == self.questions[numbers]).all()
        return self.sign * self.scores[numbers]

    def word_logits(self, texts, images):
        wanted = self.ids[self._numbers(images)]
        return self.sign * np.eye(self.vocabulary.tokenizer.size)[wanted]

    def heat_maps(self, texts, images):
        """The heat of a position is its number; that of an image token its square."""
        length, tokens = texts.mask.shape[1], images.mask.shape[1]
        heat = np.arange(length)[:, None] + np.arange(tokens)[None] ** 2.0
        return np.repeat(heat[None], len(texts.mask), axis=0)

    def _numbers(self, images):
        return np.asarray(images.states)[:, 0, 0].astype(int)

    def _words(self, texts):
        return np.asarray(texts.states)[..., 0].astype(int)


def context_of(experiment, **options) -> Context:
    """Returns the context of an all-knowing model for an assembled experiment."""
    config, vocabulary = experiment.config, experiment.vocabulary
    return Context(config, vocabulary, AllKnowing(config, vocabulary, **options))
