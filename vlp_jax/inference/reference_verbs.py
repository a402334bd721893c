"""Bundles of verbs: from raw texts, pictures and detector rows to answers, as a user gets them."""

import hashlib
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.data.regions import open_regions
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.encoders.regions import encode_boxes
from vlp_jax.inference.images import image_batch
from vlp_jax.inference.inputs import tag_text
from vlp_jax.inference.load import load
from vlp_jax.inference.model import Model
from vlp_jax.model import CAPTION
from vlp_jax.tasks.questions import answer_pieces
from vlp_jax.tasks.writing import caption_fields
from vlp_jax.verify.bundle import VERBS, Bundle
from vlp_jax.verify.runner import RUNNERS
from vlp_jax.verify.verb_cases import worded
from vlp_jax.weights.zoo import find

Outputs = dict[str, Any]

# The pictures and detector rows that all of these bundles share, from the bundle's folder.
_PICTURES = Path("../../data/coco_regions")
_FEATURES = "train2014_obj36.tsv"
# Task of a bundle -> that of the preset.
_TASKS = {"12in1-vqa": "12in1", "retrieval": "itm"}


class Reference:
    """A bundle's model as `load` gives it, and its pictures as the verbs take them."""

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.cases: Mapping[str, Any] = bundle.input("cases")
        family, task = bundle.field("family"), bundle.field("task")
        task = _TASKS.get(task, task) if family != "albef" else task
        self.model: Model = load(
            find(family, task if family != "oscar" else bundle.field("task")).name,
            bundle.checkpoint,
            sizes=bundle.config,
            answers=self.cases.get("answers", ()),
        )

    def shown(self, key: str) -> dict[str, Any]:
        """Returns the arguments of a verb that show it a picture."""
        if "pictures" in self.cases:
            return {"images": self.folder / self.cases["pictures"][key]["file"]}
        return {"regions": self.regions[key]}

    def both(self, keys: list[str]) -> dict[str, Any]:
        """Returns the arguments that show a verb two pictures."""
        shown = [self.shown(key) for key in keys]
        return {name: tuple(x[name] for x in shown) for name in shown[0]}

    @property
    def folder(self) -> Path:
        """The folder of the pictures; FileNotFoundError if it is not there."""
        folder = self.bundle.path.resolve() / _PICTURES
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} does not exist; these bundles need its pictures")
        return folder

    @cached_property
    def regions(self) -> dict[str, Any]:
        """The regions of each picture, for UNITER read from files in half precision."""
        store = open_regions("lxmert_tsv", str(self.folder / _FEATURES))
        found = {key: store[key] for key in self.cases["regions"]}
        return _as_uniter_files(found) if self.bundle.field("family") == "uniter" else found

    def encoder(self, verb: str) -> TextEncoder:
        """Returns how the model reads the texts of a verb."""
        return self.model.rules.text_of(verb).encoder(self.model.tokenizer)


def _as_uniter_files(pictures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns regions as UNITER's extractor writes and its reader reads them (`data/data.py`)."""
    with tempfile.TemporaryDirectory() as folder:
        for key, r in pictures.items():
            scale = np.array([r.width, r.height] * 2, np.float32)
            unit = r.boxes / scale
            boxes = np.concatenate([unit, unit[:, 2:] - unit[:, :2]], axis=1)
            np.savez(
                Path(folder) / f"{key}.npz",
                features=r.features.astype(np.float16),
                norm_bb=boxes.astype(np.float16),
                conf=r.confidence.astype(np.float16),
                image_w=r.width,
                image_h=r.height,
            )
        store = open_regions("npz", folder)
        return {key: store[f"{key}.npz"] for key in pictures}


def answers(bundle: Bundle) -> Outputs:
    """VQA: tokens, regions, every logit, the answer and the order of the best."""
    reference = Reference(bundle)
    model, made = reference.model, _inputs(reference, "answer", "question")
    for i, case in enumerate(reference.cases["cases"]):
        shown = reference.shown(case["picture"])
        if "tags" in case:
            shown["tags"] = case["tags"]
        ask = lambda shown=shown, case=case, **options: model.answer(
            questions=case["question"], top=len(model.answers), **shown, **options
        )
        for k in case.get("ranking", ()):
            found = [a for a in ask(ranked=int(k)) if a.probability > 0]
            made[f"case{i}/ranking{k}/answers"] = np.array([a.text for a in found[:5]])
            chances = np.log([a.probability for a in found])
            made[f"case{i}/ranking{k}/log_probability"] = chances
        found = ask()
        made[f"case{i}/answer"] = np.asarray(found[0].text)
        made[f"case{i}/logits"] = _logits(model, found)
        if "best" in case:
            count = len(bundle.expected[f"case{i}/best"])
            made[f"case{i}/best"] = np.array([a.text for a in found[:count]])
        if "logits_with_task_id_2" in case:
            made[f"case{i}/logits_with_task_id_2"] = _logits(model, ask(task=2))
    if "answer_input_ids" in reference.cases:
        spelt = [answer_pieces(model.tokenizer, answer) for answer in model.answers]
        made["answer_input_ids"] = np.concatenate(spelt)
    return made


def _logits(model: Model, found: list) -> np.ndarray:
    scores = {answer.text: answer.score for answer in found}
    return np.array([scores[text] for text in model.answers])


def reasoning(bundle: Bundle) -> Outputs:
    """NLVR2: tokens, regions, logits of both orders of the pictures, and the decision."""
    reference = Reference(bundle)
    made = _inputs(reference, "reason", "text")
    for i, case in enumerate(reference.cases["cases"]):
        for name, keys in (
            ("logits", case["pictures"]),
            ("logits_with_the_pictures_swapped", case["pictures"][::-1]),
        ):
            found = reference.model.reason(texts=case["text"], **reference.both(keys))
            made[f"case{i}/{name}"] = np.array(found.scores)
            if name == "logits":
                chances = [1 - found.probability, found.probability]
                made[f"case{i}/probabilities"] = np.array(chances[:: 1 if found.true else -1])
                made[f"case{i}/answer"] = np.asarray(found.true)
    return made


def expressions(bundle: Bundle) -> Outputs:
    """Referring expressions: the score of every region, the winner and its pixel box."""
    reference = Reference(bundle)
    made = _inputs(reference, "ground", "text")
    for i, case in enumerate(reference.cases["cases"]):
        found = reference.model.ground(texts=case["text"], **reference.shown(case["picture"]))
        x1, y1, x2, y2 = found.box
        made[f"case{i}/scores"] = np.array(found.scores)
        made[f"case{i}/best_region"] = np.asarray(found.region)
        made[f"case{i}/box"] = np.array([x1, y1, x2 - x1, y2 - y1])
    return made


def retrieval_by_regions(bundle: Bundle) -> Outputs:
    """UNITER: the score of every pair, and both orders."""
    reference = Reference(bundle)
    model, made = reference.model, _inputs(reference, "retrieve", "text")
    pictures = [reference.regions[key] for key in reference.cases["picture_order"]]
    texts = [text["text"] for text in reference.cases["texts"]]
    by_text = [model.retrieve(text, regions=pictures, top=len(pictures)) for text in texts]
    by_picture = [model.retrieve(texts, regions=p, top=len(texts)) for p in pictures]
    return made | {
        "rank_scores_text_by_picture": np.array([_scores(found) for found in by_text]),
        "pictures_of_each_text": _order(by_text),
        "texts_of_each_picture": _order(by_picture),
    }


def retrieval_by_pixels(bundle: Bundle) -> Outputs:
    """ALBEF: vectors, both kinds of scores, and both orders by each."""
    reference = Reference(bundle)
    model, made = reference.model, _inputs(reference, "retrieve", "text")
    keys, count = reference.cases["picture_order"], bundle.field("k_test")
    images = [reference.shown(key)["images"] for key in keys]
    texts = [text["text"] for text in reference.cases["texts"]]
    vectors = model.encode_image(images), model.encode_text(texts)
    similarity = vectors[0] @ vectors[1].T
    made |= {"image_feat": vectors[0], "text_feat": vectors[1], "similarity": similarity}
    made["match_probability"] = np.stack([model.match(image, texts) for image in images])
    logits = np.stack([_matching_logits(model, image, texts) for image in images])
    made["itm_logits"] = logits
    made["score_matrix_i2t"] = _best_only(logits[..., 1], similarity, count)
    made["score_matrix_t2i"] = _best_only(logits[..., 1].T, similarity.T, count)
    for how, rerank in (("similarity", 0), ("match_probability", 99)):
        options = dict(rerank=rerank, top=99)
        by_image = [model.retrieve(image, texts, **options) for image in images]
        by_text = [model.retrieve(text, images, **options) for text in texts]
        made[f"texts_of_each_picture_by_{how}"] = _order(by_image)
        made[f"pictures_of_each_text_by_{how}"] = _order(by_text)
    return made


def _matching_logits(model: Model, image: Any, texts: list[str]) -> np.ndarray:
    pictures = model.inputs.pictures("match", image)
    batch = model.inputs.batch("match", pictures, texts, model.rules.text_of("match"))
    return np.asarray(model.apply(batch)["itm"])


def _best_only(scores: np.ndarray, similarity: np.ndarray, count: int) -> np.ndarray:
    """Returns the scores of the most similar candidates of each row, -100 for the others."""
    least = np.sort(similarity, axis=1)[:, -count, None]
    return np.where(similarity >= least, scores, -100.0)


def captions(bundle: Bundle) -> Outputs:
    """OSCAR's captions, greedy and with beams: ids, words and scores."""
    reference = Reference(bundle)
    model, made = reference.model, _region_outputs(reference)
    for i, case in enumerate(reference.cases["cases"]):
        shown = reference.shown(case["picture"])
        rules, words = model.rules.text_of("caption"), [tag_text(case["tags"])]
        fields = caption_fields(words, model.tokenizer, rules, model.rules.tag_position)
        made[f"case{i}/tag_ids"] = fields["tag_ids"][fields["tag_mask"]]
        for name, options in case["decoding"].items():
            (found,) = model.caption(
                tags=case["tags"],
                beams=options["num_beams"],
                length_penalty=options["length_penalty"],
                max_length=bundle.field("max_gen_length"),
                **shown,
            )
            made[f"case{i}/{name}/ids"] = np.array(found.ids)
            made[f"case{i}/{name}/caption"] = np.asarray(found.text)
            made[f"case{i}/{name}/log_probability"] = np.asarray(found.score)
    return made


def _scores(found: list) -> list[float]:
    return [x.score for x in sorted(found, key=lambda x: x.index)]


def _order(found: list) -> np.ndarray:
    return np.array([[x.index for x in row] for row in found])


def _inputs(reference: Reference, verb: str, name: str) -> Outputs:
    """Returns the tokens of all texts and what pictures or regions become."""
    made = _picture_outputs(reference) if "pictures" in reference.cases else {}
    made |= _region_outputs(reference) if "regions" in reference.cases else {}
    cases = reference.cases
    for i, case in enumerate(cases.get("cases", ())):
        made |= _tokens(reference, verb, case[name], f"case{i}", case.get("tags"))
    for i, case in enumerate([*cases.get("texts", ()), *worded(cases.get("tokenisation", ()))]):
        made |= _tokens(reference, verb, case["text"], f"text{i}", case.get("tags"))
    return made


def _tokens(reference: Reference, verb: str, text: str, name: str, tags: Any) -> Outputs:
    """Returns the ids and segments of a text, made with the verb's own encoder."""
    inputs, rules = reference.model.inputs, reference.model.rules.text_of(verb)
    cleaned = inputs.encoder.cleaned([text], rules, verb == "answer")
    seconds = None if tags is None else [tag_text(tags)]
    fields = inputs.encoder.fields(cleaned, rules, CAPTION, seconds, inputs.rules.cut)
    mask = fields[CAPTION.mask][0]
    ids = fields[CAPTION.ids][0][mask]
    segments = fields.get(CAPTION.segments, np.zeros((1, len(mask)), np.int32))[0][mask]
    return {f"{name}/input_ids": ids, f"{name}/token_type_ids": segments}


def _picture_outputs(reference: Reference) -> Outputs:
    made = {}
    for i, picture in enumerate(reference.cases["pictures"].values()):
        pixels = image_batch(reference.folder / picture["file"], reference.model.inputs.size)[0]
        digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
        made[f"picture{i}/pixels_sha256"] = np.asarray(digest)
    return made


def _region_outputs(reference: Reference) -> Outputs:
    """Returns how many regions the model is shown, and their boxes as it reads them."""
    model, made = reference.model, {}
    for i, key in enumerate(reference.cases["regions"]):
        fields = model.inputs.pictures("regions", None, reference.regions[key]).fields
        count = int(fields["region_mask"].sum())
        boxes = np.asarray(encode_boxes(fields["region_boxes"], model.module.vision.boxes))
        boxes = boxes[0, :count].astype(np.float64)
        rows = [0, 1, 2, count - 1]
        made |= {
            f"picture{i}/rows_used": np.asarray(count),
            f"picture{i}/box_inputs": boxes[rows],
            f"picture{i}/box_sums": boxes.sum(0),
            f"picture{i}/features": fields["region_features"][0, :3, :4],
        }
    return made


for _kind, _runner in {
    "albef/vqa": answers,
    "albef/nlvr2": reasoning,
    "albef/retrieval": retrieval_by_pixels,
    "lxmert/vqa": answers,
    "lxmert/nlvr2": reasoning,
    "uniter/vqa": answers,
    "uniter/nlvr2": reasoning,
    "uniter/retrieval": retrieval_by_regions,
    "uniter/re": expressions,
    "visualbert/vqa": answers,
    "oscar/vqa": answers,
    "oscar/caption": captions,
    "vilbert/12in1-vqa": answers,
}.items():
    RUNNERS.register(f"{VERBS}/{_kind}")(_runner)
