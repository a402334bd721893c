"""The files of tasks that point at one of a picture's annotated boxes: Visual7W and GuessWhat.

An entry says which boxes may be chosen by their places among all that are annotated in its picture,
sorted by id, as 12-in-1's file of their features has them.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vlp_jax.data.entry import take
from vlp_jax.data.paths import read_file
from vlp_jax.data.sources.json_values import read_values
from vlp_jax.pickles import read_pickle

Entry = dict[str, Any]


def visual7w_entries(image: Mapping[str, Any]) -> Iterator[Entry]:
    """Yields the questions about one of the "images" of dataset_v7w_pointing.json.

    Of each of its "qa_pairs" these are read: question, qa_id, and the ids of boxes in answer and
    multiple_choices, which holds the wrong ones.
    """
    pairs, picture = take(image, "qa_pairs"), take(image, "image_id")
    choices = [[take(pair, "answer"), *take(pair, "multiple_choices")] for pair in pairs]
    known = [box for each in choices for box in each]
    facts = [{"id": picture, "file": take(image, "filename")}]
    for pair, each in zip(pairs, choices):
        entry = {"name": take(pair, "qa_id"), "pictures": facts}
        entry |= {"captions": [take(pair, "question")]}
        yield entry | candidates(known, each, each[0])


def read_guesswhat(file: Path, boxes: Path) -> Iterator[Entry]:
    """Yields the games of guesswhat.{train,valid,test}.jsonl, each with its dialogue as the text.

    Read of a game are id, image (id, file_name), qas (question, answer), the ids of its objects,
    and object_id. boxes: image_bbox_list.pkl of 12-in-1, picture → "bboxes", the ids of all boxes
    that have features.
    """
    annotated = read_pickle(read_file(boxes, "list of boxes"))
    for game in read_values(file):
        picture = take(game, "image")
        name = take(picture, "id")
        if name not in annotated:
            raise ValueError(f"{boxes} has no boxes of the picture {name}")
        turns = (
            f"start {take(turn, 'question')} answer {take(turn, 'answer')} stop"
            for turn in take(game, "qas")
        )
        facts = [{"id": name, "file": picture.get("file_name", f"{name}.jpg")}]
        entry = {"name": take(game, "id"), "pictures": facts, "captions": [" ".join(turns)]}
        chosen = [take(one, "id") for one in take(game, "objects")]
        known = take(annotated[name], "bboxes")
        yield entry | candidates(known, chosen, take(game, "object_id"))


def candidates(known: Iterable[int], chosen: Iterable[int], right: int) -> Entry:
    """Returns what an entry says of its boxes, given by their ids.

    known: all that are annotated in the picture. chosen: those that may be chosen. ValueError if
    one of these, or the right one, is not among the others.
    """
    known, chosen = sorted(set(known)), sorted(set(chosen))
    places = {box: place for place, box in enumerate(known)}
    missing = [box for box in chosen if box not in places]
    if missing:
        raise ValueError(f"box {missing[0]} is none of the {len(known)} of its picture")
    if right not in chosen:
        raise ValueError(f"the right box {right} is not among those to choose from: {chosen}")
    rows = [places[box] for box in chosen]
    return {"candidate_rows": rows, "right_row": places[right], "candidate_count": len(known)}
