"""Captions, compositional near-misses, questions and answers about a scene of emoji.

American spelling, because the published questions that train beside these use it.
"""

import dataclasses
import functools

import numpy as np

from vlp_jax.data.sources.emoji_concepts import CATEGORIES, Concept
from vlp_jax.data.sources.scene_layout import OPPOSITES, corner, extremes, in_corner, relation

NUMBERS = ("one", "two", "three", "four")
PLACES = ("top left", "top right", "bottom left", "bottom right")
PHRASES = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}
BACKGROUNDS = {
    "white": (252, 252, 252),
    "gray": (205, 205, 205),
    "yellow": (255, 240, 140),
    "orange": (255, 205, 150),
    "pink": (255, 200, 225),
    "purple": (215, 190, 250),
    "blue": (175, 212, 255),
    "green": (190, 235, 175),
}
_SIDES = {"left": "on the far left", "right": "on the far right"}
_SIDES |= {"above": "at the top", "below": "at the bottom"}


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a picture shows. `boxes` int32 [N,4] are absolute x1,y1,x2,y2 on a square canvas.

    `told` holds (i, relation, j) for the pairs that captions tell: object i is left/right of,
    above or below object j. It is empty for a single object.
    """

    canvas: int
    background: str
    concepts: tuple[Concept, ...]
    boxes: np.ndarray
    told: tuple[tuple[int, str, int], ...]


@dataclasses.dataclass(frozen=True)
class Question:
    """A question with its one answer and its type, by which accuracies are reported."""

    text: str
    answer: str
    kind: str


def a(name: str) -> str:
    """Returns the name with its indefinite article."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def tell_relations(
    rng: np.random.Generator, boxes: np.ndarray, canvas: int
) -> tuple[tuple[int, str, int], ...]:
    """Returns the told pairs (0,1) and (2,3), each named from a random end.

    The coin makes "x left of y" and "y right of x" equally likely wordings of one picture.
    """
    told = []
    for i in range(0, len(boxes) - 1, 2):
        first, second = (i, i + 1) if rng.random() < 0.5 else (i + 1, i)
        told.append((first, relation(boxes[first], boxes[second], canvas), second))
    return tuple(told)


def full_caption(scene: Scene) -> str:
    """Returns the caption that mentions every object, the told relations and the background."""
    if not scene.told:
        return _corner_caption(scene, 0, *corner(scene.boxes[0], scene.canvas))
    return _relation_caption(scene, scene.told)


def near_misses(scene: Scene) -> list[str]:
    """Returns captions that are false of the picture and differ from the full one in one thing.

    Two a told pair: its objects swapped, its relation reversed; for a single object its corner
    mirrored. By the symmetry of the layout every near-miss is as likely to be some picture's
    caption as the true one is, so a scorer that reads only text prefers the truth to one
    near-miss in exactly half the cases. Compare the truth with one near-miss at a time.
    """
    if not scene.told:
        return _mirrored_corners(scene, 0)
    result = []
    for k, (i, word, j) in enumerate(scene.told):
        for wrong in ((j, word, i), (i, OPPOSITES[word], j)):
            result.append(_relation_caption(scene, (*scene.told[:k], wrong, *scene.told[k + 1 :])))
    return result


def captions(scene: Scene, rng: np.random.Generator) -> dict[str, list[str]]:
    """Returns captions with their foils, which are false of the picture and differ in one thing.

    The first is the full caption, the last a list of all objects, which has no foils. Between them
    stand parts of what the full one tells in other words: each told pair from its other end, and
    the corner of an object that lies in one.
    """
    names = [a(scene.concepts[i].name) for i in rng.permutation(len(scene.concepts))]
    things = "thing" if len(names) == 1 else "things"
    listed = " and ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])
    told = {full_caption(scene): near_misses(scene)}
    for i, word, j in scene.told:
        wrong = (i, OPPOSITES[word], j), (j, word, i)
        told[_clause(scene, (j, OPPOSITES[word], i))] = [_clause(scene, pair) for pair in wrong]
    clear = _in_corners(scene) if scene.told else []
    if clear:
        i = clear[int(rng.integers(len(clear)))]
        place = corner(scene.boxes[i], scene.canvas)
        told[_corner_caption(scene, i, *place)] = _mirrored_corners(scene, i)
    count = f"{NUMBERS[len(names) - 1]} {things} on {a(scene.background)} background: {listed}"
    return told | {count: []}


def ask(scene: Scene, pool: tuple[Concept, ...], rng: np.random.Generator) -> Question:
    """Returns one question; `pool` holds the concepts that absent objects are drawn from."""
    kind = int(np.searchsorted(_kind_edges(len(scene.concepts)), rng.random(), side="right"))
    if kind == 0:
        return _ask_presence(scene, pool, rng)
    if kind == 1:
        answer = NUMBERS[len(scene.concepts) - 1]
        return Question("how many things are there?", answer, "count")
    if kind == 2:
        return _ask_relation(scene, rng)
    question = None
    if kind == 3:
        question = _ask_category(scene, rng)
    if kind == 4:
        question = _ask_place(scene, rng)
    return question or Question(
        "what color is the background?", scene.background, "background color"
    )


@functools.cache
def _kind_edges(count: int) -> np.ndarray:
    """Returns the cumulated shares of presence, count, relation, category and place questions.

    Counting must be as likely for each number of objects, or its answers would not balance; a
    single object has no relation.
    """
    shares = (0.25, 0.15, 0.0, 0.2, 0.3) if count == 1 else (0.2, 0.15, 0.25, 0.1, 0.2)
    return np.cumsum(shares)


def answers() -> tuple[str, ...]:
    """Returns every answer that `ask` can give, sorted."""
    return tuple(sorted({"yes", "no", *NUMBERS, *OPPOSITES, *PLACES, *CATEGORIES, *BACKGROUNDS}))


def _in_corners(scene: Scene) -> list[int]:
    """Returns the objects that lie clearly in a corner."""
    return [i for i, box in enumerate(scene.boxes) if in_corner(box, scene.canvas)]


def _mirrored_corners(scene: Scene, i: int) -> list[str]:
    vertical, horizontal = corner(scene.boxes[i], scene.canvas)
    other = {"top": "bottom", "bottom": "top"} | OPPOSITES
    mirrored = (vertical, other[horizontal]), (other[vertical], horizontal)
    return [_corner_caption(scene, i, *pair) for pair in mirrored]


def _corner_caption(scene: Scene, i: int, vertical: str, horizontal: str) -> str:
    name = a(scene.concepts[i].name)
    return f"{name} at the {vertical} {horizontal} of {a(scene.background)} background"


def _clause(scene: Scene, told: tuple[int, str, int]) -> str:
    i, word, j = told
    return f"{a(scene.concepts[i].name)} {PHRASES[word]} {a(scene.concepts[j].name)}"


def _relation_caption(scene: Scene, told: tuple[tuple[int, str, int], ...]) -> str:
    parts = [_clause(scene, pair) for pair in told]
    if len(scene.concepts) % 2:
        parts.append(a(scene.concepts[-1].name))
    if len(parts) == 1:
        return f"{parts[0]} on {a(scene.background)} background"
    return f"{', and '.join(parts)}, on {a(scene.background)} background"


def _ask_presence(scene: Scene, pool: tuple[Concept, ...], rng: np.random.Generator) -> Question:
    if rng.random() < 0.5:
        concept, answer = scene.concepts[int(rng.integers(len(scene.concepts)))], "yes"
    else:
        concept, answer = scene.concepts[0], "no"
        while concept in scene.concepts:
            concept = pool[int(rng.integers(len(pool)))]
    return Question(f"is there {a(concept.name)}?", answer, "presence")


def _ask_relation(scene: Scene, rng: np.random.Generator) -> Question:
    i, word, j = scene.told[int(rng.integers(len(scene.told)))]
    first, second = scene.concepts[i].name, scene.concepts[j].name
    draw = rng.random()
    if draw < 0.5:
        return Question(f"where is the {first} relative to the {second}?", word, "relation")
    said, answer = (word, "yes") if draw < 0.75 else (OPPOSITES[word], "no")
    return Question(f"is the {first} {PHRASES[said]} the {second}?", answer, "relation")


def _ask_place(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Asks for the corner of one of the objects that clearly lie in one."""
    clear = _in_corners(scene)
    if not clear:
        return None
    i = clear[int(rng.integers(len(clear)))]
    place = " ".join(corner(scene.boxes[i], scene.canvas))
    return Question(f"where is the {scene.concepts[i].name}?", place, "place")


def _ask_category(scene: Scene, rng: np.random.Generator) -> Question | None:
    if len(scene.concepts) == 1:
        return Question("what kind of thing is this?", scene.concepts[0].category, "category")
    found = list(extremes(scene.boxes, scene.canvas).items())
    if not found:
        return None
    direction, index = found[int(rng.integers(len(found)))]
    text = f"what kind of thing is {_SIDES[direction]}?"
    return Question(text, scene.concepts[index].category, "category")
