"""What is expected of a bundle of verbs, and the bundles themselves where they are at hand."""

from pathlib import Path

import numpy as np
import pytest

from vlp_jax.inference import reference_verbs  # noqa: F401  (registers its kinds)
from vlp_jax.verify import verify
from vlp_jax.verify.verb_cases import expected_of_cases, real_ids

SHARED = Path(__file__).parents[3] / "shared" / "goldens"
BUNDLES = sorted(SHARED.glob("verbs-*")) if SHARED.is_dir() else []


def test_padding_and_uncertain_orders_are_left_out():
    case = {
        "input_ids": [101, 7, 102, 0, 0],
        "attention_mask": [1, 1, 1, 0, 0],
        "logits": [0.0, 1.0, 0.9, 0.5, 0.495],
        "best": ["b", "c", "d", "e", "a"],
        "best_index": [1, 2, 3, 4, 0],
        "answer": "b",
    }
    made = expected_of_cases({"cases": [case]})
    assert made["case0/input_ids"].tolist() == [101, 7, 102]
    assert made["case0/best"].tolist() == ["b", "c"]
    assert made["case0/answer"] == "b" and made["case0/logits"].dtype == np.float64


def test_padding_without_a_mask_is_known_by_its_id():
    assert real_ids({"input_ids": [101, 0, 102, 0, 0]}).tolist() == [101, 0, 102]


def test_texts_that_verbs_refuse_are_left_out():
    texts = [{"text": t, "input_ids": [101, 102]} for t in ("", "  ", "a [SEP]", "a")]
    assert list(expected_of_cases({"tokenisation": texts})) == ["text0/input_ids"]


@pytest.mark.drawn(4)
@pytest.mark.slow
@pytest.mark.skipif(not BUNDLES, reason="the shared bundles are not here")
@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.name)
def test_a_bundle_passes(path):
    (verdict,) = verify([path])
    failed = [row for row in verdict.rows if not row.passed]
    assert verdict.passed, verdict.problem or failed[:5]
