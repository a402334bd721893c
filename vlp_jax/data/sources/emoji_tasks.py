"""Source "emoji_tasks": emoji scenes as examples of published tasks, to try their recipes on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vlp_jax.config import Registry
from vlp_jax.data.sources.base import SOURCES, Record, Source, check_index, check_integer
from vlp_jax.data.sources.emoji_scenes import DEFAULT_SIZES, EmojiScenes
from vlp_jax.data.sources.scene_language import a

_CHOICES = 4
Draw = Callable[[], Record]
"""Gives another scene of the same split, each time one drawn anew."""

_TASKS = Registry("form of source emoji_tasks")


@SOURCES.register("emoji_tasks")
@dataclass(eq=False)
class EmojiTasks(Source):
    """Scenes of source "emoji_scenes" with what a task asks of them, in the form of its records.

    form: "picture_pairs" (two scenes, a sentence that is true of one of them or of none, where it
    is a third one's or has the words of a true one), "statements" (a scene entails, contradicts or
    leaves open), "expressions" (with the box that each means, among all), "candidates" (the same,
    all boxes to choose from), "phrases" (a list of what is there, each with its boxes), "choices"
    (of an answer, and of what a true answer rests on).
    size, canvas, concepts: as there.
    """

    form: str = ""
    size: int | None = None
    canvas: int = 64
    concepts: int = 60

    split_names = tuple(DEFAULT_SIZES)
    attribution = EmojiScenes.attribution

    def __post_init__(self):
        super().__post_init__()
        self._make, provides = _TASKS.get_known(self.form, "source emoji_tasks: form")
        size = DEFAULT_SIZES[self.split] if self.size is None else self.size
        self.size = check_integer("size", size, 4, 2**31 - 1)
        self._scenes = EmojiScenes(
            self.split, self.path, self.seed, self.size, self.canvas, self.concepts
        )
        pictures = {"image", "regions", "region_classes", "region_class_scores"}
        self.provides = frozenset(provides | pictures)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Record:
        index = check_index(index, self.size)
        scene = self._scenes[index]
        rng = np.random.default_rng((self.seed, index, len(self.split)))
        kept = ("image", "image_id", "boxes", "labels")
        picture = {k: v for k, v in scene.items() if k in kept or k.startswith("region_")}
        other = lambda: self._scenes[(index + 1 + int(rng.integers(self.size - 1))) % self.size]
        return {"name": f"{self.split}-{index}-0-0"} | picture | self._make(scene, other, rng)

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N]."""
        return np.arange(len(self))

    def region_classes(self) -> tuple[str, ...]:
        """Returns the names of all concepts."""
        return self._scenes.region_classes()

    def region_attributes(self) -> tuple[str, ...]:
        """Returns the categories."""
        return self._scenes.region_attributes()

    def texts(self) -> Iterator[str]:
        """Yields the texts of the scenes."""
        yield from self._scenes.texts()
        yield "the one because and"


def _task(name: str, *provides: str):
    return lambda make: _TASKS.register(name)((make, set(provides)))


def _unit_boxes(scene: Record) -> np.ndarray:
    """Returns the boxes of a scene as shares of the picture, float32 [N, 4]."""
    height, width = scene["image"].shape[:2]
    return scene["boxes"] / np.array([width, height] * 2, np.float32)


@_task("picture_pairs", "pictures", "caption", "label")
def _two_scenes(scene: Record, draw: Draw, rng: np.random.Generator) -> Record:
    other, true = draw(), bool(rng.integers(2))
    if true:
        text = scene["captions"][0]
    elif rng.integers(2):
        text = scene["near_misses"][0]
    else:
        third = next(x for x in iter(draw, None) if x["image_id"] != other["image_id"])
        text = third["captions"][0]
    pictures = [scene, other][:: 1 if rng.integers(2) else -1]
    return {"pictures": pictures, "captions": [text], "label": str(true)}


@_task("statements", "caption", "label")
def _entailed(scene: Record, draw: Draw, rng: np.random.Generator) -> Record:
    other = draw()
    texts = {
        "entailment": scene["captions"][0],
        "contradiction": scene["near_misses"][0],
        "neutral": other["captions"][-1],
    }
    label = sorted(texts)[int(rng.integers(len(texts)))]
    return {"captions": [texts[label]], "label": label}


@_task("expressions", "caption", "target_box", "proposals")
def _referred(scene: Record, draw: Draw, rng: np.random.Generator) -> Record:
    place = int(rng.integers(len(scene["labels"])))
    height, width = scene["image"].shape[:2]
    box = _unit_boxes(scene)[place]
    text = f"the {scene['labels'][place]}"
    corners = np.split(scene["boxes"], 2, axis=1)
    proposals = np.concatenate([corners[0], corners[1] - corners[0]], axis=1)
    meant = {"target_box": box.tolist(), "picture_size": [width, height]}
    return {"captions": [text], "proposals": proposals} | meant


@_task("candidates", "caption", "candidates")
def _pointed_at(scene: Record, draw: Draw, rng: np.random.Generator) -> Record:
    height, width = scene["image"].shape[:2]
    count = len(scene["labels"])
    right = int(rng.integers(count))
    among = {"candidate_rows": list(range(count)), "right_row": right}
    boxes = {"boxes": scene["boxes"], "width": width, "height": height}
    return {"captions": [f"the {scene['labels'][right]}"], "candidates": boxes} | among


@_task("phrases", "caption", "phrases")
def _listed(scene: Record, draw: Draw, rng: np.random.Generator) -> Record:
    boxes, text, phrases = _unit_boxes(scene), "", []
    for name in rng.permutation(sorted(set(scene["labels"]))):
        text += f"{' and ' if text else ''}the {name}"
        own = [box.tolist() for box, other in zip(boxes, scene["labels"]) if other == name]
        phrases.append({"end": len(text), "boxes": own})
    return {"captions": [text], "phrases": phrases}


@_task("choices", "question", "choices", "label")
def _chosen(scene: Record, draw: Draw, rng: np.random.Generator) -> Record:
    absent = [name for name in draw()["labels"] if name not in scene["labels"]]
    names = [scene["labels"][0], *absent, "nothing", "something", "one"][:_CHOICES]
    order = rng.permutation(_CHOICES)
    choices = [a(names[i]) for i in order]
    label = int(np.argmin(order))
    asked = {"question": "what is there?", "choices": choices, "label": label, "about": "answer"}
    if rng.integers(2):
        return asked
    why = [f"because {choice}" for choice in choices]
    return asked | {"given": choices[label], "choices": why, "about": f"rationale {label}"}
