"""What a text means in a picture: a region, a box to choose from, or where a model looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from vlp_jax.data.images import decode
from vlp_jax.data.input_rules import TextRules
from vlp_jax.data.regions import Regions
from vlp_jax.inference.images import listed
from vlp_jax.inference.inputs import Pictures
from vlp_jax.inference.proposals import proposed_boxes, under_heat
from vlp_jax.inference.region_inputs import as_regions, padded_slots, pixel_box, region_fields
from vlp_jax.inference.results import Grounded, single
from vlp_jax.model import CAPTION
from vlp_jax.tasks import decisions
from vlp_jax.tasks.grounding import expression_heat
from vlp_jax.tasks.phrase_grounding import POSITIONS, phrase_logits, positions_of
from vlp_jax.tasks.pointing import MASK, behind, candidate_logits

if TYPE_CHECKING:
    from vlp_jax.inference.model import Model


@dataclass(frozen=True)
class Asked:
    """What `Model.ground` is asked: pictures, or their regions, texts, and the task by its name."""

    images: Any
    texts: Any
    regions: Any
    task: str | None

    def rules(self, model: Model, verb: str = "ground") -> TextRules:
        """Returns how the model reads the texts."""
        if self.task is None:
            return model.rules.text_of(verb)
        return model.rules.text_of_task(verb, self.task)


def best_regions(model: Model, head: str, asked: Asked) -> Any:
    """Returns the region of its picture that a head scores highest for each text."""
    rules = asked.rules(model)
    pictures = model.inputs.pictures("ground", asked.images, asked.regions)
    batch = model.inputs.batch("ground", pictures, asked.texts, rules)
    scores = model.compute(partial(decisions.head_logits, head=head), batch, rules.task)
    shown = pictures.regions * (len(scores) // len(pictures))
    return single(asked.texts, [_grounded(model, *pair) for pair in zip(scores, shown)])


def best_candidates(model: Model, head: str, asked: Asked, candidates: Any) -> Any:
    """Returns the candidate of its picture that a head scores highest for each text.

    ValueError unless there are candidates for each picture, and where the task has to be named.
    """
    known = model.rules.tasks.get("point", {})
    if asked.task is None and len(set(known.values())) > 1:
        raise ValueError(
            f"ground: this model chooses among candidates in several tasks, {', '.join(known)}: "
            f"name one, as in task={next(iter(known))!r}"
        )
    rules = asked.rules(model, "point")
    pictures = model.inputs.pictures("ground", asked.images, asked.regions)
    given = as_regions(candidates, "candidates")
    if len(given) != len(pictures):
        raise ValueError(
            f"ground was given {len(pictures)} pictures and candidates of {len(given)}; expected "
            "some for each"
        )
    pictures = _with_candidates(model, pictures, given)
    batch = model.inputs.batch("ground", pictures, asked.texts, rules)
    scores = model.compute(partial(candidate_logits, head=head), batch, rules.task)
    shown = given * (len(scores) // len(given))
    found = [_best_of(row[: len(one)], one, 0) for row, one in zip(scores, shown)]
    return single(asked.texts, found)


def _with_candidates(model: Model, pictures: Pictures, given: Sequence[Regions]) -> Pictures:
    """Returns the pictures with candidates behind the regions of each."""
    width, slots = model.module.vision.feature_width, padded_slots(given)
    rows = []
    for number, one in enumerate(given):
        shown = {name: values[number] for name, values in pictures.fields.items()}
        further = {n: x[0, : len(one)] for n, x in region_fields([one], False, width).items()}
        rows.append(behind(shown, further, slots) | {MASK: np.arange(slots) < len(one)})
    return pictures.with_fields(**{name: np.stack([row[name] for row in rows]) for name in rows[0]})


def boxes_under_heat(model: Model, asked: Asked) -> Any:
    """Returns the box of its picture that holds most of where a model looks for each text."""
    given = enumerate(() if asked.images is None else listed(asked.images))
    shown = [decode(image, f"image {i}") for i, image in given]
    pictures = model.inputs.pictures("ground", shown or None)
    boxes, rules = proposed_boxes(asked.regions, shown), asked.rules(model)
    batch = model.inputs.batch("ground", pictures, asked.texts, rules)
    heat = model.compute(expression_heat, batch, rules.task)
    times = len(heat) // len(shown)
    found = [under_heat(*one) for one in zip(heat, boxes * times, shown * times)]
    return single(asked.texts, found)


def phrase_regions(model: Model, head: str, asked: Asked, phrases: Sequence[str] | None) -> Any:
    """Returns the region that each phrase of a text means; without phrases, each text."""
    pictures = model.inputs.pictures("ground", asked.images, asked.regions)
    if phrases is not None:
        phrases = listed(phrases)
        if not (isinstance(asked.texts, str) and len(pictures) == 1):
            raise ValueError("ground: `phrases` are of one text about one picture")
        if not all(isinstance(phrase, str) for phrase in phrases):
            raise ValueError(f"ground: phrases are {phrases!r:.200}, expected texts")
    rules = asked.rules(model)
    batch = model.inputs.batch("ground", pictures, asked.texts, rules)
    cleaned = model.inputs.encoder.cleaned(listed(asked.texts), rules)
    encoder, rows = rules.encoder(model.tokenizer), batch[CAPTION.ids]
    shown = zip(rows, cleaned * (len(rows) // len(cleaned)))
    places = np.stack([positions_of(encoder, ids, text, phrases) for ids, text in shown])
    score = partial(phrase_logits, head=head)
    scores = model.compute(score, batch | {POSITIONS: places}, rules.task)
    which = pictures.regions * (len(scores) // len(pictures))
    found = [_grounded(model, x, one) for each, one in zip(scores, which) for x in each]
    return found if phrases is not None else single(asked.texts, found)


def _grounded(model: Model, scores: np.ndarray, regions: Regions) -> Grounded:
    first = int(model.rules.global_region)
    return _best_of(scores[: len(regions) + first], regions, first)


def _best_of(scores: np.ndarray, regions: Regions, first: int) -> Grounded:
    """Returns the best of some regions; those before `first` are the whole picture."""
    best = int(scores.argmax())
    whole = (0.0, 0.0, float(regions.width), float(regions.height))
    box = whole if best < first else pixel_box(regions, best - first)
    chance = float(np.asarray(jax.nn.softmax(scores))[best])
    return Grounded(best - first, box, chance, tuple(map(float, scores)))
