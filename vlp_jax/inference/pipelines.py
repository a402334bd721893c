"""Pipelines under Hugging Face's names: one object a task, with its arguments and its results."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from vlp_jax.config import Registry, nearest
from vlp_jax.config.build import coerce
from vlp_jax.config.ranges import Count
from vlp_jax.inference.images import listed
from vlp_jax.inference.load import load
from vlp_jax.inference.model import Model
from vlp_jax.inference.region_inputs import as_regions
from vlp_jax.tasks import contrast

PIPELINES = Registry("pipeline task")
"""Name of a task on Hugging Face's hub, or one like it -> the class of its pipeline."""

_AT_ONCE = 256  # rows whose pictures are in memory
_GENERATION = {
    "max_new_tokens": "max_length",
    "min_new_tokens": "min_length",
    "num_beams": "beams",
    "length_penalty": "length_penalty",
    "top_p": "top_p",
}
"""Hugging Face's name of a setting of writing -> that of `Model.caption`."""

Row = dict[str, Any]
"""A picture, as "image" or "regions", and behind it the text that the task asks about, if any."""


def pipeline(task: str, model: Model | str | Path, **load_arguments: Any) -> "Pipeline":
    """Returns a pipeline, which is called with pictures and texts.

    `model` is a `Model` or what `vlp_jax.load` takes first; further arguments are those of `load`.
    Raises ValueError for a task that is not in `PIPELINES` or for which the model has no head.
    """
    made = PIPELINES.get_known(task)
    if not isinstance(model, Model):
        model = load(model, **load_arguments)
    elif load_arguments:
        given = ", ".join(load_arguments)
        raise ValueError(f"{given}: these are for `load`, and the model given is loaded already")
    return made(task, model)


@dataclass(frozen=True)
class Pipeline:
    """A task with its model; the classes that extend it say how it is called.

    Pictures are `image`, or `regions` for models that read those: one, or a list. One picture with
    one text gives one result; a list of either, or a list of dicts with the names of the arguments
    as keys in place of `image`, gives a list of results.
    """

    task: str
    model: Model

    verb: ClassVar[str]

    def __post_init__(self) -> None:
        try:
            self.model.check_verb(self.verb)
        except ValueError as error:
            raise ValueError(f'the model does not fit the task "{self.task}": {error}') from None

    def _pictures(self, image: Any, regions: Any) -> tuple[list[Row], bool]:
        """Returns a row for each picture, and whether a list of them was given."""
        if (image is None) == (regions is None):
            given = "neither was" if image is None else "both were"
            raise ValueError(
                f"{self.task} needs pictures, or `regions` if its model reads those: {given} given"
            )
        if image is None:
            found = as_regions(regions)
            return [{"regions": x} for x in found], len(found) > 1 or isinstance(regions, list)
        found = listed(image)
        return [{"image": x} for x in found], found[0] is not image

    def _rows(self, image: Any, regions: Any, **text: Any) -> tuple[list[Row], bool]:
        """Returns what is asked, and whether that may be several things.

        `text` is one argument with its name; of two lists each picture meets each text.
        """
        ((key, texts),) = text.items()
        if _holds_dicts(image):
            return self._of_dicts(image, key), not isinstance(image, Mapping)
        pictures, many = self._pictures(image, regions)
        if texts is None:
            raise ValueError(f"{self.task} needs `{key}` beside a picture")
        rows = [picture | {key: x} for picture, x in product(pictures, listed(texts))]
        return rows, many or not isinstance(texts, str)

    def _of_dicts(self, given: Any, key: str) -> list[Row]:
        rows = []
        for i, row in enumerate(listed(given)):
            keys = set(row) if isinstance(row, Mapping) else set()
            kind = "regions" if "regions" in keys else "image"
            if keys != {kind, key}:
                raise ValueError(
                    f'{self.task}: item {i} is no dict with "image" (or "regions") and "{key}"'
                )
            rows.append({kind: row[kind], key: row[key]})
        return rows

    def _each(self, rows: Sequence[Row], ask: Callable[[list, dict], Iterable]) -> list:
        """Returns ask(texts, pictures as an argument of a verb) of all rows, some at a time."""
        kinds = {"images" if "image" in row else "regions" for row in rows}
        if len(kinds) > 1:
            raise ValueError(f"{self.task}: some pictures are images and some regions")
        found = []
        for start in range(0, len(rows), _AT_ONCE):
            columns = zip(*(row.values() for row in rows[start : start + _AT_ONCE]))
            pictures, *texts = map(list, columns)
            found.extend(ask(texts[0] if texts else [], {min(kinds): pictures}))
        return found


@PIPELINES.register("visual-question-answering")
class VisualQuestionAnswering(Pipeline):
    """Answers questions: [{"score", "answer"}, …], the likeliest first."""

    verb = "answer"

    def __call__(
        self, image: Any = None, question: Any = None, top_k: int = 5, *, regions: Any = None
    ) -> list:
        """Returns the `top_k` answers, or all if there are fewer, with their probabilities."""
        coerce(top_k, Count, "top_k")
        rows, many = self._rows(image, regions, question=question)
        found = self._each(rows, lambda asked, shown: self.model.answer(
            questions=asked, top=top_k, **shown
        ))  # fmt: skip
        named = [[{"score": a.probability, "answer": a.text} for a in best] for best in found]
        return named if many else named[0]


@PIPELINES.register("image-text-matching")
class ImageTextMatching(Pipeline):
    """Tells how probable it is that a text describes a picture: {"score"}."""

    verb = "match"

    def __call__(self, image: Any = None, text: Any = None, *, regions: Any = None) -> Any:
        """Returns the probability."""
        rows, many = self._rows(image, regions, text=text)
        found = self._each(rows, lambda texts, shown: self.model.match(texts=texts, **shown))
        scores = [{"score": float(chance)} for chance in found]
        return scores if many else scores[0]


@PIPELINES.register("image-text-retrieval")
class ImageTextRetrieval(Pipeline):
    """Finds the pictures that fit a text, or the texts that fit a picture, the best first.

    A result is [{"score", "index", "image" (or "regions", or "text")}, …]. One picture with a list
    of texts searches the texts; any other text searches the pictures, each text of a list all.
    """

    verb = "retrieve"

    def __call__(
        self,
        image: Any = None,
        text: Any = None,
        top_k: int = 5,
        *,
        regions: Any = None,
        rerank: int = 16,
    ) -> list:
        """Returns the `top_k` best; `rerank` of them are scored by a matching head, if any."""
        coerce(top_k, Count, "top_k")
        options = {"top": top_k, "rerank": rerank}
        if _holds_dicts(image):
            rows = self._of_dicts(image, "text")
            found = [self(**row, top_k=top_k, rerank=rerank) for row in rows]
            return found[0] if isinstance(image, Mapping) else found
        rows, many = self._pictures(image, regions)
        if text is None:
            raise ValueError(f"{self.task} needs `text` beside a picture")
        if not many and not isinstance(text, str):
            return self._texts(rows[0], listed(text), options)
        found = self._found(rows, listed(text), options)
        return found[0] if isinstance(text, str) else found

    def _texts(self, row: Row, texts: list, options: dict) -> list:
        (picture,) = row.values()
        query = Path(picture) if isinstance(picture, str) else picture  # a string would be a text
        found = self.model.retrieve(query, texts, **options)
        return [{"score": x.score, "index": x.index, "text": texts[x.index]} for x in found]

    def _found(self, rows: list[Row], texts: list, options: dict) -> list:
        candidates = [picture for row in rows for picture in row.values()]
        if len(texts) > 1 and contrast.HEAD in self.model.module.heads:
            vectors = self._each(rows, lambda _, shown: self.model.encode_image(**shown))
            options = options | {"vectors": np.stack(vectors)}
        found = (self.model.retrieve(x, candidates, **options) for x in texts)
        return [[{"score": x.score, "index": x.index, **rows[x.index]} for x in y] for y in found]


@PIPELINES.register("visual-entailment")
class VisualEntailment(Pipeline):
    """Tells whether a picture entails a sentence: [{"score", "label"}, …], the likeliest first."""

    verb = "entail"

    def __call__(self, image: Any = None, text: Any = None, *, regions: Any = None) -> list:
        """Returns the probability of each class."""
        rows, many = self._rows(image, regions, text=text)
        found = self._each(rows, lambda texts, shown: self.model.entail(texts=texts, **shown))
        named = [_ranked(x.probabilities.items()) for x in found]
        return named if many else named[0]


@PIPELINES.register("nlvr2")
class Reasoning(Pipeline):
    """Tells whether a sentence is true of two pictures: [{"score", "label"}, …].

    In place of a picture stands a tuple (left, right); a list holds several such tuples.
    """

    verb = "reason"

    def __call__(self, image: Any = None, text: Any = None, *, regions: Any = None) -> list:
        """Returns the probabilities of "True" and "False", the likelier first."""
        rows, many = self._rows(image, regions, text=text)
        for i, (pair, _) in enumerate(row.values() for row in rows):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise ValueError(f"{self.task}: picture {i} is no pair (left, right) of pictures")
        found = self._each(rows, self._judged)
        named = [_ranked(zip(("False", "True"), _softmax(x.scores))) for x in found]
        return named if many else named[0]

    def _pictures(self, image: Any, regions: Any) -> tuple[list[Row], bool]:
        kind, given = ("image", image) if regions is None else ("regions", regions)
        pairs = given if isinstance(given, list) else [given]
        return [{kind: pair} for pair in pairs], pairs is given

    def _judged(self, texts: list, shown: dict) -> list:
        ((kind, pairs),) = shown.items()
        return self.model.reason(texts=texts, **{kind: tuple(map(list, zip(*pairs)))})


@PIPELINES.register("image-to-text")
class ImageToText(Pipeline):
    """Describes pictures: [{"generated_text"}]."""

    verb = "caption"

    def __call__(
        self,
        inputs: Any = None,
        max_new_tokens: int | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        *,
        regions: Any = None,
    ) -> list:
        """Returns a caption of at most `max_new_tokens`, its end included; 19 if not given.

        `generate_kwargs` may hold "num_beams", "length_penalty", "top_p" (which draws words),
        "max_new_tokens" and "min_new_tokens".
        """
        given = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
        settings = {}
        for name, value in (given | dict(generate_kwargs or {})).items():
            if name not in _GENERATION:
                raise ValueError(
                    f'generate_kwargs: unknown "{name}".{nearest(name, _GENERATION)} '
                    f"Known: {', '.join(_GENERATION)}"
                )
            start = int(name.endswith("_new_tokens"))  # the start is no new token
            settings[_GENERATION[name]] = value + start
        rows, many = self._pictures(inputs, regions)
        found = self._each(rows, lambda _, shown: self.model.caption(**settings, **shown))
        written = [[{"generated_text": caption.text}] for caption in found]
        return written if many else written[0]


@PIPELINES.register("zero-shot-image-classification")
class ZeroShotImageClassification(Pipeline):
    """Tells which of the given labels fits a picture: [{"score", "label"}, …], the best first."""

    verb = "retrieve"

    def __call__(
        self,
        image: Any = None,
        candidate_labels: Sequence[str] = (),
        hypothesis_template: str = "This is a photo of {}.",
        *,
        regions: Any = None,
    ) -> list:
        """Returns the probability of each label, by the text that the template makes of it.

        Probabilities are among the labels: the softmax of contrastive logits or, for a model
        without contrast, of the log odds of a match. A contrastive head of the sigmoid form says of
        each label on its own how probable it is.
        """
        texts = _label_texts(candidate_labels, hypothesis_template)
        rows, many = self._pictures(image, regions)
        ask = self._by_contrast if contrast.HEAD in self.model.module.heads else self._by_matching
        found = self._each(rows, lambda _, shown: ask(texts, **shown))
        named = [_ranked(zip(candidate_labels, row)) for row in found]
        return named if many else named[0]

    def _by_contrast(self, texts: list[str], **shown: Any) -> np.ndarray:
        vectors = self.model.encode_image(**shown), self.model.encode_text(texts)
        return np.asarray(contrast.text_chances(self.model.params, *vectors))

    def _by_matching(self, texts: list[str], **shown: Any) -> list[np.ndarray]:
        ((kind, pictures),) = shown.items()
        odds = (self.model.match_odds(texts=texts, **{kind: picture}) for picture in pictures)
        return [_softmax(row) for row in odds]


def _holds_dicts(image: Any) -> bool:
    first = image[0] if isinstance(image, list | tuple) and image else image
    return isinstance(first, Mapping)


def _label_texts(labels: Any, template: str) -> list[str]:
    """Returns the text of each label; ValueError for no labels and for a template without {}."""
    given = list(labels) if isinstance(labels, list | tuple) else []
    if not given or not all(isinstance(label, str) and label.strip() for label in given):
        raise ValueError(f"candidate_labels is {labels!r:.80}; expected a list of texts")
    if not isinstance(template, str) or "{}" not in template:
        raise ValueError(f"hypothesis_template is {template!r:.80}; expected {{}} for the label")
    return [template.replace("{}", label) for label in given]


def _softmax(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.asarray(jax.nn.softmax(np.asarray(scores)))


def _ranked(chances: Iterable[tuple[str, float]]) -> list[dict[str, Any]]:
    """Returns labels with their probabilities as Hugging Face lists them, the likeliest first."""
    ordered = sorted(chances, key=lambda pair: -pair[1])
    return [{"score": float(chance), "label": label} for label, chance in ordered]
