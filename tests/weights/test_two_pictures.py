"""Weights of a fusion of one picture fill both layers of each pair that reads two."""

import jax
import numpy as np

from tests.weights.test_initial import MODEL, VOCABULARY, fill
from vlp_jax.config import ExperimentConfig, build
from vlp_jax.model import build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import unbox
from vlp_jax.weights.conversion import layers_apart

TWO = dict(fusion="two_image_cross_attention", heads=dict(itc=dict(width=4)))
CROSS = "cross_attention/attention"


def filled_from(folder, monkeypatch, theirs, ours):
    """Returns the parameters of a run, those of a model that starts from it, and the news."""
    config = build(ExperimentConfig, {"model": MODEL | theirs}, "config")
    shapes = unbox(abstract_params(build_model(config.model)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.random(x.shape, np.float32), shapes)
    run = config, VOCABULARY, params
    monkeypatch.setattr("tests.weights.test_initial.read_run", lambda path: run)
    new = [f"heads_{name}" for name in ours["heads"] if name not in theirs["heads"]]
    _, after, news = fill({"path": str(folder), "kind": "run", "exclude": new}, **ours)
    return layers_apart(params), after, news


def test_each_layer_starts_two(monkeypatch, tmp_path):
    one = TWO | dict(fusion="cross_attention")
    before, after, news = filled_from(tmp_path, monkeypatch, one, TWO)
    for part in ("key", "value"):
        given = before[f"fusion/layer_1/{CROSS}/{part}/kernel"]
        np.testing.assert_array_equal(after[f"fusion/layer_1/{part}/kernel"], given)
    for rest in (f"{CROSS}/query/kernel", "self_attention/norm/scale", "feed_forward/expand/bias"):
        for which in ("first", "second"):
            given = before[f"fusion/layer_0/{rest}"]
            np.testing.assert_array_equal(after[f"fusion/layer_0/{which}/{rest}"], given)
    np.testing.assert_array_equal(after["text/word/table"], before["text/word/table"])
    assert "freshly drawn are none" in news[-1]


def test_nlvr2_starts_from_what_text_assignment_leaves(monkeypatch, tmp_path):
    classes = lambda name, count: {name: dict(kind="classifier", classes=count)}
    theirs = TWO | dict(heads=TWO["heads"] | classes("ta", 3))
    ours = TWO | dict(heads=classes("nlvr2", 2))
    before, after, news = filled_from(tmp_path, monkeypatch, theirs, ours)
    same = {path for path in after if np.array_equal(after[path], before.get(path, ()))}
    assert {path.split("/")[0] for path in after.keys() - same} == {"heads_nlvr2"}
