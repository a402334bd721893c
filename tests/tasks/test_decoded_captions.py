"""Captions from left to right: what is learned, the loss, and a run that writes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.tiny import BLOCK, VOCABULARY, random_batch, random_params, tiny_model
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example
from vlp_jax.model import Views
from vlp_jax.tasks.base import Step
from vlp_jax.tasks.decoded_captions import DecodedCaptionTask, SpelledCaption

TOKENIZER = Tokenizer.fit(["a red dog sits"])


def test_one_of_the_captions_is_spelt_whole():
    spell = SpelledCaption(TextEncoder(TOKENIZER, "plain"), 7)
    captions = ["a red dog", "", "a dog sits"]
    made = [
        spell(Example({"captions": captions}, None), np.random.default_rng(i)) for i in range(30)
    ]
    texts = {TOKENIZER.decode(row["decoded_ids"]) for row in made}
    assert texts == {"a red dog", "a dog sits"}
    for row in made:
        ids, used = row["decoded_ids"], int(row["decoded_mask"].sum())
        assert ids.shape == (7,) and used == 5
        assert (ids[0], ids[used - 1]) == (TOKENIZER.cls_id, TOKENIZER.sep_id)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_over_the_words_after_the_first(smoothing):
    decoder = dict(vocab_size=VOCABULARY, layers=1, max_length=8) | BLOCK
    model, rng = tiny_model(heads={"caption": decoder}), np.random.default_rng()
    params, batch = random_params(model, rng), random_batch(rng, size=3)
    task = DecodedCaptionTask(smoothing=smoothing)

    @jax.jit
    def both(batch):
        views = Views(model, params, batch)
        texts = batch["decoded_ids"], batch["decoded_mask"]
        head = lambda model, *inputs: model.head("caption")(*inputs)
        logits = model.apply({"params": params}, *texts, views.image(), method=head)
        return task.loss(Step(views, None, None, 1.0)), logits

    result, logits = both(batch)
    chances = np.asarray(jax.nn.log_softmax(logits), np.float64)
    losses, right = [], []
    for row, (ids, mask) in enumerate(zip(batch["decoded_ids"], batch["decoded_mask"])):
        for place in range(1, int(mask.sum())):
            said = chances[row, place - 1]
            target = np.full(VOCABULARY, smoothing / (VOCABULARY - 1))
            target[ids[place]] = 1 - smoothing
            known = target[target > 0]
            losses.append((known * (np.log(known) - said[target > 0])).sum())
            right.append(said.argmax() == ids[place])
    assert float(result.loss) == pytest.approx(np.mean(losses), abs=1e-5)
    assert float(result.metrics["caption_word_accuracy"]) == pytest.approx(np.mean(right))


def test_what_a_batch_beyond_a_caption_holds_changes_nothing():
    decoder = dict(vocab_size=VOCABULARY, layers=1, max_length=8) | BLOCK
    model, rng = tiny_model(heads={"caption": decoder}), np.random.default_rng()
    params, batch = random_params(model, rng), random_batch(rng, size=3)
    loss = jax.jit(
        lambda b: DecodedCaptionTask().loss(Step(Views(model, params, b), None, None, 1.0)).loss
    )
    filled = jnp.where(batch["decoded_mask"], batch["decoded_ids"], 5)
    assert float(loss(batch)) == pytest.approx(float(loss(batch | {"decoded_ids": filled})))
