"""Captions by their worth: rewards, drawn captions, the loss, and that it raises CIDEr-D."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vlp_jax.config import ExperimentConfig, ModelConfig, TrainingConfig
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.metrics.cider import cider
from vlp_jax.model import Views, build_model
from vlp_jax.model.model import init_params
from vlp_jax.parallel import make_mesh, unbox, use_mesh
from vlp_jax.tasks import build_tasks
from vlp_jax.tasks.base import Step
from vlp_jax.tasks.caption_rewards import (
    CaptionWorthTask,
    DecodedCaptionWorthTask,
    ReferenceFields,
    read_rarity,
    scored_sentence,
)
from vlp_jax.tasks.captioning import hidden_word_losses

TOKENIZER = Tokenizer.fit(["a red dog sits on the small blue sofa near an old lamp ."])
CAPTIONS = [
    ["a red dog sits.", "the dog on the sofa"],
    ["a blue lamp", "the old lamp near a sofa."],
    ["an old dog", "the small dog sits on a lamp"],
    ["the sofa", "a blue sofa near the lamp"],
]


class Scenes(list):
    """Records of captions, as a source has them."""

    provides = frozenset({"caption"})

    def by_image(self):
        return self

    def annotation(self, index):
        return self[index]


SOURCE = Scenes({"captions": texts} for texts in CAPTIONS)


def prepared(kind=CaptionWorthTask, **settings):
    usual = dict(samples=3, sample_length=6, reference_length=12)
    if kind is CaptionWorthTask:
        usual |= dict(slots=8)
    return kind(**usual | settings).prepared(Vocabulary(TOKENIZER), {"scenes": SOURCE})


def references(task):
    make = ReferenceFields(TOKENIZER, task.references, task.reference_length)
    made = [make(Example(record, None), None)["reference_ids"] for record in SOURCE]
    return np.stack(made)


def framed(text, length=12):
    return TOKENIZER.frame(TOKENIZER.piece_ids(text), length, True)[0]


def test_rewards_are_those_of_the_metric():
    task, texts = prepared(), ["a red dog sits.", "a lamp", "an old old dog", "the lamp"]
    found = task._worth.of_pictures(
        np.stack([framed(text) for text in texts])[:, None], references(task)
    )
    strings = [[scored_sentence(text) for text in own] for own in CAPTIONS]
    wanted = cider([scored_sentence(text) for text in texts], strings)[1]
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-6)
    assert found[0, 0] > found[1, 0] and scored_sentence("A dog. ") == "A dog <eos>"


def test_published_document_frequencies(tmp_path):
    file = tmp_path / "coco-train-words.p"
    frequencies = {("dog",): 4.0, ("a", "dog"): 2.0}
    file.write_bytes(pickle.dumps({"document_frequency": frequencies, "ref_len": 8}))
    rarity = read_rarity(str(file))
    # One reference equal to the caption: each order that has words of its own scores 10 / 4.
    assert rarity.scores(["a dog"], ["a dog"]) == pytest.approx([5.0])
    weights = dict(dog=np.log(2), a=np.log(8))  # "a" alone is in no picture
    share = weights["dog"] ** 2 / (np.hypot(*weights.values()) * np.hypot(np.log(2), np.log(8)))
    assert rarity.scores(["a dog"], ["dog the"])[0] == pytest.approx(10 * share / 4)
    file.write_bytes(pickle.dumps({"document_frequency": 3, "ref_len": 8}))
    with pytest.raises(ValueError, match='expected "document_frequency" by n-gram'):
        read_rarity(str(file))


def model(dropout=0.0, decoder=False):
    block = dict(heads=2, mlp_width=16, dropout=dropout, attention_dropout=dropout)
    heads = dict(mlm={})
    if decoder:
        heads = dict(caption=dict(vocab_size=TOKENIZER.size, layers=1, max_length=12) | block)
    return build_model(
        ModelConfig(
            vision="regions",
            vision_args=dict(width=8, boxes="corners", feature_width=4, dropout=dropout),
            text_args=dict(width=8, layers=0, max_length=32, vocab_size=TOKENIZER.size) | block,
            fusion="single_stream",
            fusion_args=dict(layers=1) | block,
            pooler="tanh",
            heads=heads,
        )
    )


def batch(task, size=4):
    features = np.eye(4, dtype=np.float32)[:size, None].repeat(2, axis=1)
    return {
        "region_features": features,
        "region_boxes": np.zeros((size, 2, 4), np.float32),
        "region_mask": np.ones((size, 2), bool),
        "tag_ids": np.full((size, 3), 7, np.int32),
        "tag_mask": np.ones((size, 3), bool),
        "reference_ids": references(task)[:size],
    }


def drawn_and_loss(task, built, params, fields, key=5):
    def run(params):
        views = Views(built, params, fields, key=jax.random.key(key))
        ids, scores = task._drawn(views)
        result = task.loss(Step(views, None, None, 1.0))
        return result.loss, (ids, scores, result.metrics)

    return jax.jit(jax.value_and_grad(run, has_aux=True))(params)


def score_by_teacher_forcing(built, params, fields, ids, length, slots=8):
    """The mean log probability of each word of captions [n, L], each asked for at a [MASK]."""
    n, image = len(ids), fields["region_features"]
    total, count = np.zeros(n), np.zeros(n)
    encoded = built.apply({"params": params}, fields, method=built.encode_image)
    pad, mask_id = TOKENIZER.pad_id, TOKENIZER.mask_id
    open_ = np.ones(n, bool)
    for place in range(1, length):
        shown = np.full((n, slots), pad, np.int32)
        shown[:, :place], shown[:, place] = ids[:, :place], mask_id
        real = np.broadcast_to(np.arange(slots) <= place, shown.shape)
        labels = np.full_like(shown, -100)
        labels[:, place] = ids[:, place]
        given = (encoded, shown, real, labels, fields["tag_ids"], fields["tag_mask"])
        options = dict(smoothing=0.0, deterministic=True, method=hidden_word_losses)
        losses, _ = built.apply({"params": params}, *given, **options)
        total -= np.where(open_, np.asarray(losses)[:, place], 0)
        count += open_
        open_ &= ~np.isin(ids[:, place], (TOKENIZER.sep_id, pad))
    assert len(image) == n
    return total / count


@pytest.mark.slow
def test_the_score_of_a_drawn_caption_is_that_of_its_words_and_the_loss_weighs_it():
    task, built = prepared(sample_length=6), model()
    params, fields = unbox(init_params(built, jax.random.key(0), std=0.3)), batch(task)
    params["heads_mlm"]["bias"] = jnp.zeros(TOKENIZER.size).at[TOKENIZER.sep_id].set(4.0)
    (loss, (ids, scores, metrics)), _ = drawn_and_loss(task, built, params, fields)
    ids = np.asarray(ids)
    assert ids.shape == (4, 4, 6) and (ids[:, :, 0] == TOKENIZER.cls_id).all()
    ends = (ids == TOKENIZER.sep_id).any(-1) | (ids == TOKENIZER.pad_id).any(-1)
    assert ends.all()
    for k in range(3):
        uncut = ids[:, k, -1] == TOKENIZER.pad_id  # the word that an end took the place of is gone
        assert uncut.any()
        wanted = score_by_teacher_forcing(built, params, fields, ids[:, k], 6)
        np.testing.assert_allclose(np.asarray(scores)[uncut, k], wanted[uncut], atol=1e-5)
    worth = np.asarray(task._worth.of_pictures(ids, fields["reference_ids"]), np.float64)
    better = worth[:, :3] - worth[:, 3:]
    assert float(loss) == pytest.approx(-(np.asarray(scores) * better).mean(), abs=1e-6)
    assert float(metrics["drawn_cider"]) == pytest.approx(worth[:, :3].mean(), abs=1e-6)
    assert float(metrics["baseline_cider"]) == pytest.approx(worth[:, 3].mean(), abs=1e-6)


@pytest.mark.slow
def test_the_gradient_is_that_of_scores_with_fixed_weights():
    task, built = prepared(baseline="samples"), model()
    params, fields = unbox(init_params(built, jax.random.key(0), std=0.3)), batch(task)
    (_, (ids, _, _)), grads = drawn_and_loss(task, built, params, fields)
    worth = task._worth.of_pictures(np.asarray(ids), fields["reference_ids"])
    others = (worth.sum(1, keepdims=True) - worth) / 2

    def fixed(params):
        views = Views(built, params, fields, key=jax.random.key(5))
        return -jnp.mean(task._drawn(views)[1] * (worth - others))

    wanted = jax.jit(jax.grad(fixed))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), grads, wanted)
    assert any(np.abs(x).max() > 1e-4 for x in jax.tree.leaves(grads))


@pytest.mark.slow
def test_devices_with_their_own_pictures_give_the_same():
    task, built = prepared(sample_length=4), model(dropout=0.1)
    params = unbox(init_params(built, jax.random.key(0), std=0.3))
    fields = {name: np.concatenate([x, x]) for name, x in batch(task).items()}
    (loss, (ids, _, _)), _ = drawn_and_loss(task, built, params, fields)
    with use_mesh(make_mesh(4, 2, devices=jax.devices()[:8])):
        (split, (same, _, _)), _ = drawn_and_loss(task, built, params, fields)
    assert np.array_equal(ids, same) and float(split) == pytest.approx(float(loss), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [CaptionWorthTask, DecodedCaptionWorthTask])
def test_learning_from_worth_raises_it(kind):
    task, built = prepared(kind, samples=8), model(0.1, kind is DecodedCaptionWorthTask)
    params, fields = unbox(init_params(built, jax.random.key(1), std=0.1)), batch(task)
    optimizer = optax.adam(0.02)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, key):
        def loss(params):
            result = task.loss(Step(Views(built, params, fields, key=key), None, None, 1.0))
            return result.loss, result.metrics

        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, metrics

    worth = []
    for number in range(150):
        params, state, metrics = step(params, state, jax.random.key(number))
        worth.append(float(metrics["drawn_cider"]))
    assert np.mean(worth[-10:]) > np.mean(worth[:10]) + 0.5


def test_what_it_knows_of_a_run_is_no_setting():
    with pytest.raises(ValueError, match="captioning_by_cider._worth: no such field"):
        build_tasks(ExperimentConfig(tasks={"captioning_by_cider": {"_worth": None}}))
    assert prepared(slots=9) == CaptionWorthTask(
        samples=3, sample_length=6, reference_length=12, slots=9
    )


def test_what_does_not_fit():
    def mistake(training=TrainingConfig(), **settings):
        config = ExperimentConfig(
            model=ModelConfig(fusion="single_stream"),
            training=training,
            tasks={"captioning_by_cider": dict(slots=20) | settings},
        )
        with pytest.raises(ValueError) as error:
            build_tasks(config)
        return str(error.value)

    assert "samples = 1: give 2 or more" in mistake(baseline="samples", samples=1)
    assert "accumulate = 2: set it to 1" in mistake(TrainingConfig(accumulate=2))
    assert "sample_length = 30 tokens do not fit into its slots = 20" in mistake(sample_length=30)
    with pytest.raises(ValueError, match="none of the record's captions has words"):
        ReferenceFields(TOKENIZER, 2, 4)(Example({"captions": [" "]}, None), None)
