"""What the `cases.json` of a bundle of verbs expects, as arrays by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Entries of a case, of its pictures and of the whole file that are compared as they stand.
_NUMBERS = ("logits", "logits_with_the_pictures_swapped", "logits_with_task_id_2", "probabilities")
_WHOLE = (
    "image_feat",
    "text_feat",
    "similarity",
    "itm_logits",
    "match_probability",
    "score_matrix_i2t",
    "score_matrix_t2i",
    "rank_scores_text_by_picture",
)
_ORDERS = (
    "texts_of_each_picture_by_similarity",
    "pictures_of_each_text_by_similarity",
    "texts_of_each_picture_by_match_probability",
    "pictures_of_each_text_by_match_probability",
    "pictures_of_each_text",
    "texts_of_each_picture",
)
# Neighbours in an order of answers are compared where they differ by more (their README).
_GAP = 1e-2
_RANKED = 5

Arrays = dict[str, np.ndarray]


def expected_of_cases(cases: Mapping[str, Any]) -> Arrays:
    """Returns the expected outputs: "case0/logits", "text3/input_ids", "picture0/box_inputs".

    Ids are those of real tokens. Of texts without words and of a literal special token only the
    originals know what they mean; they are left out, as verbs refuse the former.
    """
    made: Arrays = {}
    for i, case in enumerate(cases.get("cases", ())):
        made |= _named(f"case{i}", _case(case))
    for i, text in enumerate([*cases.get("texts", ()), *worded(cases.get("tokenisation", ()))]):
        made |= {f"text{i}/input_ids": real_ids(text)}
    for i, picture in enumerate(cases.get("regions", {}).values()):
        made |= _named(f"picture{i}", _regions(picture))
    for i, picture in enumerate(cases.get("pictures", {}).values()):
        made[f"picture{i}/pixels_sha256"] = np.asarray(picture["resized_uint8_hwc_sha256"])
    made |= {name: np.asarray(cases[name], np.float64) for name in _WHOLE if name in cases}
    made |= {name: np.asarray(cases[name]) for name in _ORDERS if name in cases}
    if "answer_input_ids" in cases:
        made["answer_input_ids"] = np.concatenate(cases["answer_input_ids"])
    return made


def worded(texts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the texts that a verb takes: those with words, without literal special tokens."""
    return [t for t in texts if t["text"].strip() and "[SEP]" not in t["text"]]


def real_ids(case: Mapping[str, Any]) -> np.ndarray:
    """Returns the token ids of a case without padding."""
    ids = np.asarray(case["input_ids"])
    mask = case.get("attention_mask")
    return ids[np.asarray(mask, bool)] if mask is not None else np.trim_zeros(ids, "b")


def _case(case: Mapping[str, Any]) -> Arrays:
    made = {name: np.asarray(case[name], np.float64) for name in _NUMBERS if name in case}
    if "decoding" in case:
        made["tag_ids"] = tag_ids(case)
        return made | _written(case["decoding"])
    made["input_ids"] = real_ids(case)
    if "token_type_ids" in case:
        made["token_type_ids"] = np.asarray(case["token_type_ids"])[: len(made["input_ids"])]
    if "answer" in case:
        made["answer"] = np.asarray(case["answer"])
    if "best" in case:
        made["best"] = np.asarray(case["best"][: _sure(case)])
    for k, ranking in case.get("ranking", {}).items():
        made[f"ranking{k}/answers"] = np.asarray(ranking["answers"][:_RANKED])
        made[f"ranking{k}/log_probability"] = np.log(ranking["probability"])
    if "scores" in case:
        made["scores"] = np.asarray(case["scores"], np.float64)
        made["best_region"] = np.asarray(case["best_region"])
        made["box"] = np.asarray(case["predicted_box_xywh"], np.float64)
    return made


def tag_ids(case: Mapping[str, Any]) -> np.ndarray:
    """Returns the ids of the tags behind the places of a caption, which have type 0."""
    types = np.asarray(case["token_type_ids"])
    return np.asarray(case["input_ids"])[types == 1]


def _written(decoding: Mapping[str, Mapping[str, Any]]) -> Arrays:
    made: Arrays = {}
    for name, found in decoding.items():
        made[f"{name}/ids"] = np.asarray(found["ids"])
        made[f"{name}/caption"] = np.asarray(found["caption"])
        made[f"{name}/log_probability"] = np.asarray(found["log_probability"], np.float64)
    return made


def _sure(case: Mapping[str, Any]) -> int:
    """Returns how many of the best answers stand so far apart that their order is certain."""
    gaps = -np.diff(np.asarray(case["logits"])[case["best_index"]])
    close = np.flatnonzero(gaps <= _GAP)
    return int(close[0]) if len(close) else len(gaps)


def _regions(picture: Mapping[str, Any]) -> Arrays:
    made = {"rows_used": np.asarray(picture["rows_used"])}
    if "first_3_box_inputs" in picture:
        rows = [*picture["first_3_box_inputs"], picture["last_box_input"]]
        made["box_inputs"] = np.asarray(rows, np.float64)
        made["box_sums"] = np.asarray(picture["box_input_column_sums_float64"], np.float64)
    made["features"] = np.asarray(picture["first_3_rows_first_4_features"], np.float64)
    return made


def _named(name: str, arrays: Arrays) -> Arrays:
    return {f"{name}/{key}": value for key, value in arrays.items()}
