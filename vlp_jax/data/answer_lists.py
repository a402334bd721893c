"""The answers of a model in the order of its head, from the files that came with the originals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.json_text import parse_json
from vlp_jax.data.paths import read_file
from vlp_jax.pickles import read_pickle


def read_answers(given: str | Path | Sequence[str] | Mapping[str, int]) -> tuple[str, ...]:
    """Returns answers in order: of a sequence, a mapping answer -> class, or a file with either.

    Files are texts with an answer a line (VisualBERT), JSON (UNITER `ans2label.json`, LXMERT
    `trainval_label2ans.json`, `all_ans.json`) and pickles (OSCAR, ViLBERT). A mapping may also go
    from class to answer. ValueError for what is no list of answers.
    """
    if not isinstance(given, str | Path):
        return _in_order(given, "answers")
    data, path = read_file(given, "list of answers"), Path(given)
    with foreign_bytes(f"list of answers {path}"):
        if path.suffix == ".json":
            return _in_order(parse_json(data, "it"), str(path))
        if path.suffix in (".pkl", ".pickle"):
            return _in_order(read_pickle(data), str(path))
        return _in_order(data.decode("utf-8").splitlines(), str(path))


def _in_order(content: Any, name: str) -> tuple[str, ...]:
    if isinstance(content, Mapping):
        pairs = [(k, a) if isinstance(a, str) else (a, k) for k, a in content.items()]
        places = {_number(place): answer for place, answer in pairs}
        if places.keys() != set(range(len(content))):
            raise ValueError(f"{name}: the classes of {len(content)} answers are not 0, 1, 2, …")
        content = [places[i] for i in range(len(places))]
    if isinstance(content, list) and all(isinstance(a, Mapping) for a in content):
        content = [a.get("ans") for a in content]
    if not isinstance(content, list | tuple) or not all(isinstance(a, str) for a in content):
        raise ValueError(f"{name} is no list of answers, as texts in the order of the head")
    if not content:
        raise ValueError(f"{name} is empty; expected the answers in the order of the head")
    return tuple(content)


def _number(place: Any) -> Any:
    """Returns the class that a file may give as text, as keys of JSON are; others as they are."""
    return int(place) if isinstance(place, str) and place.isdecimal() else place
