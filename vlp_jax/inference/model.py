"""Model: parameters, tokenizer and input processing together, with the verbs of the field."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.build import coerce
from vlp_jax.config.ranges import Count, Natural, Range
from vlp_jax.data.batch import check_given, check_indices, check_numbers
from vlp_jax.data.input_rules import InputRules, TextRules
from vlp_jax.data.regions import Rules
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.inference import explain as looking
from vlp_jax.inference import grounding
from vlp_jax.inference.choices import choice_fields
from vlp_jax.inference.compute import Compute
from vlp_jax.inference.detector import Detector
from vlp_jax.inference.images import listed
from vlp_jax.inference.inputs import Inputs, Pictures
from vlp_jax.inference.results import (
    Answer,
    Caption,
    Choice,
    Entailment,
    Explanation,
    Judgement,
    Retrieved,
    single,
)
from vlp_jax.model import CAPTION, VisionLanguageModel, build_model
from vlp_jax.tasks import (
    build_tasks,
    contrast,
    decisions,
    decoded_captions,
    masked_text,
    matching,
    word_maps,
)
from vlp_jax.tasks.answers import AnswerTask, QuestionTask
from vlp_jax.tasks.constraints import check_constraints, constraint_fields
from vlp_jax.tasks.phrase_grounding import grounds_phrases
from vlp_jax.tasks.questions import QUESTION
from vlp_jax.tasks.search import Search, SpecialIds
from vlp_jax.tasks.writing import caption_fields, written_captions
from vlp_jax.tasks.written_answers import WrittenAnswerTask, spelled_answers

_HEADS = {
    "encode_image": (contrast.HEAD,),
    "encode_text": (contrast.HEAD,),
    "answer": (AnswerTask.head, "gqa", WrittenAnswerTask.head),
    "match": (*decisions.RANKING_HEADS, matching.HEAD),
    "retrieve": (*decisions.RANKING_HEADS, matching.HEAD, contrast.HEAD),
    "reason": (decisions.REASONING,),
    "entail": (decisions.ENTAILMENT,),
    "ground": decisions.REGION_HEADS,
    "choose": decisions.CHOICE_HEADS,
    "caption": (decoded_captions.HEAD,),
}
"""Verb -> the heads of which it reads the first that the model has."""


class Model:
    """A vision-language model ready for use; make one with `vlp_jax.load`.

    Images are paths, bytes, PIL images or uint8 arrays; one or a list. Models that read region
    features take `regions` in their place: a `Regions` value, a (store, key) pair or a features
    file; one or a list. With a detector they take images as well. Texts are strings. A verb that
    does not fit the model is a ValueError that says which do.
    Attributes: `config` (ExperimentConfig), `params`, `vocabulary` with `tokenizer` and `answers`,
    `module` (Linen), `rules` (InputRules: how it reads texts and regions), `inputs` and `compute`,
    which the verbs make batches with and compute functions of views.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        params: Any,
        vocabulary: Vocabulary,
        rules: InputRules | None = None,
        detector: Detector | None = None,
    ):
        self.config = config
        self.params = params
        self.vocabulary = vocabulary
        self.tokenizer = vocabulary.tokenizer
        self.answers = vocabulary.answers
        self.module: VisionLanguageModel = build_model(config.model, config.training.dtype)
        self.rules = rules or self._rules_of_run()
        self.compute = Compute(self.module, params)
        size = config.data.image_size
        self.inputs = Inputs(self.module, self.tokenizer, self.rules, size, detector=detector)
        self.inputs.check_detector()

    @property
    def verbs(self) -> tuple[str, ...]:
        """The names of the methods that fit the model, in alphabetical order."""
        return tuple(sorted(filter(self._head_of, _HEADS)))

    def encode_image(self, images: Any = None, *, regions: Any = None) -> np.ndarray:
        """Returns contrastive unit vectors float32 [N, W] of one image or a list."""
        self._needs("encode_image")
        pictures = self.inputs.pictures("encode_image", images, regions)
        return self.compute(contrast.image_vector, pictures.fields)

    def encode_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """Returns contrastive unit vectors float32 [N, W] of one text or a list."""
        self._needs("encode_text")
        fields = self.inputs.texts(texts, self.rules.text_of("retrieve"))
        return self.compute(contrast.text_vector, fields)

    def match(
        self, images: Any = None, texts: Any = None, *, regions: Any = None, tags: Any = None
    ) -> np.ndarray:
        """Returns the probability float32 [N] that each text describes its image.

        One image with several texts, or one text with several images, is paired with all.
        """
        odds = self.match_odds(images, texts, regions=regions, tags=tags)
        return np.asarray(jax.nn.sigmoid(odds))

    def match_odds(
        self, images: Any = None, texts: Any = None, *, regions: Any = None, tags: Any = None
    ) -> np.ndarray:
        """Returns the log odds float32 [N] of what `match` gives the probability of."""
        self._needs("match")
        pictures = self.inputs.pictures("match", images, regions)
        return self._odds("match", pictures, texts, tags)

    def answer(
        self,
        images: Any = None,
        questions: Any = None,
        top: int = 1,
        *,
        regions: Any = None,
        tags: Any = None,
        head: str | None = None,
        task: int | str | None = None,
        ranked: int = 128,
    ) -> list:
        """Returns the `top` answers, best first, for each image and question.

        A model that writes its answers (ALBEF's decoder) ranks the known ones by how likely it is
        to write them; all but the `ranked` with the likeliest first word have probability 0. With
        `ranked` = 0 it writes one answer freely, with beams, and needs no list.
        `head` chooses among several classifiers (12-in-1 has "vqa" and "gqa"), `task` the row of
        its table of tasks, or a task by name ("vg_qa"). One image and one question give a list of
        `Answer`; lists give a list of such lists.
        """
        top, ranked = coerce(top, Count, "top"), coerce(ranked, Natural, "ranked")
        asked = self._answering(head, ranked)
        free = isinstance(asked, WrittenAnswerTask) and not ranked
        words = self._words_of(asked)
        if not free:
            self._check_answers(asked.head, words.answers)
        rules = self._texts_of("answer", asked.head, task)
        pictures = self.inputs.pictures("answer", images, regions)
        batch = self.inputs.batch(
            "answer",
            pictures,
            questions,
            rules,
            names=QUESTION,
            question=True,
            seconds=self.inputs.tags("answer", pictures, tags),
        )
        if free:
            found = self._written(asked, batch)
        else:
            logits = self.compute(asked.scores_of(words), batch, rules.task)
            found = [_best(words.answers, row, top) for row in logits]
        return single(questions, found)

    def retrieve(
        self,
        query: Any = None,
        candidates: Any = None,
        top: int = 5,
        rerank: int = 16,
        *,
        regions: Any = None,
        tags: Any = None,
        vectors: np.ndarray | None = None,
    ) -> list[Retrieved]:
        """Returns the best candidates for a query, best first.

        A string query searches images (or `regions`), anything else is an image (or the `regions`
        of one) that searches texts. Contrastive similarity orders all; if the model has a matching
        head the `rerank` best are scored again. A model without contrast scores every pair.
        `vectors` [N, W] are those of `encode_image` for a list of images that is searched, where it
        has been called before: only images that are scored again are read.
        """
        top, rerank = coerce(top, Count, "top"), coerce(rerank, Natural, "rerank")
        if isinstance(query, str):
            texts, images = [query], candidates
            self.inputs.encoder.cleaned(texts, self.rules.text_of("retrieve"))  # before candidates
        else:
            texts = listed(candidates if candidates is not None else query)
            images = query if candidates is not None else None
        heads = matching.matching_heads(self.module)
        read = partial(self.inputs.pictures, "retrieve")
        if contrast.HEAD not in self.module.heads:
            self._needs("retrieve")
            odds = self._odds("retrieve", read(images, regions), texts, tags)
            order = np.argsort(-odds, kind="stable")[:top]
            return [Retrieved(int(i), float(odds[i])) for i in order]
        pictures = None
        if vectors is None:
            pictures = read(images, regions)
            vectors = self.compute(contrast.image_vector, pictures.fields)
        elif len(vectors) != len(listed(images)):
            counts = f"{len(listed(images))} images and vectors of {len(vectors)}"
            raise ValueError(f"retrieve was given {counts}; expected a vector of each")
        scores = (vectors @ self.encode_text(texts).T).ravel()
        order = np.argsort(-scores, kind="stable")
        if heads and rerank:
            best = order[:rerank]
            if pictures is None:
                pairs = read([listed(images)[i] for i in best]), texts
            else:
                pairs = _picked(best, pictures, texts)
            odds = self._odds("retrieve", *pairs, None)
            order = np.concatenate([best[np.argsort(-odds, kind="stable")], order[rerank:]])
            scores = scores - 2.0  # below every re-scored candidate
            scores[best] = np.asarray(jax.nn.sigmoid(odds))
        return [Retrieved(int(i), float(scores[i])) for i in order[:top]]

    def reason(
        self, images: Any = None, texts: Any = None, *, regions: Any = None, tags: Any = None
    ) -> Any:
        """Returns a `Judgement` of whether a sentence is true of two pictures (NLVR2).

        `images` (or `regions`) are (left, right), each one or a list; lists give a list.
        """
        self._needs("reason")
        pictures = self.inputs.pair("reason", images, regions)
        rules = self.rules.text_of("reason")
        batch = self.inputs.pair_batch("reason", pictures, texts, rules, tags)
        logits = self.compute(decisions.reasoning_logits, batch, rules.task)
        found = []
        for row in logits:
            true = bool(row[1] > row[0])
            chance = float(np.asarray(jax.nn.softmax(row))[int(true)])
            found.append(Judgement(true, chance, tuple(map(float, row))))
        return single(texts, found)

    def entail(self, images: Any = None, texts: Any = None, *, regions: Any = None) -> Any:
        """Returns an `Entailment`: whether a picture entails a sentence (SNLI-VE)."""
        self._needs("entail")
        logits = self._head_logits("entail", decisions.ENTAILMENT, images, texts, regions)
        names, found = self.rules.entailment, []
        for row in np.asarray(jax.nn.softmax(logits)):
            best = int(row.argmax())
            chances = dict(zip(names, map(float, row)))
            found.append(Entailment(names[best], float(row[best]), chances))
        return single(texts, found)

    def ground(
        self,
        images: Any = None,
        texts: Any = None,
        *,
        regions: Any = None,
        phrases: Sequence[str] | None = None,
        candidates: Any = None,
        task: str | None = None,
    ) -> Any:
        """Returns the region that each expression means, as `Grounded`, with its pixel box.

        A model that reads pixels and matches them with texts (ALBEF) is given both: the picture,
        and boxes [N, 4] (x1, y1, x2, y2 in pixels) or regions of it, one or a list. It takes the
        box that holds most of where it looks.

        A model that grounds phrases (VisualBERT on Flickr30k Entities) takes `phrases` of one text
        about one picture, each where it first occurs, and gives a list with one for each; without
        them the text is one phrase.

        With `candidates`, the regions to choose from, given like `regions` and one for each
        picture, these are shown behind the regions, and only they are chosen (Visual7W, GuessWhat).

        A model of several such tasks reads the text as the one that `task` names: 12-in-1's
        "refcoco", which is meant without it, "refcocoplus" and "refcocog"; with `candidates`
        "visual7w" or "guesswhat", of which one has to be named.
        """
        head, asked = self._head_of("ground"), grounding.Asked(images, texts, regions, task)
        if candidates is not None and (self._sees_boxes or self.grounds_phrases):
            raise ValueError("ground: this model scores no regions: give no `candidates`")
        if self.grounds_phrases:
            return grounding.phrase_regions(self, head, asked, phrases)
        if phrases is not None:
            raise ValueError("ground: this model takes a text as one expression: give no `phrases`")
        if self._sees_boxes:
            return grounding.boxes_under_heat(self, asked)
        head = self._needs("ground")
        if candidates is not None:
            return grounding.best_candidates(self, head, asked, candidates)
        return grounding.best_regions(self, head, asked)

    def choose(
        self, images: Any = None, question: str = "", choices: Any = (), *, regions: Any = None
    ) -> Choice:
        """Returns which of the choices answers the question about a picture best (as in VCR)."""
        head = self._needs("choose")
        pictures = self.inputs.pictures("choose", images, regions)
        choices, rules = listed(choices), self.rules.text_of("choose")
        batch = choice_fields(self.inputs, pictures, question, choices, rules)
        scores = self.compute(partial(decisions.last_logit, head=head), batch, rules.task)
        chances, best = np.asarray(jax.nn.softmax(scores)), int(scores.argmax())
        return Choice(best, choices[best], float(chances[best]), tuple(map(float, scores)))

    def caption(
        self,
        images: Any = None,
        *,
        regions: Any = None,
        tags: Any = None,
        constraints: Any = None,
        **search: Any,
    ) -> list[Caption]:
        """Returns a `Caption` of each picture, as `vlp_jax.tasks.search.Search` says.

        `search` are its fields: `max_length` and `min_length` in tokens with both ends (20, or as
        many as the model has positions, and 2), `beams` (1 takes the likeliest word each time),
        `length_penalty`, `top_p` and `seed` for words that are drawn. Trained to do this are models
        with the head "caption", which write from left to right, and OSCAR's captioners, which write
        one word after the other at a [MASK]. `constraints` are up to three lists of words or
        phrases, as [["dog"], ["ball", "balls"]]: a caption holds one of each, if it can be found.
        """
        self.check_verb("caption")
        pictures = self.inputs.pictures("caption", images, regions)
        decoder, fields = self.module.heads.get(decoded_captions.HEAD), pictures.fields
        if decoder is None:
            fields = fields | self._tags_behind(pictures, tags)
            write = partial(written_captions, slots=self.rules.tag_position)
        elif tags is not None:
            raise ValueError("caption: a model that writes from left to right reads no tags")
        else:
            write = decoded_captions.decoded_captions
        positions = self.rules.tag_position if decoder is None else decoder.max_length
        usual = {"max_length": min(Search.max_length, positions)}
        if constraints is not None:
            check_constraints(constraints, "caption")
            rows = len(next(iter(fields.values())))
            wanted = [constraints] * rows, self.tokenizer, len(constraints)
            fields = fields | constraint_fields(*wanted)
        special, looked_for = SpecialIds.of(self.tokenizer), Search(**usual | search)
        made = self.compute(partial(write, search=looked_for, special=special), fields)
        return [
            Caption(self.tokenizer.decode(ids), float(score), tuple(map(int, ids)))
            for ids, score in zip(made.ids, made.scores)
        ]

    def explain(
        self,
        image: Any = None,
        text: str = "",
        *,
        regions: Any = None,
        tags: Any = None,
        method: str = "",
        layer: int | None = None,
    ) -> Explanation:
        """Returns where the model looks for each word of a text, as an `Explanation`.

        `method` is "gradcam" (attention times its positive gradients by the matching logit, as
        ALBEF does), "alignment" (UNITER's optimal transport between words and regions) or
        "attention"; by default the first of these that the model supports. `layer` is that of the
        attention, from 0 among those in which text reads the picture; the middle one by default.
        Beside `regions` the image is only what their boxes are shown on.
        """
        method = looking.chosen_method(self.module, self.rules, method)
        function = looking.looks(self.module, method, coerce(layer, int | None, "layer"))
        pictures, shown = looking.one_picture(self.inputs, image, regions)
        rules, seconds = self.rules.text_of("match"), self.inputs.tags("explain", pictures, tags)
        batch = self.inputs.batch("explain", pictures, text, rules, seconds=seconds)
        words = looking.words_of(self.inputs, text, rules, batch)
        (maps,) = self.compute(function, batch, rules.task)
        words, maps = word_maps.by_word(maps, words)
        chance = None
        if matching.matching_heads(self.module):
            chance = float(jax.nn.sigmoid(self._odds("match", pictures, text, tags))[0])
        where = looking.placed(maps, pictures, shown, self.rules)
        return Explanation(words, method, shown, probability=chance, **where)

    def apply(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Returns every output of the model on a batch of arrays (see docs/data.md) as a dict.

        ValueError for a field that is missing, for words, types and alignments that the model has
        no row for, for boxes in pixels and for numbers that are not finite.
        """
        check_given(batch, (*self.module.vision.reads, CAPTION.ids, CAPTION.mask))
        check_indices(batch, self.module.table_sizes())
        check_numbers(batch)
        arrays = {name: jnp.asarray(value) for name, value in batch.items()}
        return self.module.apply({"params": self.params}, arrays)

    @property
    def has_matching_head(self) -> bool:
        """Whether it can tell of a picture and a text together if they match."""
        return bool(matching.matching_heads(self.module))

    def _odds(self, verb: str, pictures: Pictures, texts: Any, tags: Any) -> np.ndarray:
        """Returns the log odds [N] that each text belongs to its picture."""
        head, *_ = matching.matching_heads(self.module)
        function = matching.match_log_odds
        if head != matching.HEAD:
            function = partial(decisions.last_logit, head=head)
        rules, seconds = self.rules.text_of(verb), self.inputs.tags(verb, pictures, tags)
        batch = self.inputs.batch(verb, pictures, texts, rules, seconds=seconds)
        return self.compute(function, batch, rules.task)

    def _head_logits(
        self, verb: str, head: str, images: Any, texts: Any, regions: Any
    ) -> np.ndarray:
        pictures, rules = self.inputs.pictures(verb, images, regions), self.rules.text_of(verb)
        batch = self.inputs.batch(verb, pictures, texts, rules)
        return self.compute(partial(decisions.head_logits, head=head), batch, rules.task)

    def _written(self, task: WrittenAnswerTask, batch: dict[str, np.ndarray]) -> list[list[Answer]]:
        search = Search(max_length=task.answer_length, length_penalty=0.0)
        write = partial(spelled_answers, search=search, special=SpecialIds.of(self.tokenizer))
        made = self.compute(write, batch)
        texts = map(self.tokenizer.decode, made.ids)
        return [[Answer(text, float(np.exp(x)), float(x))] for text, x in zip(texts, made.scores)]

    def _tags_behind(self, pictures: Pictures, tags: Any) -> dict[str, np.ndarray]:
        words = self.inputs.tags("caption", pictures, tags) or [""] * len(pictures)
        rules = self.rules.text_of("caption")
        return caption_fields(words, self.tokenizer, rules, self.rules.tag_position)

    def _answering(self, head: str | None, ranked: int) -> QuestionTask:
        """Returns the task that answers questions, as the run has it or with its defaults."""
        known = [task for task in self._tasks.values() if isinstance(task, QuestionTask)]
        usual = [*known, WrittenAnswerTask(), AnswerTask()]
        if head is not None:
            own = [task for task in known if task.head == head]
            usual = own or ([AnswerTask(head=head)] if head != WrittenAnswerTask.head else usual)
        for task in usual:
            if task.head in self.module.heads and self._gives_answers(task):
                written = isinstance(task, WrittenAnswerTask)
                return dataclasses.replace(task, ranked=ranked) if written else task
        self._needs("answer", head or AnswerTask.head)

    @cached_property
    def _tasks(self) -> dict[str, Any]:
        return build_tasks(self.config) if self.config.tasks else {}

    def _rules_of_run(self) -> InputRules:
        """Returns how a run's model reads its inputs: as its config says."""
        data = self.config.data
        text = TextRules(data.text_style, data.max_words, data.text_length, data.add_sep)
        # An old run's text encoder may be shorter than the default.
        usual = min(AnswerTask.question_length, self.module.text.max_length)
        rules = InputRules(
            text,
            {"answer": dataclasses.replace(text, length=usual)},
            Rules(max_boxes=data.regions),
            global_region=data.global_region,
            tags=data.tags,
        )
        for name, task in reversed(self._tasks.items()):  # of several that ask, the first counts
            rules = task.rules_of_sources(rules, data, name)
        return rules

    def _gives_answers(self, task: QuestionTask) -> bool:
        """Whether the head of a task writes answers or has classes, unlike that of matching."""
        written = isinstance(task, WrittenAnswerTask)
        return written or self.module.heads[task.head].size_of("class") > 0

    def _texts_of(self, verb: str, head: str, task: int | str | None) -> TextRules:
        if isinstance(task, str):
            return self.rules.text_of_task(head, task)
        rules, rows = self.rules.text_of(verb, head), getattr(self.module.text, "tasks", 0)
        if task is None:
            return rules
        if not rows:
            raise ValueError(f"task is {task!r}, and this model has no table of tasks: give none")
        row = coerce(task, Annotated[int, Range(0, rows - 1)], "task")
        return dataclasses.replace(rules, task=row)

    def check_verb(self, verb: str) -> None:
        """Raises ValueError if the model can't do what a verb asks, whatever it would be given."""
        if verb == "answer":
            asked = self._answering(None, 1)
            self._check_answers(asked.head, self._words_of(asked).answers)
            return
        if verb == "explain":
            looking.chosen_method(self.module, self.rules, "")
            return
        masked = masked_text.HEAD in self.module.heads
        if verb == "caption" and masked and not self._head_of(verb):
            raise ValueError(
                "caption: this model was not trained to write; OSCAR's captioners are "
                '(such as "oscar_caption"), and runs with the task "captioning_generative"'
            )
        self._needs(verb)

    def check_answers(self) -> None:
        """Raises ValueError if the list of answers fits none of the heads."""
        self._check_fit(
            self.answers, [name for name in self.module.heads if name in _HEADS["answer"]]
        )

    def _check_fit(self, answers: Sequence[str], heads: Sequence[str]) -> None:
        classes = {name: self.module.heads[name].size_of("class") for name in heads}
        classes = {name: size for name, size in classes.items() if size}
        if classes and len(answers) not in classes.values():
            known = " and ".join(f'"{name}" knows {size}' for name, size in classes.items())
            raise ValueError(
                f"the list given to `load` has {len(answers)} answers, and the head {known}: "
                "it is of another model"
            )

    def _check_answers(self, head: str, answers: Sequence[str]) -> None:
        if not answers:
            raise ValueError("this model came without its list of answers: give `load` those")
        self._check_fit(answers, [head])

    def _words_of(self, task: QuestionTask) -> Vocabulary:
        """Returns the vocabulary with the answers that a task knows."""
        data = self.config.data
        return self.vocabulary.of_list(data.own(task.home(data)).answers)

    def _head_of(self, verb: str) -> str | None:
        """Returns the first head that the model has of those that a verb reads, None without."""
        others = {
            "ground": (matching.HEAD,) if self._sees_boxes else (),
            # Without tags it fills in masked words, and was not trained to write.
            "caption": (masked_text.HEAD,) if self.rules.tags else (),
        }
        return decisions.first_head(self.module, (*_HEADS[verb], *others.get(verb, ())))

    @property
    def grounds_phrases(self) -> bool:
        """Whether `ground` takes phrases of a text."""
        return grounds_phrases(self.module, self._head_of("ground"))

    @property
    def _sees_boxes(self) -> bool:
        """Whether it grounds a text by looking for it in pixels."""
        return matching.HEAD in self.module.heads and not self.inputs.reads_regions

    def _needs(self, verb: str, head: str = "") -> str:
        """Returns the head that a verb reads; without it, a ValueError says what fits the model."""
        found = None if head else self._head_of(verb)
        if found is None:
            fits = f"; use {', '.join(self.verbs)}" if self.verbs else ""
            raise ValueError(
                f'{verb} needs the head "{head or _HEADS[verb][-1]}", which this model has not '
                f"been trained with; it has {', '.join(self.module.heads) or 'none'}{fits}"
            )
        return found


def _best(answers: Sequence[str], logits: np.ndarray, top: int) -> list[Answer]:
    chances = np.asarray(jax.nn.softmax(logits))
    order = np.argsort(-logits, kind="stable")[:top]
    return [Answer(answers[i], float(chances[i]), float(logits[i])) for i in order]


def _picked(rows: np.ndarray, pictures: Pictures, texts: list[str]) -> tuple[Pictures, list[str]]:
    """Returns the candidates in the given rows; one of either stays as it is."""
    if len(pictures) > 1:
        fields = {name: x[rows] for name, x in pictures.fields.items()}
        pictures = Pictures(fields, tuple(pictures.regions[i] for i in rows if pictures.regions))
    return pictures, [texts[i] for i in rows] if len(texts) > 1 else texts
