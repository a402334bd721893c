"""Writes any source into ArrayRecord files, one split a call, for the source "array_records"."""

import json
import logging
import uuid
from pathlib import Path
from typing import Any

from vlp_jax.data.paths import local_path
from vlp_jax.data.sources.base import Source, check_choice, check_integer, optional_module
from vlp_jax.data.sources.record_bytes import encode_record
from vlp_jax.data.sources.splits import SPLITS

FORMAT = {"format": "vlp_jax records", "version": 1}
_LISTED = 1000  # reasons kept; the count goes on
LISTS = ("answers", "region_classes", "region_attributes")
"""What a source lists beside its records."""

_LOG = logging.getLogger(__name__)


def write_array_records(
    source: Source, folder: str | Path, split: str, records_per_file: int = 10_000
) -> dict[str, Any]:
    """Writes all records of `source` as one split into a folder and returns its description.

    The folder gets `train-00000.array_record`, … and `train.json`, which is written last, so an
    interrupted call leaves no split that looks whole. Pictures given as paths are copied into the
    files. Records that can't be read are left out, counted and listed in the description.
    ValueError if the split exists already or no record can be written.
    """
    check_choice("split", split, SPLITS)
    check_integer("records_per_file", records_per_file, 1, 2**31)
    folder = local_path(folder, "folder of records")
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / f"{split}.json").exists():
        raise ValueError(f"{folder} holds a split {split} already; delete it or choose another")
    lists = (source.answers(), source.region_classes(), source.region_attributes())
    files, skipped = _write_files(source, folder, split, records_per_file)
    if not files:
        raise ValueError(f"no record could be written; the first reason: {next(iter(skipped), '')}")
    description = {
        **FORMAT,
        "attribution": source.attribution,
        "provides": sorted(source.provides),
        "files": files,
        "skipped_total": len(skipped),
        "skipped": skipped[:_LISTED],
        **dict(zip(LISTS, map(list, lists))),
    }
    _write_whole(folder / f"{split}.json", json.dumps(description, indent=1, ensure_ascii=False))
    return description


def _write_whole(file: Path, text: str) -> None:
    """Writes a file that is there whole or not at all, because its presence makes the split."""
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_files(
    source: Source, folder: Path, split: str, records_per_file: int
) -> tuple[dict[str, int], list[str]]:
    """Returns the number of records by file name, and why records were left out."""
    module = optional_module("array_record.python.array_record_module", "array_record")
    files: dict[str, int] = {}
    skipped: list[str] = list(source.skipped)
    writer = None
    for index in range(len(source)):
        try:
            data = encode_record(source[index])
        except (ValueError, OSError) as error:
            skipped.append(f"record {index}: {error}")
            continue
        if writer is None:
            name = f"{split}-{len(files):05d}.array_record"
            files[name] = 0
            # Every record is read on its own, and encoded pictures do not shrink.
            writer = module.ArrayRecordWriter(str(folder / name), "group_size:1,uncompressed")
        writer.write(data)
        files[name] += 1
        if files[name] == records_per_file:
            writer = _close(writer, name)
    if writer is not None:
        _close(writer, name)
    return files, skipped


def _close(writer: Any, name: str) -> None:
    writer.close()
    _LOG.info("wrote %s", name)
