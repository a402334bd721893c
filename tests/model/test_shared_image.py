"""Tests that images projected once, and last layers computed in part, change no number."""

import re

import jax
import numpy as np
import pytest

from tests.model import tiny
from tests.tasks.fakes import loss_of
from vlp_jax.model import CAPTION, Views
from vlp_jax.parallel import batch_sharding, make_mesh, use_mesh
from vlp_jax.tasks.masked_text import MaskedTextTask
from vlp_jax.tasks.matching import FOIL, MatchingTask, loss_of_negatives
from vlp_jax.verify.forward import quick_jit

FORMS = {
    "unrolled": ({}, "none"),
    "scanned": ({"scan_layers": "on"}, "cheap"),
    "one layer": ({"fusion_args": tiny.fusion_args("cross_attention")}, "none"),
    "whole text": ({"pooler": "mean"}, "full"),
}


class Plain(Views):
    """Views that project an image for each text."""

    def shares_image(self, parts: int = 1) -> bool:
        return False


def value_and_gradient(loss, model, batch):
    """Returns those of `loss(views)` as it is made in training, and as it is made plainly."""
    params = tiny.random_params(model, np.random.default_rng(5))

    def of(views):
        make = lambda p, batch: loss(views(model, p, batch, key=jax.random.key(0)))
        return quick_jit(jax.value_and_grad(make))(params, batch)

    return of(Views), of(Plain)


def assert_equal(found, plain):
    np.testing.assert_allclose(found[0], plain[0], rtol=1e-5)
    largest = max(np.abs(x).max() for x in jax.tree.leaves(plain[1]))
    assert largest > 1e-3
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(1, largest))
    jax.tree.map(close, *(x[1] for x in (found, plain)))


def albef(remat="none", **changes):
    layers = {"fusion_args": tiny.fusion_args("cross_attention", layers=2)}
    return tiny.tiny_model(remat=remat, **(layers | changes))


def foils(batch):
    return {FOIL.ids: batch["text_ids"][::-1], FOIL.mask: batch["text_mask"][::-1]}


@pytest.mark.drawn(2)
@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_loss_and_gradient_are_those_of_the_plain_form(form):
    changes, remat = FORMS[form]
    batch = tiny.random_batch(np.random.default_rng())
    batch |= foils(batch)

    def loss(views):
        tasks = MatchingTask(foils=0.5), MaskedTextTask(probability=0.5)
        return sum(loss_of(task, views, ramp=0.5).loss for task in tasks)

    assert_equal(*value_and_gradient(loss, albef(remat, **changes), batch))


@pytest.mark.slow
def test_pairs_within_parts_of_the_batch():
    rng = np.random.default_rng()
    batch = tiny.random_batch(rng)
    batch |= foils(batch)
    own = np.arange(8)
    images, texts = own // 4 * 4 + rng.integers(0, 4, (2, 8))
    texts = np.where(rng.random(8) < 0.5, 8 + own, texts)
    loss = lambda views: loss_of_negatives(views, images, texts, (CAPTION, FOIL), parts=2).loss
    assert_equal(*value_and_gradient(loss, albef(), batch))


@pytest.mark.slow
@pytest.mark.parametrize("local, gathers", [(2, False), (None, True)])
def test_a_local_batch_keeps_images_on_their_device(local, gathers, devices8):
    batch = tiny.random_batch(np.random.default_rng(), size=16)
    model, mesh = albef(), make_mesh(8, 1, 1)
    params = tiny.random_params(model, np.random.default_rng())
    task = MatchingTask(local_batch=local)
    loss = lambda p, batch: loss_of(task, Views(model, p, batch, key=jax.random.key(0))).loss
    with use_mesh(mesh):
        step = jax.jit(jax.grad(loss), in_shardings=(None, batch_sharding(mesh)))
        text = step.lower(params, batch).compile().as_text()
    shapes = [re.findall(r"\[([\d,]+)\]", line)[0] for line in text.splitlines() if _GATHER(line)]
    tokens = 1 + (8 // 4) ** 2
    assert any(f",{tokens}," in f",{shape}," for shape in shapes) == gathers


_GATHER = re.compile(r"= \S+ (all-gather|all-to-all|collective-permute)\(").search
