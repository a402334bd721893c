"""Source "easy_vqa": the published easy-VQA questions about one coloured shape."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from vlp_jax.data.json_text import read_json
from vlp_jax.data.paths import existing_file, existing_path
from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    Source,
    check_choice,
    check_index,
    package_folder,
)

SPLITS = ("train", "validation", "test")
_VALIDATION_SHARE = 0.1


@SOURCES.register("easy_vqa")
@dataclass(eq=False)
class EasyVqa(Source):
    """One record a question: picture uint8 [64,64,3], question and its one answer.

    "test" is the published test split, untouched. "validation" holds the questions about the
    last tenth of the published training images, "train" those about the others; so no image is
    in two splits. The "question_type" of a record is "yes/no", "shape" or "color".

    path: folder laid out like the package's `data`; default: the pip package easy-vqa.
    """

    split_names = SPLITS
    provides = frozenset({"image", "question", "more_questions"})
    attribution = (
        "easy-VQA by Victor Zhou, MIT licence, https://github.com/vzhou842/easy-VQA, "
        "from the pip package easy-vqa."
    )

    def __post_init__(self):
        super().__post_init__()
        check_choice("split of source easy_vqa", self.split, SPLITS)
        root = package_folder("easy_vqa", "data") if self.path is None else self.path
        self._root = existing_path(root, "easy-VQA folder")
        self._images = self._root / ("test" if self.split == "test" else "train") / "images"
        self._questions = self._read(self.split)
        self._by_image = _by_image(self._questions)
        answers_file = existing_file(self._root / "answers.txt", "easy-VQA answer file")
        self._answers = tuple(sorted(set(answers_file.read_text().split())))

    def __len__(self) -> int:
        return len(self._questions)

    def __getitem__(self, index: int) -> Record:
        question, answer, image_id = self._questions[check_index(index, len(self))]
        return {
            "image": _read_image(str(self._images / f"{image_id}.png")),
            "image_id": image_id,
            "question": question,
            "answers": {answer: 1.0},
            "more_questions": [e for e in self._by_image[image_id] if e["question"] != question],
            "question_type": _question_type(question, answer),
        }

    def image_ids(self) -> np.ndarray:
        """Returns the number of the image of every question, int64 [N]."""
        return np.array([image_id for _, _, image_id in self._questions], np.int64)

    def answers(self) -> tuple[str, ...]:
        """Returns the closed answer vocabulary, sorted."""
        return self._answers

    def texts(self) -> Iterator[str]:
        """Yields every distinct training question."""
        yield from sorted({question for question, _, _ in self._read("train")})

    def _read(self, split: str) -> list[tuple[str, str, int]]:
        part = "test" if split == "test" else "train"
        file = existing_path(self._root / part / "questions.json", "easy-VQA question file")
        questions = [tuple(entry) for entry in read_json(file)]
        if split == "test":
            return questions
        image_count = max(image_id for _, _, image_id in questions) + 1
        first_held_out = image_count - round(_VALIDATION_SHARE * image_count)
        held_out = split == "validation"
        return [entry for entry in questions if (entry[2] >= first_held_out) == held_out]


def _by_image(questions: list[tuple[str, str, int]]) -> dict[int, list[Record]]:
    """Returns all questions of each image with their answers."""
    found: dict[int, list[Record]] = {}
    for question, answer, image_id in questions:
        found.setdefault(image_id, []).append({"question": question, "answers": {answer: 1.0}})
    return found


def _question_type(question: str, answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes/no"
    return "color" if "color" in question else "shape"


@functools.lru_cache(maxsize=None)
def _read_image(path: str) -> np.ndarray:
    """Returns the picture, read once; all 5,000 take 61 MB. It is shared, hence read-only."""
    picture = cv2.imread(path, cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"easy-VQA picture {path} is missing or can't be decoded")
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    picture.setflags(write=False)
    return picture
