"""Bundles of fine-tuned models give the original's answers through verbs, from words on.

Their texts are written out of a vocabulary made for it; their pictures are arrays, which are put in
the place of what a picture becomes. Models that have a bundle of verbs, from pictures on, are
compared there (tests/verify/test_verb_cases.py).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlp_jax
from vlp_jax.data.regions import Regions
from vlp_jax.inference import (
    Model,
    reference_verbs,  # noqa: F401  (registers its kinds)
)
from vlp_jax.inference.inputs import Inputs, Pictures
from vlp_jax.model import CAPTION
from vlp_jax.verify import RUNNERS, read_bundle
from vlp_jax.verify.bundle import VERBS, Bundle
from vlp_jax.weights.zoo import find

GOLDENS = Path(__file__).parents[1] / "goldens"
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]  # ids 0 to 3 in all bundles
SEP, COUNT = 2, 101
ANSWERING = ("vil_prediction_gqa", "vil_prediction")  # the first that a bundle has is asked for


Found = dict[str, Any]
"""Name of an output -> its rows, in order or by their numbers."""


class GivenPictures(Inputs):
    """Inputs of a model whose pictures are `Pictures` already."""

    def pictures(self, verb: str, images, regions=None) -> Pictures:
        return images if regions is None else regions

    def pair(self, verb: str, images, regions=None) -> Pictures:
        return images if regions is None else regions

    def pair_batch(self, verb, pictures, texts, rules, tags=None) -> dict[str, np.ndarray]:
        """The bundle's two rows of a pair have texts of their own."""
        made = self.encoder.fields(list(texts), rules, CAPTION, list(tags), self.rules.cut)
        return pictures.fields | {name: x[None] for name, x in made.items()}


def loaded(bundle: Bundle, folder: Path, task: str) -> Model:
    """The bundle's model as `load` gives it; the word of an id is "w" and the number."""
    words = [f"w{i}" for i in range(len(SPECIAL), COUNT)]
    used = set(bundle.input("input_ids").ravel().tolist())
    words[next(i for i in range(4, COUNT) if i not in used) - 4] = "[UNK]"
    words += [f"w{i}" for i in range(COUNT, bundle.config.get("vocab_size", COUNT))]
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words]))
    name = find(bundle.field("model"), task).name
    options = dict(sizes=bundle.config, tokenizer=folder / "vocab.txt")
    logits = [bundle.expected[n] for n in ANSWERING if n in bundle.expected]
    answers = [f"answer {i}" for i in range(logits[0].shape[1])] if logits else ()
    return vlp_jax.load(name, bundle.checkpoint, answers=answers, **options)


def with_given_pictures(model: Model) -> Model:
    fields = {f.name: getattr(model.inputs, f.name) for f in dataclasses.fields(Inputs)}
    model.inputs = GivenPictures(**fields)
    return model


def parts(ids: np.ndarray) -> list[str]:
    """The texts between [CLS] and the [SEP]s of a row."""
    said = " ".join("[SEP]" if i == SEP else f"w{i}" for i in np.trim_zeros(ids, "b")[1:])
    *ended, rest = said.split("[SEP]")
    return [part.strip() for part in ended or [rest]]


def entailed(model: Model, bundle: Bundle) -> Found:
    pixels = np.moveaxis(bundle.input("image"), -3, -1)
    found = with_given_pictures(model).entail(
        Pictures({"image": pixels}), [parts(row)[0] for row in bundle.input("input_ids")]
    )
    return {"logits": np.log([list(x.probabilities.values()) for x in found])}


def reasoned_with_tags(model: Model, bundle: Bundle) -> Found:
    model, scores = with_given_pictures(model), {}
    masks = bundle.mask("attention_mask")
    for row, ids in enumerate(bundle.input("input_ids")):
        given = bundle.input("img_feats")[row, None]
        texts, tags = zip(*map(parts, ids))
        if not all(tags):
            continue  # two [SEP] with nothing between them, which comes of no text
        fields = {
            "region_features": given[..., :-6],
            "region_boxes": given[..., -6:],
            "region_mask": np.asarray(masks[row, None, :, ids.shape[1] :]),
        }
        (found,) = model.reason(regions=Pictures(fields), texts=texts, tags=tags)
        scores[row] = found.scores
    return {"logits": scores}


def reasoned_over_joined(model: Model, bundle: Bundle) -> Found:
    """Left and right are told apart by type alone, in whatever order they come."""
    scores = []
    for row, ids in enumerate(bundle.input("input_ids")):
        real = np.asarray(bundle.mask("image_mask"))[row]
        features = bundle.input("visual_embeddings")[row, real]
        types = bundle.input("visual_embeddings_type")[row, real]
        sides = tuple(_boxless(features[types == side]) for side in (0, 1))
        scores.append(model.reason(regions=sides, texts=parts(ids)[0]).scores)
    return {"logits": np.array(scores)}


def _boxless(features: np.ndarray) -> Regions:
    """Regions for a model that reads no boxes."""
    return Regions(features, np.tile(np.float32([0, 0, 9, 9]), (len(features), 1)), 9, 9)


def chosen(model: Model, bundle: Bundle) -> Found:
    """Each choice has a question and aligned regions of its own, so each is asked for alone."""
    model, scores = with_given_pictures(model), []
    for row, ids in enumerate(bundle.input("input_ids")):
        questions, choices = zip(*map(parts, ids))
        for k in range(len(choices)):
            fields = {
                "region_features": bundle.input("visual_embeddings")[row, k, None],
                "region_mask": np.asarray(bundle.mask("image_mask"))[row, k, None],
                "region_alignment": bundle.input("image_text_alignment")[row, k, None],
            }
            found = model.choose(
                question=questions[k], choices=list(choices), regions=Pictures(fields)
            )
            scores.append(found.scores[k])
    return {"logits": np.reshape(scores, (-1, len(choices)))}


def every_verb_of_vilbert(model: Model, bundle: Bundle) -> Found:
    """Answers, entailment, odds and regions; rows of the table of tasks as the bundle has them."""
    model, made = with_given_pictures(model), []
    rules, tasks = model.rules, bundle.inputs.get("task_ids")
    for row, ids in enumerate(bundle.input("input_ids")[:2]):  # each task compiles all anew
        if tasks is not None:
            of_row = partial(dataclasses.replace, task=int(tasks[row, 0]))
            texts = {key: of_row(known) for key, known in rules.texts.items()}
            model.rules = dataclasses.replace(rules, text=of_row(rules.text), texts=texts)
        made.append(_verbs_of_vilbert(model, _vilbert_picture(bundle, row), parts(ids)[0]))
    return {name: [x[name] for x in made] for name in made[0]}


def _vilbert_picture(bundle: Bundle, row: int) -> Pictures:
    boxes = bundle.input("spatials")[row, None]
    mask = np.asarray(bundle.mask("image_mask"))[row, None]
    fields = {"region_features": bundle.input("features")[row, None], "region_boxes": boxes}
    shown = boxes[0, mask[0]][1:, :4]  # behind the one of the whole picture
    regions = Regions(np.zeros((len(shown), 1), np.float32), shown * 100, 100, 100)
    return Pictures(fields | {"region_mask": mask}, (regions,))


def _verbs_of_vilbert(model: Model, picture: Pictures, text: str) -> Found:
    head = "gqa" if "gqa" in model.module.heads else "vqa"
    found = model.answer(regions=picture, questions=text, head=head, top=99)
    scores = {answer.text: answer.score for answer in found}
    grounded = model.ground(regions=picture, texts=text)
    best = len(grounded.scores) - 1 if grounded.region < 0 else grounded.region
    made = {
        "vil_prediction_gqa" if head == "gqa" else "vil_prediction": [
            scores[answer] for answer in model.answers
        ],
        "vision_logit": np.array(grounded.scores)[:, None],
        "vil_logit": model.match_odds(regions=picture, texts=text),
    }
    assert best == grounded.region or grounded.scores[0] == max(grounded.scores)
    if "ve" in model.module.heads:
        entailed = model.entail(regions=picture, texts=text).probabilities
        made["vil_tri_prediction"] = np.log(list(entailed.values()))
    return made


BY_VERB: dict[str, tuple[str, Callable]] = {
    "albef/ve": ("albef-ve-a", entailed),
    "oscar/nlvr2": ("oscar-nlvr2-a", reasoned_with_tags),
    "visualbert/nlvr2": ("visualbert-nlvr2-a", reasoned_over_joined),
    "visualbert/vcr": ("visualbert-vcr-a", chosen),
    "vilbert/12in1": ("vilbert-12in1-a", every_verb_of_vilbert),
    "vilbert/vl": ("vilbert-beta-vl-a", every_verb_of_vilbert),
}
FROM_PICTURES = {"uniter/itm": "uniter/retrieval"}  # what its bundle of verbs is called
LOGARITHMS = ("albef/ve", "vil_tri_prediction")  # of probabilities: but for a constant


@pytest.mark.drawn(2)
@pytest.mark.slow
@pytest.mark.parametrize("kind", BY_VERB)
def test_the_verb_gives_the_originals_numbers(kind, tmp_path):
    folder, ask = BY_VERB[kind]
    bundle = read_bundle(GOLDENS / folder)
    made = ask(loaded(bundle, tmp_path, bundle.field("task")), bundle)
    for name, rows in made.items():
        for row, found in rows.items() if isinstance(rows, dict) else enumerate(rows):
            expected = bundle.expected[name][row][: len(found)]
            if name in LOGARITHMS or kind in LOGARITHMS:
                expected = np.asarray(expected) - np.log(np.exp(expected).sum())
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=3e-5, err_msg=name)


def test_every_finetuned_bundle_has_a_verb_that_is_compared():
    kinds = {read_bundle(path).kind for path in GOLDENS.iterdir() if path.is_dir()}
    others = ("pretrain", "interp", "training_step", "losses", "official")
    tuned = {k for k in kinds if not k.startswith("detector") and not k.endswith(others)}
    by_pictures = {kind for kind in tuned if f"{VERBS}/{FROM_PICTURES.get(kind, kind)}" in RUNNERS}
    assert by_pictures and tuned == by_pictures | BY_VERB.keys()
