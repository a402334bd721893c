"""A model for the tests of evaluations: it knows every answer, or gets every one wrong."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from vlp_jax.data.assemble import Feed, make_chain, open_source
from vlp_jax.data.sources.base import Source
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.model import Forward, Views
from vlp_jax.tasks import Run, build_tasks
from vlp_jax.training.experiment import Experiment, transforms_of


class AllKnowing(Forward):
    """Knows the first `count` records of a split; `sign` = -1 turns every score around.

    Nothing is compiled, so that tests can look on.
    """

    def __init__(self, experiment: Experiment, split="test", count=16, sign=1.0):
        super().__init__(Knowing(experiment, split, count, sign), {"heads_itc": TEMPERATURE})

    def __call__(self, function, batch, made=None):
        return function(Views(self.model, self.params, batch, made=made))


TEMPERATURE = {"temperature": np.float32(0.5)}


class Knowing:
    """The model: image tokens carry the record's number, text tokens their word ids."""

    # What tells the number of an image.
    vision = SimpleNamespace(reads=("image_id",), may_read=())

    def __init__(self, experiment: Experiment, split: str, count: int, sign: float):
        config, vocabulary = experiment.config, experiment.vocabulary
        self.words, self.count, self.sign = vocabulary.tokenizer.size, count, sign
        self.records = open_source(config.data, config.data.sources[0], split)
        tasks = build_tasks(config)
        feed = Feed(config.data, self.records.provides, vocabulary, train=False)
        chain = make_chain(feed, lambda feed: transforms_of(tasks, feed))
        examples = [chain(self.records[i], np.random.default_rng(0)) for i in range(count)]
        self.ids = np.stack([e["text_ids"] for e in examples])
        self.captions = [set(map(tuple, e["every_ids"][e["every_real"]])) for e in examples]
        if "question" in self.records.provides:
            self.questions = np.stack([e["question_ids"] for e in examples])
            self.scores = np.stack([e["answer_scores"] for e in examples])
        self.heads = {
            "itc": SimpleNamespace(image=self.image_vector, text=self.text_vector),
            "itm": SimpleNamespace(match_index=1, of=self.match),
            "mlm": SimpleNamespace(of=self.word_logits),
            "vqa": SimpleNamespace(of=self.answer_logits),
        }

    def apply(self, variables, *inputs, method, rngs, **options):
        return method(self, *inputs, **options)

    def encode_image(self, batch, deterministic):
        states = np.repeat(np.asarray(batch["image_id"], np.float64)[:, None, None], 5, axis=1)
        return Tokens(states, np.ones(states.shape[:2], bool))

    def encode_text(self, ids, mask, segments, deterministic):
        return Tokens(np.asarray(ids, np.float64)[..., None], np.asarray(mask))

    def fuse(self, image, text, deterministic):
        return Fused(image=image, text=text)

    def head(self, name):
        return self.heads[name]

    def read(self, name, reading, deterministic):
        return self.heads[name].of(reading.fused[0])

    def image_vector(self, image):
        return self.sign * np.eye(self.count)[numbers(image)]

    def text_vector(self, text):
        texts = list(map(tuple, words(text)))
        return np.array([[text in own for own in self.captions] for text in texts], float)

    def match(self, fused):
        pairs = zip(map(tuple, words(fused.text)), numbers(fused.image))
        right = np.array([text in self.captions[number] for text, number in pairs])
        odds = self.sign * np.where(right, 1.0, -1.0)
        return np.stack([np.zeros_like(odds), odds], axis=1)

    def answer_logits(self, fused):
        asked = numbers(fused.image)
        assert (words(fused.text) == self.questions[asked]).all()
        return self.sign * self.scores[asked]

    def word_logits(self, fused):
        return self.sign * np.eye(self.words)[self.ids[numbers(fused.image)]]


def numbers(image: Tokens) -> np.ndarray:
    """Returns the number of each image."""
    return np.asarray(image.states)[:, 0, 0].astype(int)


def words(text: Tokens) -> np.ndarray:
    """Returns the ids of each text."""
    return np.asarray(text.states)[..., 0].astype(int)


def square_heat(views: Views) -> np.ndarray:
    """Stands in for `gradcam`: a position's heat is its number, an image token's its square."""
    size, length = views.text().mask.shape
    heat = np.arange(length)[:, None] + np.arange(views.image().mask.shape[1])[None] ** 2.0
    return np.repeat(heat[None], size, axis=0)


@dataclass
class Evaluated:
    """Runs of the tasks of an experiment on an all-knowing model; splits are opened once."""

    experiment: Experiment
    forward: AllKnowing
    opened: dict[tuple[str, str], Any]

    def run(self, task: str, source: Any = None) -> Run:
        """Returns the run of a task, reading another test split if one is given."""
        found = build_tasks(self.experiment.config)[task]
        opened = self.opened if source is None else {("emoji_scenes", "test"): source}
        config, vocabulary = self.experiment.config, self.experiment.vocabulary
        return Run(config, vocabulary, self.forward, found, opened)


class Listed(Source):
    """Records as a source; a record that is an exception can't be read."""

    attribution = "mine"

    def __init__(self, records, provides):
        self.records, self.provides = list(records), provides

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        record = self.records[index]
        if isinstance(record, Exception):
            raise record
        return record
