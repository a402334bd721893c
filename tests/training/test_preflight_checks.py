"""What is wrong with a run's evaluations is said before its first step."""

import numpy as np
import pytest

from tests.training.tiny import tiny, write_pairs
from vlp_jax.parallel import use_mesh
from vlp_jax.tasks import Evaluation, build_tasks
from vlp_jax.tasks.evaluation import _check_best
from vlp_jax.training.experiment import assemble

VQA = "config.tasks.vqa.evaluate.x"

MISTAKES = {
    "split": ({"split": "nonsense"}, f'{VQA}.split: source emoji_scenes has no split "nonsense".'),
    "near split": ({"split": "tets"}, 'Did you mean "test"? Known: train, validation, test, novel'),
    "limit": ({"limit": -1}, f"{VQA}.limit = -1: must be at least 1"),
    "limit 0": ({"limit": 0}, f"{VQA}.limit = 0: must be at least 1"),
    "source": ({"source": "easy_vqua"}, f'{VQA}.source: unknown source "easy_vqua". Did you mean'),
    "setting": ({"limt": 3}, f'{VQA}.limt: no such field. Did you mean "limit"?'),
    "type": ({"limit": "all"}, f"{VQA}.limit = 'all' (str): expected"),
    "examples": ({"examples": -3}, f"{VQA}.examples = -3: must be at least 0"),
}


@pytest.mark.parametrize(("settings", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_setting_is_named_with_its_path(settings, message):
    with pytest.raises(ValueError) as error:
        assemble(tiny("light", tasks__vqa__evaluate={"x": settings}))
    assert message in str(error.value)


PARTS = {
    "two_image_cross_attention": ("fusion", "config.model.fusion reads 2 pictures an example, and"),
    "pair_classifier": ("heads__vqa__kind", "config.model.heads.vqa reads 2 pictures an example"),
}


@pytest.mark.parametrize("part", PARTS)
def test_parts_that_compare_pictures_need_several(part):
    path, message = PARTS[part]
    with pytest.raises(ValueError, match=message):
        assemble(tiny("light", **{f"model__{path}": part}))


@pytest.mark.slow
def test_a_head_that_takes_something_else_is_one_sentence():
    experiment = assemble(tiny("light", model__heads__vqa={"kind": "mlm"}))
    with use_mesh(experiment.mesh), pytest.raises(ValueError) as error:
        experiment.compiled_steps(experiment.states.abstract)
    assert str(error.value).startswith("tasks vqa do not go with config.model.heads")
    assert "\n" not in str(error.value)


def best(figure: str, **more):
    return tiny("light", evaluation__best=figure, training__evaluate_every=3, **more)


def test_an_unknown_best_figure_is_named_before_training():
    message = 'best = "vqa_acuracy": no evaluation gives such a figure. Did you mean "vqa_accuracy"'
    with pytest.raises(ValueError, match=message):
        assemble(best("vqa_acuracy"))
    assert assemble(best("vqa_accuracy")).config.evaluation.best == "vqa_accuracy"


def test_the_figure_of_an_evaluation_that_cannot_run_is_no_best(caplog):
    """There is no contrastive head to retrieve by."""
    with pytest.raises(ValueError, match='best = "i2t_r1": no evaluation gives such a figure'):
        assemble(best("i2t_r1"))
    assert "evaluation retrieval will be left out: the model has no head itc" in caplog.text
    assert assemble(tiny("", evaluation__best="i2t_r1_itm", training__evaluate_every=3))


def test_a_mean_of_known_figures_may_be_best():
    averaged = lambda *figures: best("mine", evaluation__means={"mine": figures})
    assert assemble(averaged("vqa_accuracy", "vqa_blind")).config.evaluation.best == "mine"
    with pytest.raises(ValueError, match='means.mine: no evaluation gives the figure "i2t_r1"'):
        assemble(averaged("vqa_accuracy", "i2t_r1"))


def test_what_own_evaluations_give_is_not_known():
    _check_best(best("mine"), [frozenset({"other"}), Evaluation().figures("mine")])
    with pytest.raises(ValueError, match="there is no evaluation that can run"):
        _check_best(best("mine"), [])


def test_a_split_that_the_data_lack_is_left_out_at_the_start(tmp_path, caplog):
    """All pictures are the same, so that none can be held out."""
    path = write_pairs(tmp_path, 24, **{f"_{i}": {"image": "0.png"} for i in range(24)})
    config = tiny("pairs", data__source="json", data__path=str(path), training__evaluate_every=3)
    assemble(config)
    assert 'will be left out: its split "test" cannot be used: ' in caplog.text


def test_a_source_whose_files_are_missing_is_an_error_at_the_start(tmp_path):
    path = write_pairs(tmp_path)
    gone = {"kind": "json", "path": str(tmp_path / "gone.json")}
    config = tiny(
        "pairs",
        data__source="json",
        data__path=str(path),
        data__source_args={"mine": gone},
        tasks__retrieval__evaluate={"mine": {"source": "mine"}},
    )
    with pytest.raises(OSError, match="config.tasks.retrieval.evaluate.mine: .*gone.json"):
        assemble(config)


def test_limits_of_none_and_numbers_are_taken():
    for limit in (None, 1, np.iinfo(np.int32).max):
        config = tiny("light", tasks__vqa__evaluate={"x": {"limit": limit}})
        assert build_tasks(config)["vqa"].evaluate["x"].limit == limit
