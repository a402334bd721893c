"""The presets whose verbs are compared with their programs, and how both are called."""

from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from tests.inference.published import random_regions
from vlp_jax.inference import Model
from vlp_jax.inference.compute import Compute
from vlp_jax.inference.programs import programs_of

CASES = (
    ("albef_retrieval", "encode_image"), ("albef_retrieval", "encode_text"),
    ("albef_retrieval", "match"), ("uniter", "match"), ("vilbert_beta_retrieval", "match"),
    ("oscar_retrieval", "match"), ("uniter_vqa", "answer"), ("lxmert_vqa", "answer"),
    ("visualbert_vqa", "answer"), ("oscar_vqa", "answer"), ("vilbert_12in1", "answer"),
    ("albef_vqa", "answer"), ("uniter_nlvr2", "reason"), ("lxmert_nlvr2", "reason"),
    ("visualbert_nlvr2", "reason"), ("oscar_nlvr2", "reason"), ("vilbert_12in1", "reason"),
    ("albef_nlvr2", "reason"), ("uniter_ve", "entail"), ("albef_ve", "entail"),
    ("uniter_re", "ground"), ("vilbert_beta_grounding", "ground"), ("uniter_vcr", "choose"),
    ("visualbert_vcr", "choose"), ("vilbert_beta_vcr", "choose"), ("oscar_caption", "caption"),
)  # fmt: skip
TEXTS = ["a dog", "What is the red cat on a bed?", "two dogs"]


class Spy:
    """Computes as a model does, and keeps the batches."""

    def __init__(self, compute: Compute):
        self._compute, self.batches = compute, []

    def __call__(self, function: Any, batch: dict, task: int | None = None) -> Any:
        self.batches.append(batch)
        return self._compute(function, batch, task)


def shown(model: Model, count: int) -> dict[str, list]:
    """Returns that many different pictures as a verb takes them."""
    if model.inputs.reads_regions:
        return {"regions": [random_regions(9 + i, seed=i) for i in range(count)]}
    size = (count, model.inputs.size, model.inputs.size, 3)
    return {"images": list(np.random.default_rng(count).integers(0, 256, size, dtype=np.uint8))}


def asked(model: Model, verb: str, count: int) -> tuple[dict, dict[str, np.ndarray]]:
    """Returns the batch of `count` rows that a verb makes, and what it gives for it."""
    spy = model.compute = Spy(model.compute)
    try:
        found = _call(model, verb, count)
    finally:
        model.compute = spy._compute
    return spy.batches[0], found


def _call(model: Model, verb: str, count: int) -> dict[str, np.ndarray]:
    pictures, texts = shown(model, count), TEXTS[:count]
    if verb == "encode_image":
        return {"vector": model.encode_image(**pictures)}
    if verb == "encode_text":
        return {"vector": model.encode_text(texts)}
    if verb == "match":
        return {"probability": model.match(texts=texts, **pictures)}
    if verb == "answer":
        return _answers(model, model.answer(questions=texts, top=9, **pictures))
    if verb == "reason":
        both = {kind: (given, given[::-1]) for kind, given in pictures.items()}
        words = {"tags": (["dog"] * count, ["cat"] * count)} if model.rules.tags else {}
        found = model.reason(texts=texts, **both, **words)
        return {"score": np.array([x.scores for x in found])}
    if verb == "entail":
        found = model.entail(texts=texts, **pictures)
        return {"probability": np.array([list(x.probabilities.values()) for x in found])}
    if verb == "ground":
        found = [np.array(x.scores) for x in model.ground(texts=texts, **pictures)]
        return {"score": found}
    if verb == "choose":
        one = {kind: given[0] for kind, given in pictures.items()}
        found = model.choose(question="What is it?", choices=texts, **one)
        return {"score": np.array(found.scores)}
    found = model.caption(**pictures)
    return {"ids": np.array([x.ids for x in found]), "score": np.array([x.score for x in found])}


def _answers(model: Model, found: list) -> dict[str, np.ndarray]:
    by_text = [{a.text: a for a in row} for row in found]
    of = lambda name: [[getattr(row[text], name) for text in model.answers] for row in by_text]
    return {"score": np.array(of("score")), "probability": np.array(of("probability"))}


def check_program(model: Model, verb: str) -> None:
    """The exported program of a verb gives what the verb does, for batches of two sizes."""
    files = programs_of(model, [verb])
    program = jax.export.deserialize(bytearray(files[f"{verb}.stablehlo"]))
    inputs = files["programs.json"]["verbs"][verb]["inputs"]
    for count in (2, 3):
        batch, expected = asked(model, verb, count)
        found = program.call(flatten_dict(model.params, sep="/"), padded(batch, inputs))
        found = {name: np.asarray(x) for name, x in found.items()}
        assert found and max(differences(found, expected).values()) < 1e-5


def padded(batch: dict, inputs: dict) -> dict[str, np.ndarray]:
    """Returns a batch in the shapes that a program takes, filled with zeros."""
    return {name: _padded(x, inputs[name]["shape"]) for name, x in batch.items()}


def _padded(x: np.ndarray, shape: list) -> np.ndarray:
    return np.pad(x, [(0, 0), *((0, b - a) for a, b in zip(x.shape[1:], shape[1:]))])


def differences(found: dict, expected: dict) -> dict[str, float]:
    """Returns the largest difference of each output of a verb; its rows may differ in length."""
    return {
        name: max(_difference(row, found[name][i][: len(row)]) for i, row in enumerate(rows))
        if isinstance(rows, list)
        else _difference(rows, found[name])
        for name, rows in expected.items()
    }


def _difference(first: Any, second: Any) -> float:
    np.testing.assert_array_equal(np.isneginf(first), np.isneginf(second))  # answers not ranked
    return float(np.max(np.abs(np.where(np.isneginf(first), 0, first - np.asarray(second)))))
