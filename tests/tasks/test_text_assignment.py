"""Text assignment: which pictures are shown, their labels, and the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.fakes import FakeViews
from vlp_jax.config import DataConfig, ExperimentConfig, ModelConfig
from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.model import Views, build_model
from vlp_jax.model.model import init_params
from vlp_jax.parallel import unbox
from vlp_jax.tasks import Step, build_tasks
from vlp_jax.tasks.text_assignment import FIRST, NEITHER, SECOND, TextAssignmentTask

SIZE = 600
TWO = "two_image_cross_attention"
BLOCK = dict(width=16, heads=2, mlp_width=16, layers=1, dropout=0.0, attention_dropout=0.0)
MODEL = ModelConfig(
    vision_args=dict(image_size=8, patch_size=4, width=16, heads=2, mlp_width=16, layers=1),
    text_args=dict(vocab_size=20, **BLOCK, max_length=8),
    fusion=TWO,
    fusion_args={k: v for k, v in BLOCK.items() if k != "width"},
    heads=dict(itc=dict(width=4), ta=dict(kind="classifier", classes=3, form="linear")),
)


def drawn(vectors, ids=None, **settings):
    ids = np.arange(len(vectors), dtype=np.int32) if ids is None else ids
    views = FakeViews({"image_id": ids}, image=vectors)
    return (np.asarray(x) for x in TextAssignmentTask(**settings).draw(views))


def test_a_third_of_the_texts_has_its_own_picture_in_each_place():
    first, second, labels = drawn(np.ones((SIZE, 2)))
    rows = np.arange(SIZE)
    assert ((first == rows) == (labels == FIRST)).all()
    assert ((second == rows) == (labels == SECOND)).all()
    assert (first != second).all() and (abs(np.bincount(labels) / SIZE - 1 / 3) < 0.1).all()


def test_other_pictures_are_similar_ones_of_another_image():
    """Of two clusters, those of the own one are e^(1/0.5) times as likely as those of the other."""
    cluster = np.arange(SIZE) % 2
    vectors = np.eye(2)[cluster]
    first, second, labels = drawn(vectors, temperature=0.5)
    one = labels != NEITHER
    other = np.where(labels == FIRST, second, first)
    share = (cluster[other] == cluster)[one].mean()
    assert share == pytest.approx(np.e**2 / (1 + np.e**2), abs=0.09)
    ids = np.arange(SIZE, dtype=np.int32) // 2
    first, second, labels = drawn(vectors, ids, neither=1.0)
    assert (labels == NEITHER).all() and (first != second).all()
    assert (ids[first] != ids).all() and (ids[second] != ids).all()


@pytest.mark.slow
def test_the_loss_is_that_of_the_pictures_drawn_one_text_at_a_time():
    model = build_model(MODEL)
    params = unbox(init_params(model, jax.random.key(0), std=0.3))
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.integers(0, 255, (6, 8, 8, 3), dtype=np.uint8)),
        "text_ids": jnp.asarray(rng.integers(5, 20, (6, 5), dtype=np.int32)),
        "text_mask": jnp.ones((6, 5), bool),
        "image_id": jnp.arange(6),
    }
    views, task = Views(model, params, batch, key=jax.random.key(3)), TextAssignmentTask()
    first, second, labels = task.draw(views)

    def logits(model, image, text):
        one = lambda tokens, i: Tokens(tokens.states[i][None], tokens.mask[i][None])
        pairs = enumerate(zip(first, second))
        fuse = lambda i, pair: model.fuse(tuple(one(image, j) for j in pair), one(text, i))
        return jnp.concatenate([model.read("ta", Reading((), (), (fuse(*p),))) for p in pairs])

    given = views.image(), views.text()
    alone = jax.jit(lambda *given: model.apply({"params": params}, *given, method=logits))
    wanted = cross_entropy(alone(*given), labels).mean()
    found = task.checked_loss(Step(views, None, None, jnp.float32(1)), "it")
    assert found.loss == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(model=MODEL, data=DataConfig(batch_size=2)), "make it 3 or more"),
        (dict(model=ModelConfig()), f'"cross_attention" reads 1: set it to {TWO}'),
    ],
)
def test_what_it_needs(config, message):
    with pytest.raises(ValueError, match=message):
        build_tasks(ExperimentConfig(tasks={"text_assignment": {}}, **config))
