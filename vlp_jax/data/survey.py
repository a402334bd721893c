"""What the records of a source hold, and what is wrong with those that can't be used."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vlp_jax.data.foreign import listed, shortened
from vlp_jax.data.records import spread_rows
from vlp_jax.data.sources.base import Record, Source

_LABELS = 12  # kinds of labels that are listed
_PLAIN = (str, int, float, list, dict)


@dataclass(frozen=True)
class Survey:
    """Found in a source: lines that say what it holds, and what is wrong with which record."""

    lines: tuple[str, ...]
    problems: tuple[str, ...]


def survey(source: Source, sample: int = 200) -> Survey:
    """Returns what `sample` records, spread evenly, hold; their pictures have to be there.

    Entries that the source itself has left out are problems, too.
    """
    found, problems = [], list(source.skipped)
    for row in spread_rows(len(source), sample).tolist():
        try:
            record = source[row]
            _check_pictures(record)
        except (ValueError, OSError) as error:
            problems.append(f"record {row}: {error}")
            continue
        found.append(record)
    lines = [f"{len(source):,} records with {', '.join(sorted(source.provides))}"]
    labels = Counter(str(record["label"]) for record in found if "label" in record)
    if labels:
        counts = [f"{label} {count}" for label, count in labels.most_common()]
        lines.append(f"labels of {len(found)} of them: {listed(counts, _LABELS)}")
    if "question" in source.provides and (answers := source.answers()):
        lines.append(f"{len(answers):,} answers: {listed(list(answers))}")
    if found:
        lines.append(f"the first: {shortened(_told(found[0]))}")
    return Survey(tuple(lines), tuple(problems))


def _check_pictures(record: Record) -> None:
    for picture in record.get("pictures", [record]):
        image = picture.get("image")
        if isinstance(image, str) and not Path(image).is_file():
            raise FileNotFoundError(f"the picture {image} does not exist")


def _told(record: Record) -> str:
    """Returns what is text or number in a record."""
    hidden = ("pictures", "labels", "official")
    plain = {k: v for k, v in record.items() if k not in hidden and isinstance(v, _PLAIN)}
    return ", ".join(f"{name} {value!r}" for name, value in plain.items())
