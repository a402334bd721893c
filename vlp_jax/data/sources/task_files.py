"""The files that published tasks come as: each form's reader gives entries of one shape.

An entry has "pictures", the facts that name each of its pictures ({"id": 42, "file": "42.jpg"}),
"name", what the task calls the example, and the keys of a record (docs/data.md).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp_jax.config import Registry
from vlp_jax.data.entry import take as take_entry
from vlp_jax.data.json_text import read_json, read_object
from vlp_jax.data.paths import read_file
from vlp_jax.data.sources.entity_files import read_entity_boxes, read_sentences
from vlp_jax.data.sources.json_values import read_values
from vlp_jax.data.sources.pointing_files import read_guesswhat, visual7w_entries
from vlp_jax.data.vqa_targets import share_targets
from vlp_jax.pickles import read_pickle

Entry = dict[str, Any]


@dataclass(frozen=True)
class TaskFiles:
    """What a reader is given: a split's file, the one beside it, and what the file calls the split.

    train: whether the split is for training.
    """

    path: Path
    beside: Path | None
    split: str
    train: bool


@dataclass(frozen=True)
class Form:
    """How one kind of file is read.

    read: yields the entries of a split. provides: what a record holds beside its picture.
    key: how a picture is called unless the user says it, from its facts. beside: what the second
    file holds, and whether there has to be one. own_splits: whether one file holds all splits.
    least: questions that an answer occurs in to be in a list made of the file. one_answer: whether
    a question has a single answer.
    """

    read: Callable[[TaskFiles], Iterator[Entry]]
    provides: frozenset[str]
    key: str
    beside: str = ""
    needs_beside: bool = False
    own_splits: bool = False
    least: int = 1
    one_answer: bool = False


FORMS: Registry = Registry("form of task files")

_VG_VALIDATION = 5000  # questions of Visual Genome


def take(raw: Any, key: str) -> Any:
    """Returns an entry of an object of a file; ValueError for what is no object or lacks it."""
    if not isinstance(raw, Mapping):
        raise ValueError(f'expected an object with "{key}", found {type(raw).__name__}')
    return take_entry(raw, key)


def _form(name: str, provides: set[str], key: str, **options: Any) -> Callable:
    def register(read: Callable[[TaskFiles], Iterator[Entry]]) -> Callable:
        FORMS.register(name)(Form(read, frozenset(provides), key, **options))
        return read

    return register


@_form("nlvr2", {"pictures", "caption", "label"}, "{file}")
def _nlvr2(files: TaskFiles) -> Iterator[Entry]:
    """lil-lab/nlvr, nlvr2/data: JSON lines; `directory` is the folder of a training picture."""
    for raw in read_values(files.path):
        name = take(raw, "identifier")
        if name.count("-") < 3:
            raise ValueError(f'identifier "{name}", expected split-set-pair-sentence')
        stem, folder = name.rpartition("-")[0], str(raw.get("directory", ""))
        sides = [f"{stem}-img{side}" for side in (0, 1)]
        facts = [{"id": side, "file": f"{side}.png", "directory": folder} for side in sides]
        entry = {"name": name, "pictures": facts, "captions": [take(raw, "sentence")]}
        yield entry | _label(raw.get("label"))


@_form("snli_ve", {"caption", "label"}, "{file}")
def _snli_ve(files: TaskFiles) -> Iterator[Entry]:
    """necla-ml/SNLI-VE: JSON lines; those on which annotators disagree ("-") don't count."""
    for raw in read_values(files.path):
        label = raw.get("gold_label")
        # 12-in-1's copy spells it so.
        picture = str(raw.get("Flickr30K_ID") or take(raw, "Flikr30kID")).removesuffix(".jpg")
        facts = [{"id": picture, "file": f"{picture}.jpg"}]
        entry = {"name": str(raw.get("pairID", "")), "pictures": facts}
        if label != "-":
            yield entry | {"captions": [take(raw, "sentence2")]} | _label(label)


@_form(
    "vqa_v2",
    {"question"},
    "COCO_{subset}_{id:012d}.jpg",
    beside="the annotations of the questions; none for a test split",
    least=9,  # bottom-up-attention-vqa
)
def _vqa(files: TaskFiles) -> Iterator[Entry]:
    """visualqa.org: a file of questions and one of annotations, ten answers each."""
    content, given = read_json(files.path), {}
    questions = take(content, "questions")
    subset = content.get("data_subtype", files.split)
    if files.beside is not None:
        annotations = take(read_json(files.beside), "annotations")
        given = {take(raw, "question_id"): raw for raw in annotations}
        _check_pairing(files, questions, given)
    for raw in questions:
        facts = [{"id": take(raw, "image_id"), "subset": subset}]
        name = take(raw, "question_id")
        entry = {"name": name, "pictures": facts, "question": take(raw, "question")}
        yield entry | (_annotated(given[name]) if given else {})


def _check_pairing(files: TaskFiles, questions: list, given: Mapping) -> None:
    names = [take(raw, "question_id") for raw in questions]
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(
            f"{files.beside} has no annotation of {len(missing)} of the {len(names)} questions of "
            f"{files.path}, such as {missing[0]}: they are of different splits"
        )


def _annotated(raw: Mapping[str, Any]) -> Entry:
    answers = [take(answer, "answer") for answer in take(raw, "answers")]
    kind = raw.get("answer_type", "question")
    shares = share_targets(answers)
    # What a list of answers is counted by, where none is given.
    usual = raw.get("multiple_choice_answer")
    return {"answers": shares, "annotators": len(answers), "question_type": kind, "usual": usual}


@_form(
    "gqa",
    {"question"},
    "{id}.jpg",
    beside="the choices of the questions, for validity",
    one_answer=True,
)
def _gqa(files: TaskFiles) -> Iterator[Entry]:
    """GQA (Hudson and Manning): id → question; what its metric reads is kept to evaluate."""
    choices = read_json(files.beside) if files.beside and not files.train else {}
    for name, raw in read_object(files.path).items():
        facts = [{"id": take(raw, "imageId")}]
        entry = {"name": name, "pictures": facts, "question": take(raw, "question")}
        if "answer" in raw:
            entry["answers"] = {raw["answer"]: 1.0}
        if "types" in raw and not files.train:
            official = ("isBalanced", "answer", "groups", "entailed", "types", "semantic")
            kept = {key: take(raw, key) for key in official if key != "groups"}
            kept["groups"] = raw.get("groups") or {"global": None}
            entry["official"] = kept | {"question": raw["question"], "choices": choices.get(name)}
        yield entry


@_form("vg_qa", {"question"}, "{id}.jpg", own_splits=True, least=9, one_answer=True)
def _visual_genome(files: TaskFiles) -> Iterator[Entry]:
    """Visual Genome's question_answers.json; the last 5,000 questions are for validation.

    That is 12-in-1's split, by "qa_id"; the split "all" has all of them. Answers are made lower
    case, without a full stop.
    """
    asked = [raw for image in read_values(files.path) for raw in take(image, "qas")]
    asked.sort(key=lambda raw: take(raw, "qa_id"))
    last = max(len(asked) - _VG_VALIDATION, len(asked) // 2)
    if files.split != "all":
        asked = asked[:last] if files.train else asked[last:]
    for raw in asked:
        answer = take(raw, "answer").strip().lower().removesuffix(".")
        facts = [{"id": take(raw, "image_id")}]
        entry = {"name": take(raw, "qa_id"), "pictures": facts, "question": take(raw, "question")}
        yield entry | {"answers": {answer: 1.0}}


@_form(
    "visual7w",
    {"caption", "candidates"},
    "v7w_{id}",
    own_splits=True,
)
def _visual7w(files: TaskFiles) -> Iterator[Entry]:
    """yukezhu/visual7w-toolkit: dataset_v7w_pointing.json."""
    for image in _of_split(take(read_json(files.path), "images"), files):
        yield from visual7w_entries(image)


@_form(
    "guesswhat",
    {"caption", "candidates"},
    "{id}",
    beside="image_bbox_list.pkl of 12-in-1: the boxes of each picture",
    needs_beside=True,
)
def _guesswhat(files: TaskFiles) -> Iterator[Entry]:
    """GuessWhat?! (de Vries et al. 2017), guesswhat.{train,valid,test}.jsonl."""
    yield from read_guesswhat(files.path, files.beside)


@_form("karpathy", {"caption"}, "{file}", own_splits=True)
def _karpathy(files: TaskFiles) -> Iterator[Entry]:
    """Karpathy's dataset_coco.json and dataset_flickr30k.json: a picture with all captions."""
    for raw in _of_split(take(read_json(files.path), "images"), files):
        file = take(raw, "filename")
        folder = raw.get("filepath", "")
        facts = {"id": raw.get("cocoid", Path(file).stem), "file": file, "subset": folder}
        facts["file"] = f"{folder}/{file}" if folder else file
        captions = [take(sentence, "raw") for sentence in take(raw, "sentences")]
        yield {"name": facts["id"], "pictures": [facts], "captions": captions}


@_form("coco_captions", {"caption"}, "{file}")
def _coco_captions(files: TaskFiles) -> Iterator[Entry]:
    """COCO's captions_{train,val}2014.json: a picture with all captions; tests have none."""
    content = read_json(files.path)
    captions: dict[int, list[str]] = {}
    pictures = take(content, "images")
    for raw in content.get("annotations", ()):
        captions.setdefault(take(raw, "image_id"), []).append(take(raw, "caption"))
    for raw in pictures:
        name = take(raw, "id")
        file = raw.get("file_name", f"{name}.jpg")
        facts = {"id": name, "file": file, "stem": Path(file).stem}
        if captions.get(name) or not captions:
            yield {"name": name, "pictures": [facts], "captions": captions.get(name, [])}


@_form(
    "refcoco",
    {"caption", "target_box"},
    "{file}",
    beside="instances.json of COCO: sizes of pictures and boxes",
    needs_beside=True,
    own_splits=True,
)
def _refcoco(files: TaskFiles) -> Iterator[Entry]:
    """lichengunc/refer: refs(unc).p, refs(umd).p or refs(google).p; a record an expression."""
    instances = read_json(files.beside)
    pictures = {take(raw, "id"): raw for raw in take(instances, "images")}
    boxes = {take(raw, "id"): take(raw, "bbox") for raw in take(instances, "annotations")}
    for ref in _of_split(read_pickle(files.path.read_bytes()), files):
        picture, box = take(ref, "image_id"), take(ref, "ann_id")
        if picture not in pictures or box not in boxes:
            raise ValueError(f"{files.beside} has no picture {picture} with the box {box}")
        raw = pictures[picture]
        size = [take(raw, "width"), take(raw, "height")]
        if min(size) <= 0:
            raise ValueError(f"picture {picture} is {size[0]} × {size[1]} pixels large")
        facts = [{"id": picture, "file": take(raw, "file_name")}]
        shared = {"pictures": facts, "picture_size": size, "target_box": _unit(boxes[box], size)}
        for sentence in take(ref, "sentences"):
            text = sentence.get("raw") or take(sentence, "sent")
            yield {"name": take(sentence, "sent_id"), "captions": [text]} | shared


def _of_split(content: Any, files: TaskFiles) -> list[Mapping[str, Any]]:
    """Returns the entries of a split; Karpathy's "restval" pictures are for training."""
    names = {files.split, "restval"} if files.split == "train" else {files.split}
    found = [raw for raw in content if take(raw, "split") in names]
    if not found:
        known = sorted({take(raw, "split") for raw in content})
        raise ValueError(f'{files.path} has no split "{files.split}", it has {", ".join(known)}')
    return found


def _unit(box: list[float], size: list[float]) -> list[float]:
    """Returns x1, y1, x2, y2 in the unit square of x, y, width, height in pixels."""
    x, y, w, h = box
    if not all(map(math.isfinite, (*box, *size))):
        raise ValueError(f"the box {box} of a picture {size} has numbers that are not finite")
    return [x / size[0], y / size[1], (x + w) / size[0], (y + h) / size[1]]


@_form("flickr30k_entities", {"caption", "phrases"}, "{file}")
def _entities(files: TaskFiles) -> Iterator[Entry]:
    """Flickr30k Entities: the ids of a split's pictures, beside `Sentences` and `Annotations`.

    Phrases without boxes are left out, and sentences without other ones.
    """
    folder = files.path.parent
    for picture in read_file(files.path, "list of pictures").decode().split():
        if not picture.isalnum():
            raise ValueError(f'"{picture:.40}", expected the id of a picture, such as 1000092795')
        boxes = read_entity_boxes(folder / "Annotations" / f"{picture}.xml")
        sentences = read_sentences(folder / "Sentences" / f"{picture}.txt")
        shared = {"pictures": [{"id": picture, "file": f"{picture}.jpg"}]}
        for number, (text, marked) in enumerate(sentences):
            phrases = [
                {"end": phrase["end"], "boxes": boxes[phrase["entity"]]}
                for phrase in marked
                if phrase["entity"] in boxes
            ]
            if phrases:
                named = {"name": f"{picture}#{number}", "captions": [text], "phrases": phrases}
                yield named | shared


# Names that tell nothing of who is meant; object 12 is called like object 0.
_PEOPLE = "Casey Riley Jessie Jackie Avery Jaime Peyton Kerry Jody Kendall Frankie Pat".split()


@_form("vcr", {"question", "choices", "label"}, "{file}")
def _vcr(files: TaskFiles) -> Iterator[Entry]:
    """rowanz/r2c, {train,val,test}.jsonl: the answers of a question, and rationales of an answer.

    Training has a record for the answers and one for the rationales of the true answer; other
    splits one for the rationales of each answer, as the server asks for. Label None is unknown.
    """
    for raw in read_values(files.path):
        objects, name = take(raw, "objects"), take(raw, "annot_id")
        told = lambda tokens, objects=objects: _told(tokens, objects)
        answers = [told(choice) for choice in take(raw, "answer_choices")]
        rationales = [told(choice) for choice in take(raw, "rationale_choices")]
        true, why = raw.get("answer_label"), raw.get("rationale_label")
        known = range(len(answers))
        if true not in known and (files.train or true is not None):
            raise ValueError(
                f'"answer_label" of {name} is {true!r}, expected 0 to {len(known) - 1}'
            )
        facts = [{"id": Path(take(raw, "img_fn")).stem, "file": raw["img_fn"]}]
        question = told(take(raw, "question"))
        shared = {"name": name, "pictures": facts, "question": question}
        yield shared | {"choices": answers, "about": "answer"} | _label(true)
        for given in [true] if files.train else known:
            asked = {"given": answers[given], "choices": rationales, "about": f"rationale {given}"}
            # What explains a wrong answer is not known.
            yield shared | asked | _label(why if given == true else None)


def _told(tokens: list[str | list[int]], objects: list[str]) -> str:
    """Returns tokens as one text: persons by a name, other objects by their class."""
    missing = [i for t in tokens if isinstance(t, list) for i in t if i not in range(len(objects))]
    if missing:
        raise ValueError(f"a text names object {missing[0]}, and there are {len(objects)}")
    name = lambda i: _PEOPLE[i % len(_PEOPLE)] if objects[i] == "person" else objects[i]
    words = (" and ".join(map(name, t)) if isinstance(t, list) else t for t in tokens)
    return " ".join(words)


def _label(value: Any) -> Entry:
    return {} if value is None else {"label": value}
