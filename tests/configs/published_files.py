"""A few made examples of each task in the files that its authors publish."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.data.regions.pictures import random_pictures

COUNT = 8
WORDS = "dog cat red blue left right sofa tree".split()
PICTURES = [
    *map(str, range(COUNT)),
    *(f"s-{i}-0-img{side}" for i in range(COUNT) for side in (0, 1)),
]
SIZE = 40  # of a picture, in pixels
SPLITS = {"train": "train", "validation": "val", "test": "test"}


def sentence(i: int) -> str:
    return f"the {WORDS[i]} {WORDS[(3 * i + 1) % len(WORDS)]}"


def nlvr2(i: int) -> dict:
    label = ("True", "False")[i % 2]
    return {"identifier": f"s-{i}-0-0", "sentence": sentence(i), "label": label}


def snli_ve(i: int) -> dict:
    label = ("entailment", "neutral", "contradiction")[i % 3]
    return {"Flickr30K_ID": str(i), "sentence2": sentence(i), "gold_label": label, "pairID": str(i)}


def vcr(i: int) -> dict:
    choices = [[["the", [0]], [WORDS[(i + j) % 8]], ["no", "."], ["a", [0]]][j] for j in range(4)]
    labels = {"answer_label": i % 4, "rationale_label": (i + 1) % 4}
    asked = {"question": ["what", "is", [0], "?"], "objects": ["person"]}
    texts = {"answer_choices": choices, "rationale_choices": choices[::-1]}
    return {"annot_id": f"a-{i}", "img_fn": f"{i}.png"} | asked | texts | labels


def questions() -> dict:
    asked = [
        {"image_id": i, "question": f"is {sentence(i)}?", "question_id": i} for i in range(COUNT)
    ]
    return {"data_subtype": "val2014", "questions": asked}


def annotations() -> dict:
    given = lambda i: [
        {"answer": ("yes", "no")[(i + j) % 4 == 0], "answer_id": j} for j in range(10)
    ]
    rows = [{"question_id": i, "image_id": i, "answers": given(i)} for i in range(COUNT)]
    return {"annotations": rows}


def gqa() -> dict:
    kinds = {"structural": "verify", "semantic": "attr", "detailed": "x"}
    shared = {"isBalanced": True, "groups": {}, "entailed": [], "types": kinds, "semantic": []}
    asked = lambda i: {"question": f"is {sentence(i)}?", "answer": ("yes", "no")[i % 2]}
    return {f"0{i}": {"imageId": str(i)} | asked(i) | shared for i in range(COUNT)}


def coco_captions() -> dict:
    pictures = [{"id": i, "file_name": f"{i}.png"} for i in range(COUNT)]
    captions = [{"image_id": i, "caption": sentence(i)} for i in range(COUNT)]
    return {"images": pictures, "annotations": captions}


def karpathy() -> dict:
    one = lambda i, split: {
        "filename": f"{i}.png", "cocoid": i, "split": split,
        "sentences": [{"raw": sentence(i)}, {"raw": sentence(i)[::-1]}],
    }  # fmt: skip
    return {"images": [one(i, s) for s in ("train", "val", "test") for i in range(COUNT)]}


def references() -> list:
    said = lambda i, k: {"sent_id": 10 * k + i, "sent": sentence(i), "raw": sentence(i)}
    splits = enumerate(("train", "val", "testA", "testB"))
    return [
        {"image_id": i, "ann_id": i, "split": split, "sentences": [said(i, k)]}
        for k, split in splits
        for i in range(COUNT)
    ]


def visual7w() -> dict:
    asked = lambda i: {"qa_id": i, "question": f"which is {sentence(i)}?", "answer": 5 * i + 3}
    chosen = lambda i: [asked(i) | {"multiple_choices": [5 * i + j for j in (0, 1, 2, 4)]}]
    one = lambda i, split: {
        "filename": f"{i}.png", "image_id": i, "split": split, "qa_pairs": chosen(i)
    }  # fmt: skip
    return {"images": [one(i, s) for s in SPLITS.values() for i in range(COUNT)]}


def guesswhat(i: int) -> dict:
    asked = [{"question": f"is it {sentence(i)}?", "answer": "Yes"}]
    shown = {"image": {"id": i, "file_name": f"{i}.png"}, "objects": [{"id": 7}, {"id": 9}]}
    return {"id": i, "qas": asked, "object_id": 9} | shown


def genome() -> list:
    """A question of each picture twice: one half is for training."""
    said = lambda i: {"question": f"is {sentence(i)}?", "answer": ("Yes.", "No.")[i % 2]}
    asked = lambda i, k: {"qa_id": COUNT * k + i, "image_id": i} | said(i)
    return [{"id": i, "qas": [asked(i, 0), asked(i, 1)]} for i in range(COUNT)]


def write_entities(folder: Path) -> None:
    """Writes pictures' sentences, each with two phrases of which one is somewhere, and boxes."""
    for part in ("Sentences", "Annotations"):
        (folder / part).mkdir()
    for i in range(COUNT):
        first, second = sentence(i).split()[1:]
        text = f"[/EN#{i}/other the {first}] and [/EN#99/notvisual {second}]"
        (folder / f"Sentences/{i}.txt").write_text(f"{text}\n{text} .\n")
        corners = {"xmin": i + 1, "ymin": 2, "xmax": i + 21, "ymax": 32}
        box = "".join(f"<{name}>{value}</{name}>" for name, value in corners.items())
        size = f"<size><width>{SIZE}</width><height>{SIZE}</height></size>"
        found = f"<object><name>{i}</name><bndbox>{box}</bndbox></object>"
        content = f"<annotation>{size}{found}</annotation>"
        (folder / f"Annotations/{i}.xml").write_text(content)
    for split in SPLITS.values():
        (folder / f"flickr30k_entities_{split}").write_text("\n".join(map(str, range(COUNT))))


def instances() -> dict:
    boxes = [{"id": i, "bbox": [i, 2, 20, 30]} for i in range(COUNT)]
    pictures = [
        {"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE} for i in range(COUNT)
    ]
    return {"images": pictures, "annotations": boxes}


LINES = {"nlvr2": nlvr2, "snli_ve": snli_ve, "vcr": vcr, "guesswhat": guesswhat}
OBJECTS = {
    "vqa_v2": questions,
    "gqa": gqa,
    "coco_captions": coco_captions,
    "karpathy": karpathy,
    "visual7w": visual7w,
    "vg_qa": genome,
}
OWN_SPLITS = ("refcoco", "karpathy", "visual7w", "vg_qa")
BESIDE = {"vqa_v2": annotations, "refcoco": instances}


def write_all(folder: Path) -> None:
    """Writes pictures, regions and the files of every form."""
    rng = np.random.default_rng(0)
    for name in PICTURES:
        pixels = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
    for name, regions in zip(PICTURES, random_pictures(len(PICTURES)).values()):
        fields = {"features": regions.features, "boxes": regions.boxes, "names": WORDS[:5]}
        size = {"image_w": regions.width, "image_h": regions.height}
        np.savez(folder / f"{name}.npz", **fields, **size)
    for split in SPLITS.values():
        for form, row in LINES.items():
            lines = (json.dumps(row(i)) for i in range(COUNT))
            (folder / f"{form}_{split}").write_text("\n".join(lines))
        for form, content in OBJECTS.items():
            (folder / f"{form}_{split}").write_text(json.dumps(content()))
        for form, content in BESIDE.items():
            (folder / f"{form}_beside_{split}").write_text(json.dumps(content()))
        boxes = {i: {"bboxes": [1, 3, 5, 7, 9]} for i in range(COUNT)}
        (folder / f"guesswhat_beside_{split}").write_bytes(pickle.dumps(boxes))
        (folder / f"refcoco_{split}").write_bytes(pickle.dumps(references(), 2))
    write_entities(folder)
    np.save(folder / "test_ids.npy", np.array([COUNT + 1]))
    proposals = {str(i): [[i, 1, 20, 28, 0.9], [0, 0, 9, 9, 0.5]] for i in range(COUNT)}
    (folder / "proposals").write_text(json.dumps(proposals))
    (folder / "answers.json").write_text(json.dumps(["yes", "no"]))
    # Some of a list are held out.
    pairs = [
        {"image": f"{i % COUNT}.png", "caption": sentence(i % COUNT)} for i in range(3 * COUNT)
    ]
    (folder / "pairs.json").write_text(json.dumps(pairs))


def moved(args: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the options of a recipe's source "annotated" with the files of `write_all`."""
    if "parts" in args:
        return args | {"parts": {n: moved(part, folder) for n, part in args["parts"].items()}}
    form = args["form"]
    own = form in OWN_SPLITS
    path = str(folder / (f"{form}_train" if own else f"{form}_{{split}}"))
    files = {"path": path, "splits": args.get("splits") or {} if own else SPLITS}
    if "beside" in args:
        files["beside"] = str(folder / f"{form}_beside_{'train' if own else '{split}'}")
    for name, file in (("answer_list", "answers.json"), ("proposals", "proposals")):
        files |= {name: str(folder / file)} if name in args else {}
    if "images" in args:
        return args | files | {"images": str(folder), "key": "{id}.png"}
    stored = {"store": "npz", "features": str(folder), "key": "{id}.npz"}
    stored |= {"candidates": str(folder)} if "candidates" in args else {}
    stored |= {"exclude": [str(folder / "test_ids.npy")]} if "exclude" in args else {}
    return args | files | stored
