"""Names of figures: their twins, and what stands beside an accuracy."""

import pytest

from vlp_jax.metrics.figures import figure, twin


def test_twins_of_accuracies_and_other_figures():
    assert twin("scene_vqa_accuracy", "blind") == "scene_vqa_blind"
    assert twin("i2t_r1_itm", "chance") == "i2t_r1_itm_chance"
    assert figure("mlm_accuracy", 0.5, 0.1) == {"mlm_accuracy": 0.5, "mlm_chance": 0.1}
    assert figure("mlm_accuracy", 0.5, 0.1, 0.3, "n-gram") == {
        "mlm_accuracy": 0.5,
        "mlm_chance": 0.1,
        "mlm_blind": 0.3,
        "mlm_blind_name": "n-gram",
    }


def test_an_unknown_twin():
    with pytest.raises(ValueError, match='twin kind "blnd": expected one of chance, blind'):
        twin("mlm_accuracy", "blnd")
