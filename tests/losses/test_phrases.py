"""The loss of phrases: its targets, and the divergence in float64 and by PyTorch."""

import numpy as np
import pytest

from vlp_jax.losses.phrases import phrase_loss, phrase_targets

RIGHT = np.array([[[1, 0, 1, 0], [0, 1, 0, 0]], [[0, 0, 0, 0], [1, 1, 1, 1]]], bool)
LOGITS = np.random.default_rng(0).normal(size=RIGHT.shape).astype(np.float32)


def test_the_right_regions_share_one():
    rows = [[[0.5, 0, 0.5, 0], [0, 1, 0, 0]], [[0, 0, 0, 0], [0.25] * 4]]
    assert phrase_targets(RIGHT).tolist() == rows


def test_the_loss_is_summed_over_phrases_and_divided_by_captions():
    logits = LOGITS.astype(np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    own = lambda caption, phrase: log_shares[caption, phrase][RIGHT[caption, phrase]]
    terms = (
        (-np.log(2) - own(0, 0)).mean()
        - own(0, 1).mean()
        + (-np.log(4) - own(1, 1)).mean()  # that of caption 1, phrase 0, which none shows, is 0
    )
    assert float(phrase_loss(LOGITS, RIGHT)) == pytest.approx(terms / 2, rel=1e-6)


@pytest.mark.torch
def test_the_loss_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    scores = torch.log_softmax(torch.tensor(LOGITS), -1)
    targets = torch.tensor(np.asarray(phrase_targets(RIGHT)))
    expected = torch.nn.KLDivLoss(reduction="batchmean")(scores, targets)
    assert float(phrase_loss(LOGITS, RIGHT)) == pytest.approx(float(expected), rel=1e-6)
