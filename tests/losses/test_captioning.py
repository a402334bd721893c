"""The captioning loss: literal values, and NumPy's on random input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.losses.captioning import mean_of_least, smoothed_losses


def test_without_smoothing_it_is_cross_entropy():
    losses = smoothed_losses(jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]])), jnp.array([1, 0]))
    np.testing.assert_allclose(losses, [np.log(4 / 3), np.log(2)], rtol=1e-6)


def test_smoothed_target_is_compared_by_divergence():
    rng = np.random.default_rng()
    logits, labels = rng.standard_normal((4, 6)), rng.integers(0, 6, 4)
    eps = rng.uniform(0.01, 0.5)
    target = np.full((4, 6), eps / 5)
    target[np.arange(4), labels] = 1 - eps
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = (target * (np.log(target) - log_p)).sum(-1)
    np.testing.assert_allclose(smoothed_losses(logits, labels, eps), expected, atol=1e-5)
    best = smoothed_losses(np.log(target), labels, eps)
    np.testing.assert_allclose(best, 0, atol=1e-6)


@pytest.mark.parametrize(
    "losses, counts, drop, mean",
    [
        ([4.0, 1.0, 2.0, 3.0], [1, 1, 1, 1], 0.0, 2.5),
        ([4.0, 1.0, 2.0, 3.0], [1, 1, 1, 1], 0.5, 1.5),
        ([4.0, 1.0, 2.0, 3.0], [1, 0, 1, 1], 0.5, 2.0),  # one of three
        ([9.0, 1.0], [0, 0], 0.5, 0.0),
    ],
)
def test_worst_words_are_left_out(losses, counts, drop, mean):
    found = mean_of_least(jnp.array(losses), jnp.array(counts, bool), drop)
    assert float(found) == pytest.approx(mean)


@pytest.mark.parametrize("begun, mean", [(False, 10 / 4), (True, 6 / 3)])
def test_until_it_has_begun_no_word_is_left_out(begun, mean):
    losses, counts = jnp.array([4.0, 1.0, 9.0, 2.0, 3.0]), jnp.array([1, 1, 0, 1, 1], bool)
    found = jax.jit(lambda begun: mean_of_least(losses, counts, 0.25, begun))(begun)
    assert float(found) == mean


@pytest.mark.parametrize("drop", [0.2, 0.3, 0.9])
def test_number_kept_is_rounded_down_as_python_does(drop):
    losses = jnp.arange(40, dtype=jnp.float32)
    mean = jax.jit(jax.vmap(lambda n: mean_of_least(losses, losses < n, drop)))
    for n, found in enumerate(mean(jnp.arange(41)).tolist()):
        kept = int(n * (1 - drop))
        assert found == pytest.approx(np.arange(n)[:kept].mean() if kept else 0.0), n
