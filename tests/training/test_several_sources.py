"""Sources that stay apart: turns, and what each has of its own, from records to figures."""

import jax
import numpy as np
import pytest

from tests.training.tiny import ROOT
from vlp_jax.config import ExperimentConfig, build, load_config, to_plain
from vlp_jax.data.assemble import open_sources
from vlp_jax.data.regions import Regions
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.inference.model import Model
from vlp_jax.model import Forward, build_model
from vlp_jax.model.model import init_params
from vlp_jax.parallel import unbox, use_mesh
from vlp_jax.tasks import evaluate
from vlp_jax.training.experiment import assemble

SPEC = str(ROOT / "configs/vilbert/finetune_12in1.py")


@pytest.fixture(scope="module")
def joint():
    """The twelve tasks of 12-in-1 in small."""
    return assemble(load_config(f"{SPEC}:smoke"))


@pytest.fixture(scope="module")
def params(joint):
    return unbox(init_params(joint.model, jax.random.key(0)))


def changed(**given):
    """Returns the small experiment with other data, by dotted path with __ for a dot."""
    values = to_plain(load_config(f"{SPEC}:smoke"))
    for path, value in given.items():
        *folders, last = path.split("__")
        place = values
        for folder in folders:
            place = place[folder]
        place[last] = value
    return build(ExperimentConfig, values, "config")


def short_of_answers():
    """Returns the small experiment whose "gqa" knows two answers."""
    config = changed()
    sources = open_sources(config.data)
    sources["gqa"].answers = lambda: ("yes", "red")
    return assemble(config, sources=sources)


def test_the_published_recipe():
    """Numbers of vilbert_tasks.yml: batch, text, token, and the learning rate over the lowest."""
    config = load_config(SPEC)
    given = {}
    for name, task in config.tasks.items():
        (source,), own = task["sources"], None
        own = config.data.own(source)
        if task["kind"] != "retrieval":  # which is measured and not trained
            given[own.task_token] = own.batch_size, own.text_length, task["weight"]
        assert name.startswith(source)
    assert given == {
        1: (128, 23, 2), 2: (128, 26, 2), 4: (256, 20, 1), 7: (128, 30, 1), 8: (128, 30, 1),
        9: (256, 20, 1), 10: (256, 20, 1), 11: (256, 20, 1), 12: (64, 40, 1), 13: (256, 56, 1),
        15: (128, 26, 2), 17: (64, 256, 1),
    }  # fmt: skip
    assert config.optimizer.learning_rate == 2e-5 and config.data.order == "in_turn"
    rates = {group["pattern"]: group["learning_rate"] * 2e-5 for group in config.optimizer.groups}
    heads = ("vqa", "gqa", "nlvr2", "ve", "ranking")
    assert rates == {f"^heads_{head}/": pytest.approx(1e-4) for head in heads}
    assert config.training.steps == 20 * 12 * (1_294_255 // 128)
    assert config.evaluation.best == "mean"
    averaged = [figure.split("_t2i_r1")[0] for figure in config.evaluation.means["mean"]]
    assert [name.removesuffix("_accuracy") for name in averaged] == [*config.data.sources]
    questions = {n: t["question_length"] for n, t in config.tasks.items() if "question_length" in t}
    assert questions == {"vqa": 23, "vg_qa": 26, "gqa": 26}


def test_each_source_trains_its_own_task_with_its_own_batches(joint):
    groups = {source: list(found) for source, found in joint.schedule.groups.items()}
    assert groups["coco"] == [("coco_ranking",)] and groups["refcocog"] == [("refcocog",)]
    assert all(len(found) == 1 for found in groups.values()) and len(groups) == 12
    sizes = {name: joint.mixture[name].first["text_ids"].shape for name in groups}
    assert sizes["vqa"] == (8, 23) and sizes["visual7w"] == (16, 20) and sizes["nlvr2"] == (8, 40)
    assert {name: joint.batch_size(name) for name in groups} == {n: s[0] for n, s in sizes.items()}
    assert joint.config.data.mean_batch_size(48) == pytest.approx(
        np.mean([s[0] for s in sizes.values()])
    )
    first, second = "vqa vg_qa visual7w coco flickr30k refcoco".split(), list(groups)
    assert [joint.mixture.choice(step) for step in range(18)] == second + first


def test_each_step_takes_its_batches(joint):
    """Steps are traced, and not compiled: the state that comes out is as it goes in."""
    state = joint.states.abstract
    shardings = jax.tree.map(lambda x: x.sharding, state)
    with use_mesh(joint.mesh):
        steps = joint.jitted_steps(shardings)
        for source, groups in joint.schedule.groups.items():
            (group,) = groups
            batch = joint.mixture[source].first
            after, metrics = jax.eval_shape(steps[group], state, batch)
            assert jax.tree.structure(after) == jax.tree.structure(state)
            assert f"{group[0]}_loss" in metrics


def test_the_token_of_a_source_is_the_row_of_the_table(joint, params):
    ids = np.array([[2, 5, 6, 3]], np.int32)
    mask = np.ones_like(ids, bool)
    encode = lambda model, **more: (
        model.apply({"params": params}, ids, mask, None, method=model.encode_text, **more).states
    )
    named = encode(joint.model, tasks=np.array([9]))
    np.testing.assert_array_equal(encode(joint.model.with_task(9)), named)
    assert np.abs(encode(joint.model) - named).max() > 0
    assert joint.model.with_task(None) is joint.model


def test_lists_of_answers_stay_apart(joint):
    words = joint.vocabulary
    assert set(words.answer_lists) == {"gqa"}
    assert Vocabulary.from_json(words.to_json()).answer_lists == words.answer_lists
    assert words.of_list("gqa").answers == words.answer_lists["gqa"]
    other = short_of_answers()
    heads = other.config.model.heads
    lists = other.vocabulary.answers, other.vocabulary.answer_lists["gqa"]
    assert (heads["vqa"]["classes"], heads["gqa"]["classes"]) == tuple(map(len, lists))
    assert len(lists[0]) > len(lists[1]) and lists[1] == ("yes", "red")
    scores = {name: other.mixture[name].first["answer_scores"].shape[1] for name in ("vqa", "gqa")}
    assert scores == {"vqa": len(lists[0]), "gqa": len(lists[1])}


def test_an_evaluation_is_as_its_source_is(joint, params):
    kept = ("vg_qa", "gqa", "guesswhat")
    tasks = {name: joint.config.tasks[name] for name in kept}
    config = build(ExperimentConfig, to_plain(joint.config) | {"tasks": tasks}, "config")
    seen = []

    class Seen(Forward):
        def of_task(self, row):
            seen.append(row)
            return Seen(self.model.with_task(row), self.params)

        def __call__(self, function, batch, made=None):
            seen.append((self.model.text.task, batch["text_ids"].shape[1]))
            return super().__call__(function, batch, made)

    figures = evaluate(config, joint.vocabulary, Seen(joint.model, params)).figures
    assert {f"{name}_accuracy" for name in kept} <= figures.keys()
    assert {x for x in seen if isinstance(x, tuple)} == {(2, 26), (15, 26), (17, 256)}
    assert [x for x in seen if isinstance(x, int)] == [2, 15, 17]


def test_a_model_of_several_tasks_reads_each_as_trained(joint, params):
    rules = Model(joint.config, params, joint.vocabulary).rules
    read = {verb: (rules.text_of(verb).task, rules.text_of(verb).length) for verb in rules.texts}
    assert read["ground"] == (9, 20) and read["point"] == (4, 20) and read["reason"] == (12, 40)
    assert read["entail"] == (13, 56) and read["retrieve"] == read["match"] == (7, 30)
    assert (read["vqa"], read["gqa"]) == ((1, 23), (15, 26))
    own = {name: (text.task, text.length) for name, text in rules.tasks["point"].items()}
    assert list(own.items()) == [("visual7w", (4, 20)), ("guesswhat", (17, 256))]
    own = {name: (text.task, text.length) for name, text in rules.tasks["vqa"].items()}
    assert list(own.items()) == [("vqa", (1, 23)), ("vg_qa", (2, 26))]


def test_answers_are_those_of_the_head():
    other = short_of_answers()
    params = unbox(init_params(other.model, jax.random.key(0)))
    model = Model(other.config, params, other.vocabulary)
    assert {"answer", "ground", "reason", "entail", "retrieve"} <= set(model.verbs)
    width, rng = other.model.vision.feature_width, np.random.default_rng(0)
    boxes = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], np.float32)
    shown = Regions(rng.standard_normal((2, width)).astype(np.float32), boxes, 8, 8)
    for head, name in (("vqa", ""), ("gqa", "gqa")):
        known = other.vocabulary.of_list(name).answers
        found = model.answer(questions="is it red?", regions=shown, top=99, head=head)
        assert sorted(answer.text for answer in found) == sorted(known)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"data__weights": {"vqa": 2.0}},
            'config.data.weights are for config.data.order = "drawn"',
        ),
        (
            {"data__per_source__gqa__first_step": 9},
            'per_source.gqa.first_step = 9 is for config.data.order = "drawn"',
        ),
        ({"data__per_source__vqua": {}}, 'config.data.per_source: unknown source "vqua".*"vqa"'),
        ({"tasks__gqa__sources": ["gqua"]}, 'config.tasks.gqa.sources: "gqua" is not.*"gqa"'),
        ({"data__per_source__gqa__task_token": 20}, "20 is no row of .* tasks, which has 20"),
        ({"data__per_source__gqa__batch": 20}, 'per_source.gqa.batch: no such field.*"batch_size"'),
        ({"training__accumulate": 16}, r"per_source.vqa.batch_size = 8 is not divisible by"),
    ],
)
def test_what_does_not_fit(given, message):
    with pytest.raises(ValueError, match=message):
        assemble(changed(**given))


def test_an_encoder_without_a_table():
    model = build_model(load_config(str(ROOT / "configs/vilbert/scenes.py")).model)
    with pytest.raises(ValueError, match="5 is no row of the text encoder's table .* has 0"):
        model.with_task(5)
