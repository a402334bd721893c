"""Tests of "emoji_scenes": all that is said of a picture is derived again from its boxes."""

import re
from collections import Counter

import numpy as np
import pytest

from vlp_jax.data.sources import EmojiScenes
from vlp_jax.data.sources.emoji_concepts import (
    CATEGORIES,
    CONCEPTS,
    NOVEL_CONCEPTS,
    TRAINING_CONCEPTS,
)
from vlp_jax.data.sources.scene_language import BACKGROUNDS

CATEGORY_OF = {concept.name: concept.category for concept in CONCEPTS}
WORDS = ("to the left of", "to the right of", "above", "below")
CLAUSE = re.compile(rf"an? ([a-z ]+?) ({'|'.join(WORDS)}) an? ([a-z ]+)")
CORNER = re.compile(r"an? ([a-z ]+) at the (top|bottom) (left|right) of an? ([a-z]+) background")
COUNTED = re.compile(r"(one|two|three|four) things? on an? ([a-z]+) background: (.+)")
NUMBERS = ("one", "two", "three", "four")


@pytest.fixture(scope="module")
def many():
    """Records of 4,000 scenes drawn with a fresh seed."""
    source = EmojiScenes(seed=int(np.random.default_rng().integers(1 << 40)))
    return [source[i] for i in range(4000)]


def centre(record, name):
    x1, y1, x2, y2 = record["boxes"][record["labels"].index(name)].tolist()
    return (x1 + x2) / 2, (y1 + y2) / 2


def holds(record, first, word, second, margin=6.4):
    """True if `first` lies clearly on the told side of `second`, and that side is the main one."""
    (x, y), (u, v) = centre(record, first), centre(record, second)
    along, across = (u - x, v - y) if "left" in word or "right" in word else (v - y, u - x)
    if word in ("to the right of", "right", "below"):
        along = -along
    return along - abs(across) >= margin - 1e-6


def words(caption):
    """Counts the words of a caption, "an" as "a" and without commas."""
    return Counter(re.sub(r"\ban\b", "a", caption.replace(",", "")).split())


def claims(record, caption):
    """Returns the truth of each claim that a caption makes."""
    body, _, tail = caption.partition(" background")
    if match := CORNER.fullmatch(caption):
        name, vertical, horizontal, background = match.groups()
        x, y = centre(record, name)
        sides = ("top" if y < 32 else "bottom", "left" if x < 32 else "right")
        right = [sides[0] == vertical, sides[1] == horizontal, record["background"] == background]
        return [*right, min(abs(x - 32), abs(y - 32)) >= 4]  # a sixteenth of the canvas: clear
    if match := COUNTED.fullmatch(caption):
        number, background, listed = match.groups()
        names = [re.sub("^an? ", "", part) for part in re.split(", | and ", listed)]
        right = [record["background"] == background, sorted(names) == sorted(record["labels"])]
        return [*right, NUMBERS.index(number) + 1 == len(names)]
    body, _, background = caption.partition(" background")[0].rpartition(" on a")
    result = []
    if body:
        result.append(record["background"] == background.removeprefix("n").strip())
        body = body.removesuffix(",")
    else:
        body = caption
    for part in body.split(", and "):
        if match := CLAUSE.fullmatch(part):
            result.append(holds(record, *match.groups()))
        else:
            result.append(re.sub("^an? ", "", part) in record["labels"])
    return result


def test_every_caption_is_true(many):
    for record in many:
        for caption in record["captions"]:
            assert all(claims(record, caption)), (caption, record["labels"], record["boxes"])


def test_region_labels_say_what_the_boxes_show(many):
    source = EmojiScenes(size=1)
    names, categories = source.region_classes(), source.region_attributes()
    assert list(names) == sorted(CATEGORY_OF) and list(categories) == sorted(CATEGORIES)
    for record in many[:200]:
        labels = record["labels"]
        assert [names[i] for i in record["region_labels"]] == labels
        shown = [categories[i] for i in record["region_attributes"]]
        assert shown == [CATEGORY_OF[name] for name in labels]
        scores = record["region_class_scores"]
        assert scores.shape == (len(labels), 121) and scores.sum() == len(labels)
        assert (scores.argmax(1) == record["region_labels"] + 1).all()  # class 0 is the background
        for kind in ("region_confidence", "region_attribute_confidence"):
            assert record[kind].tolist() == [1.0] * len(labels)


def test_every_near_miss_has_one_false_claim_and_nearly_the_same_words(many):
    for record in many:
        assert len(record["near_misses"]) == (4 if len(record["labels"]) == 4 else 2)
        for foil in record["near_misses"]:
            assert claims(record, foil).count(False) == 1, (foil, record["captions"][0])
            changed = words(record["captions"][0]) - words(foil)
            assert sum(changed.values()) <= 1


def test_every_caption_but_the_list_has_two_foils_a_claim(many):
    for record in many:
        assert len(record["foils"]) == len(record["captions"])
        assert record["foils"][0] == record["near_misses"] and record["foils"][-1] == []
        for caption, foils in zip(record["captions"][1:-1], record["foils"][1:-1], strict=True):
            assert len(foils) == 2
            for foil in foils:
                assert claims(record, foil).count(False) == 1, (foil, record["boxes"])
                assert sum((words(caption) - words(foil)).values()) <= 1


def test_most_scenes_tell_a_corner(many):
    corners = [[c for c in r["captions"][1:] if " at the " in c] for r in many]
    assert all(len(told) <= (len(r["labels"]) > 1) for told, r in zip(corners, many))
    assert sum(map(len, corners)) > len(many) / 2


def test_full_caption_mentions_every_object(many):
    for record in many:
        assert all(name in record["captions"][0] for name in record["labels"])


def answer_of(record):
    """Derives the answer to the record's question from boxes, labels and background."""
    question = record["question"]
    if match := re.fullmatch(r"is there an? (.+)\?", question):
        return "yes" if match[1] in record["labels"] else "no"
    if question == "how many things are there?":
        return NUMBERS[len(record["boxes"]) - 1]
    if question == "what color is the background?":
        pixel = record["image"].reshape(-1, 3)
        common = Counter(map(tuple, pixel.tolist())).most_common(1)[0][0]
        return next(name for name, rgb in BACKGROUNDS.items() if rgb == common)
    if match := re.fullmatch(r"where is the (.+) relative to the (.+)\?", question):
        sides = ("left", "right", "above", "below")
        return next(side for side in sides if holds(record, match[1], side, match[2]))
    if match := re.fullmatch(r"where is the (.+)\?", question):
        x, y = centre(record, match[1])
        assert min(abs(x - 32), abs(y - 32)) >= 4  # a sixteenth of the canvas off the middle
        return f"{'top' if y < 32 else 'bottom'} {'left' if x < 32 else 'right'}"
    if match := re.fullmatch(rf"is the (.+?) ({'|'.join(WORDS)}) the (.+)\?", question):
        return "yes" if holds(record, *match.groups()) else "no"
    if question == "what kind of thing is this?":
        return CATEGORY_OF[record["labels"][0]]
    ends = {"on the far left": (0, 1), "on the far right": (0, -1)}
    ends |= {"at the top": (1, 1), "at the bottom": (1, -1)}
    axis, sign = ends[re.fullmatch(r"what kind of thing is (.+)\?", question)[1]]
    return CATEGORY_OF[min(record["labels"], key=lambda n: sign * centre(record, n)[axis])]


def test_every_answer_is_right(many):
    for record in many:
        assert record["answers"] == {answer_of(record): 1.0}, record["question"]


def test_a_blind_guess_is_weak(many):
    """Within one question text, no answer is much more frequent than chance."""
    chance = {"presence": 1 / 2, "count": 1 / 4, "category": 1 / 6, "background color": 1 / 8}
    chance["place"] = 1 / 4
    for kind, expected in chance.items():
        given = Counter(next(iter(r["answers"])) for r in many if r["question_type"] == kind)
        total = sum(given.values())
        tolerance = 5 * np.sqrt(expected * (1 - expected) / total)
        assert total > 200 and abs(max(given.values()) / total - expected) < tolerance + 0.02
    relations = [r for r in many if r["question_type"] == "relation"]
    given = Counter(next(iter(r["answers"])) for r in relations)
    assert set(given) == {"yes", "no", "left", "right", "above", "below"}
    assert abs(given["yes"] - given["no"]) < 5 * np.sqrt(given["yes"] + given["no"])
    directions = [given[side] for side in ("left", "right", "above", "below")]
    assert max(directions) - min(directions) < 5 * np.sqrt(sum(directions) / 2)


def test_truth_and_near_miss_are_exchangeable(many):
    """A scorer that prefers one order of names, or one relation, is right half the time."""
    told = [CLAUSE.match(r["captions"][0]).groups() for r in many if len(r["labels"]) > 1]
    bound = 5 * np.sqrt(len(told)) / 2
    assert abs(sum(first < second for first, _, second in told) - len(told) / 2) < bound
    for words in (WORDS[:2], WORDS[2:]):
        here = [word for _, word, _ in told if word in words]
        assert abs(here.count(words[0]) - len(here) / 2) < bound
    alone = [CORNER.fullmatch(r["captions"][0]).groups() for r in many if len(r["labels"]) == 1]
    for position in (1, 2):
        sides = Counter(match[position] for match in alone)
        assert len(sides) == 2 and abs(max(sides.values()) - len(alone) / 2) < bound


def test_boxes_are_inside_tight_and_barely_overlap(many):
    for record in many[:500]:
        boxes = record["boxes"]
        assert (boxes >= 0).all() and (boxes <= 64).all()
        assert (boxes[:, 2:] - boxes[:, :2]).max() >= 16
        assert len(set(record["labels"])) == len(boxes)
        painted = (record["image"] != BACKGROUNDS[record["background"]]).any(-1)
        covered = np.zeros((64, 64), bool)
        for x1, y1, x2, y2 in boxes.astype(int):
            assert painted[y1:y2, x1].any() and painted[y1:y2, x2 - 1].any()
            assert painted[y1, x1:x2].any() and painted[y2 - 1, x1:x2].any()
            covered[y1:y2, x1:x2] = True
        assert not painted[~covered].any()
        for i, first in enumerate(boxes):
            for second in boxes[i + 1 :]:
                shared = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
                assert shared.min() <= 2


@pytest.mark.parametrize("split", ["validation", "test", "novel"])
def test_evaluation_captions_are_unique(split):
    source = EmojiScenes(split=split, size=600)
    full = [source[i]["captions"][0] for i in range(600)]
    assert len(set(full)) == 600


def test_novel_concepts_are_in_no_other_split():
    novel = {c.name for c in NOVEL_CONCEPTS}
    assert len(novel) == 20 and not novel & {c.name for c in TRAINING_CONCEPTS}
    assert {c.category for c in NOVEL_CONCEPTS} == set(CATEGORIES)
    for split in ("train", "validation", "test"):
        source = EmojiScenes(split=split, size=200, concepts=100)
        assert not novel & {name for i in range(200) for name in source[i]["labels"]}
    source = EmojiScenes(split="novel", size=200)
    assert {name for i in range(200) for name in source[i]["labels"]} == novel


def test_splits_seeds_and_indices_differ_and_size_changes_nothing():
    def images(**options):
        source = EmojiScenes(**options)
        return [source[i]["image"].tobytes() for i in range(50)]

    kinds = [{"split": s, "size": 50} for s in ("train", "validation", "test")]
    drawn = [image for options in [*kinds, {"seed": 1}] for image in images(**options)]
    assert len(set(drawn)) == 200
    assert images(split="validation", size=50) == images(split="validation", size=80)


def test_concepts_are_balanced_named_once_and_limited():
    assert len({c.name for c in CONCEPTS}) == len({c.emoji for c in CONCEPTS}) == len(CONCEPTS)
    assert len(CONCEPTS) == 120 and CONCEPTS[0].name == "dog"
    assert set(Counter(c.category for c in TRAINING_CONCEPTS[:60]).values()) == {10}
    shown = EmojiScenes(size=300, concepts=12)
    names = {name for i in range(300) for name in shown[i]["labels"]}
    assert names == {c.name for c in CONCEPTS[:12]}


def test_other_canvas_sizes():
    for canvas in (32, 96):
        record = EmojiScenes(canvas=canvas)[3]
        assert record["image"].shape == (canvas, canvas, 3) and record["boxes"].max() <= canvas


def test_texts_spell_every_concept_and_answers_are_few():
    source = EmojiScenes(split="novel", size=4)
    known = set(" ".join(source.texts()).replace("?", " ").replace(",", " ").split())
    for concept in CONCEPTS:
        assert set(concept.name.split()) <= known
    assert {"where", "color", "background", "right", "below"} <= known
    assert len(source.answers()) == 28 and list(source.answers()) == sorted(source.answers())


def test_wrong_options():
    with pytest.raises(ValueError, match="concepts is 101; expected an integer from 12 to 100"):
        EmojiScenes(concepts=101)
    with pytest.raises(ValueError, match="size=4000 is too large for split 'novel'"):
        EmojiScenes(split="novel", size=4000)
    with pytest.raises(ValueError, match='"canvass".*Did you mean "canvas"'):
        EmojiScenes(canvass=64)
