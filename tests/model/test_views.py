"""Tests of the views of a batch: each pass once, dropout, and chunks that change nothing."""

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model import tiny
from tests.model.tiny import count_draws, fusion_args, random_batch, random_params, tiny_model
from tests.tasks.fakes import loss_of
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.heads.contrastive import ContrastiveHead
from vlp_jax.losses.momentum import Queue
from vlp_jax.model import CAPTION, TextFields, Views, VisionLanguageModel
from vlp_jax.tasks import TASKS, contrast
from vlp_jax.tasks.answers import AnswerTask
from vlp_jax.tasks.hidden_regions import region_output
from vlp_jax.tasks.matching import FOIL
from vlp_jax.tasks.questions import QUESTION
from vlp_jax.tasks.texts import MASKED
from vlp_jax.tasks.written_answers import WrittenAnswerTask

SIZE = 8
# Every task that trains in every form, and whether it has a teacher (and, with it, a queue).
FORMS = {
    "itc": ("itc", {}, False),
    "itc with teacher": ("itc", {"alpha": 0.4}, True),
    "itc online": ("itc", {"in_batch": "online", "queue_ramp": True}, True),
    "itc ring": ("itc", {"in_batch": "online", "implementation": "ring"}, True),
    "itc sigmoid": ("itc", {"form": "sigmoid"}, True),
    "itc local": ("itc", {"local_batch": 4, "smoothing": 0.1}, True),
    "itm hard": ("itm", {"negatives": "hard"}, False),
    "itm random": ("itm", {"negatives": "random"}, False),
    "itm swapped": ("itm", {"negatives": "swapped"}, False),
    "mlm": ("mlm", {}, False),
    "mlm with teacher": ("mlm", {"alpha": 0.4}, True),
    "vqa bce": ("vqa", {"form": "bce"}, False),
    "vqa ce": ("vqa", {"form": "ce"}, False),
    "vqa kl": ("vqa", {"form": "kl"}, False),
    "vqa kl unnormalised": ("vqa", {"form": "kl_unnormalised"}, False),
    "vqa generative": ("vqa_generative", {}, False),
    "vqa generative with teacher": ("vqa_generative", {"alpha": 0.4}, True),
    "captioning generative": ("captioning_generative", {"smoothing": 0.1}, False),
    "pair": ("pair", {}, False),
    "contrastive tags": ("contrastive_tags", {}, False),
    "sentence image": ("sentence_image", {"text": "clean"}, False),
    "alignment": ("alignment", {"iterations": 5}, False),
    "region feature": ("region_feature", {"form": "l2"}, False),
    "region feature smooth": ("region_feature", {"form": "smooth_l1", "text": "masked"}, False),
    "region class mean": ("region_class", {"form": "kl_mean"}, False),
    "region class sum": ("region_class", {"form": "kl_sum"}, False),
    "region class ce": ("region_class", {"form": "ce"}, False),
    "region labels": ("region_labels", {}, False),
}
# They read one head of a pass that others read too, or two pictures, or write texts first, and have
# tests of their own.
DECIDING = {
    "nlvr2",
    "entailment",
    "referring",
    "pointing",
    "entities",
    "multiple_choice",
    "ranking",
    "gqa",
    "captioning",
    "captioning_by_cider",
    "captioning_generative_by_cider",
    "text_assignment",
}
DECODER = {"vocab_size": tiny.VOCABULARY, "layers": 1, "max_length": 8, **tiny.BLOCK}
HEADS = tiny.HEADS | {
    "itc": {"width": 8, "bias": -1.0},
    "answer": DECODER,
    "caption": DECODER,
    "region_feature": {},
    "region_classifier": {"classes": tiny.CLASSES},
    "region_labels": {
        "objects": tiny.CLASSES,
        "attributes": tiny.CLASSES,
        "features": tiny.FEATURES,
    },
}


def losses(model, params, teacher_params, batch, queue, key, chunks=1):
    """Returns the losses of all forms, and the queue after them, from one set of views."""
    views = Views(model, params, batch, key=key, chunks=chunks)
    teacher = Views(model, teacher_params, batch, chunks=chunks)
    results = {}
    for name, (kind, settings, taught) in FORMS.items():
        given = (teacher, queue) if taught else (None, None)
        results[name] = loss_of(TASKS[kind](**settings), views, *given, ramp=0.5)
    return jnp.stack([r.loss for r in results.values()]), results["itc with teacher"].state


@pytest.fixture(scope="module")
def inputs():
    """A model, and params, teacher, batch, queue and key."""
    model, rng = tiny_model("regions", "single_stream", heads=HEADS), np.random.default_rng()
    queue = Queue.create(jax.random.key(5), 4, 8)
    own, taught = random_params(model, rng), random_params(model, rng)
    return model, (own, taught, random_batch(rng, "regions", size=SIZE), queue, jax.random.key(7))


@pytest.fixture(scope="module")
def whole_and_chunked(inputs):
    """(losses, queue, gradient of one loss by name) for one chunk and for four."""
    model, (params, *rest) = inputs
    found = []
    for chunks in (1, 4):

        @jax.jit
        def weighted(weights, params, *rest, chunks=chunks):
            def total(params):
                all_losses, queue = losses(model, params, *rest, chunks=chunks)
                return (weights * all_losses).sum(), (all_losses, queue)

            return jax.grad(total, has_aux=True)(params)

        rows = np.eye(len(FORMS), dtype=np.float32)
        every = {name: weighted(row, params, *rest) for name, row in zip(FORMS, rows)}
        first = next(iter(every.values()))[1]
        found.append((*first, {name: gradient for name, (gradient, _) in every.items()}))
    return found


@pytest.mark.drawn(6)
@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(FORMS)), ids=FORMS)
def test_chunks_change_no_loss_and_no_gradient(whole_and_chunked, index):
    name = list(FORMS)[index]
    (whole, _, whole_gradients), (chunked, _, chunked_gradients) = whole_and_chunked
    assert whole[index] != 0
    np.testing.assert_allclose(whole[index], chunked[index], atol=1e-5)
    largest = max(np.abs(x).max() for x in jax.tree.leaves(whole_gradients[name]))
    assert largest > 1e-3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(1, largest)),
        whole_gradients[name],
        chunked_gradients[name],
    )


@pytest.mark.slow
def test_chunks_keep_the_order_of_examples(whole_and_chunked, inputs):
    (_, whole, _), (_, chunked, _) = whole_and_chunked
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, chunked)
    np.testing.assert_array_equal(whole.ids, inputs[1][2]["image_id"][-4:])


def test_every_task_that_trains_is_among_the_forms():
    training = {name for name, task in TASKS.items() if task.trains}
    assert {kind for kind, _, _ in FORMS.values()} == training - DECIDING - {
        "detection"
    }  # of square maps


@pytest.mark.parametrize("name", FORMS)
def test_each_needs_no_more_fields_and_heads_than_it_says(name, inputs):
    kind, settings, taught = FORMS[name]
    task = TASKS[kind](**settings)
    sizes = Sizes(tiny.VOCABULARY, 8, tiny.FEATURES, Vocabulary(None), {})
    heads = {head: HEADS[head] for head in task.heads(sizes)}
    model = tiny_model("regions", "single_stream", heads=heads)
    rng, (*_, queue, key) = np.random.default_rng(), inputs[1]
    fields = task.reads | set(model.vision.reads)
    batch = {n: x for n, x in random_batch(rng, "regions", SIZE).items() if n in fields}
    assert batch.keys() == fields

    def run(params, batch):
        teacher = Views(model, params, batch) if taught else None
        views = Views(model, params, batch, key=key)
        return loss_of(task, views, teacher, queue if taught else None)

    result = jax.eval_shape(run, random_params(model, rng), batch)
    assert result.loss.shape == () and result.loss.dtype == jnp.float32
    assert set(result.metrics) == set(task.metrics)
    assert all(x.shape == () for x in result.metrics.values())


def calls_in(function, *args):
    """Returns how often a trace of function(*args) calls each method of the model and of itc."""
    counts = Counter()

    def count(call, inputs, options, context):
        if isinstance(context.module, (VisionLanguageModel, ContrastiveHead)):
            counts[context.method_name] += 1
        return call(*inputs, **options)

    with nn.intercept_methods(count):
        jax.eval_shape(function, *args)
    return counts


def test_each_pass_is_made_once(inputs):
    model, rest = inputs
    counts = calls_in(lambda *rest: losses(model, *rest), *rest)
    # The teacher adds its image and three texts, and the fusion with the masked one and a question.
    assert counts["encode_image"] == 1 + 1
    assert counts["encode_text"] == 3 + 3
    # Each text with its image; wrong pairs for two forms of itm, and swapped ones for all together.
    assert counts["fuse"] == 3 + 2 + 1 + 2
    assert counts["image"] == counts["text"] == 2


def test_nothing_is_made_before_it_is_asked_for(inputs):
    model, (params, _, batch, _, key) = inputs
    assert not calls_in(lambda: (Views(model, params, batch, key=key), jnp.zeros(()))[1])
    only = calls_in(lambda: contrast.vectors(Views(model, params, batch, key=key)))
    assert only["fuse"] == 0 and only["encode_image"] == only["encode_text"] == 1


def test_a_text_from_the_second_half_on_is_a_foil(inputs):
    model, (params, _, batch, _, key) = inputs
    rng = np.random.default_rng()
    order = rng.permutation(SIZE)
    foils = {"foil_ids": batch["text_ids"][order], "foil_mask": batch["text_mask"][order]}
    texts = rng.integers(0, 2 * SIZE, SIZE)
    meant = np.where(texts < SIZE, texts, order[texts % SIZE])

    @jax.jit
    def fused(batch, texts):
        views = Views(model, params, batch, key=key)
        fields = (CAPTION, FOIL) if FOIL.ids in batch else (CAPTION,)
        return views.fused_pairs(jnp.arange(SIZE), texts, fields).text.states

    with_foils, exact = fused(batch | foils, texts), fused(batch, meant)
    np.testing.assert_allclose(with_foils, exact, atol=1e-5)


@pytest.mark.slow
def test_wrong_pairs_are_fusions_of_the_picked_tokens(inputs):
    model, (params, _, batch, _, key) = inputs
    rng = np.random.default_rng()
    texts, images = rng.integers(0, SIZE, (2, 2 * SIZE))

    @jax.jit
    def both(params, batch, texts, images):
        views = Views(model, params, batch, key=key, chunks=2)
        found = views.fused_pairs(images, texts)
        text = model.apply(
            {"params": params}, batch["text_ids"], batch["text_mask"], method="encode_text"
        )
        image = model.apply({"params": params}, batch, method="encode_image")
        pick = lambda tokens, index: jax.tree.map(lambda x: x[index], tokens)
        pairs = pick(image, images), pick(text, texts)
        return found, model.apply({"params": params}, *pairs, method="fuse")

    found, exact = both(params, batch, texts, images)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, exact)


@pytest.mark.parametrize("chunks", [1, 2, 4, 8])
def test_run_keeps_the_order_whatever_the_chunks(inputs, chunks):
    model, (params, *_) = inputs
    views = Views(model, params, {"x": np.zeros(SIZE)}, chunks=chunks)
    x = np.arange(2 * SIZE * 3, dtype=np.float32).reshape(2 * SIZE, 3)
    doubled = views.run(lambda model, x, y, **_: {"sum": x + y}, x, x, name="double")
    np.testing.assert_array_equal(doubled["sum"], 2 * x)


@pytest.fixture(scope="module")
def leaky():
    """A model with dropout in all of its parts, its parameters and a batch of one example twice."""
    rate = {"dropout": 0.3}
    model = tiny_model(
        vision_args=tiny.VISION["vit"] | rate,
        text_args=tiny.TEXT["bert"] | rate,
        fusion_args=fusion_args("cross_attention") | rate,
        pooler="product",
        pooler_args={"width": 16, "dropout": 0.3},
        heads={
            "itc": {"width": 8},
            "itm": {},
            "mlm": {},
            "vqa": {"classes": 5, "dropout": 0.3},
            "answer": DECODER | rate,
            "region_classifier": {"classes": 3, "dropout": 0.3},
        },
    )
    rng = np.random.default_rng()
    batch = random_batch(rng, size=1)
    twice = {name: np.concatenate([x, x]) for name, x in batch.items()}
    return model, random_params(model, rng), twice


# With the number of draws: one a sub-block, one for the text's embeddings, pooler and vqa head.
PASSES = {
    "image": (lambda v: v.image(), 2),
    "text": (lambda v: v.text(), 3),
    "fused": (lambda v: v.fused(), 8),
    "match": (lambda v: v.head("itm"), 9),
    "mismatch": (lambda v: v.head_of("itm", v.fused(), "mismatch"), 9),
    "answer": (lambda v: v.head("vqa", QUESTION), 10),
    "region head": (lambda v: region_output(v, CAPTION, "region_classifier", "object"), 9),
    "decoder": (lambda v: loss_of(WrittenAnswerTask(), v).loss, 8 + 4),
    "several questions": (lambda v: loss_of(AnswerTask(questions=2), several(v)).loss, 10),
}


def several(views):
    """Returns the views with every question asked twice of each image."""
    twice = lambda x: jnp.stack([x, x], axis=1)
    asked = {n: twice(views.batch[n]) for n in (*AnswerTask().reads,)}
    return Views(views.model, views.params, views.batch | asked, key=views.key)


@pytest.mark.parametrize("name", PASSES)
def test_dropout_acts_in_every_pass_that_trains(leaky, name):
    model, params, batch = leaky
    make, expected = PASSES[name]

    def draws(key):
        trace = jax.make_jaxpr(lambda p: make(Views(model, p, batch, key=key)))(params)
        return count_draws(trace.jaxpr)

    assert draws(jax.random.key(0)) == expected
    assert draws(None) == 0


def test_dropout_differs_by_pass_chunk_and_key(leaky):
    model, params, batch = leaky

    @jax.jit
    def texts(key, batch):
        views = Views(model, params, batch, key=key, chunks=2)
        return views.text(CAPTION).states, views.text(MASKED).states

    batch = batch | {"mlm_ids": batch["text_ids"]}
    clean, masked = texts(jax.random.key(0), batch)
    differ = lambda a, b: np.abs(a - b).max() > 0.1
    assert differ(clean[0], clean[1]) and differ(clean, masked)
    assert differ(clean, texts(jax.random.key(1), batch)[0])
    np.testing.assert_array_equal(clean, texts(jax.random.key(0), batch)[0])


def test_segments_reach_the_text_encoder_but_not_for_questions(inputs):
    model, (params, _, batch, _, _) = inputs
    segments = np.random.default_rng().integers(0, 2, batch["text_ids"].shape).astype(np.int32)
    seen = []

    def note(call, args, kwargs, context):
        if context.method_name == "encode_text":
            seen.append(args[2])
        return call(*args, **kwargs)

    views = Views(model, params, batch | {"text_segments": segments})
    with nn.intercept_methods(note):
        jax.eval_shape(lambda: [views.text(fields) for fields in (CAPTION, MASKED, QUESTION)])
        jax.eval_shape(lambda: Views(model, params, batch).text())
    assert seen[0] is segments and seen[1] is segments and seen[2] is None and seen[3] is None


def test_draws_have_names_that_outlive_the_process():
    views = Views(None, None, {}, key=jax.random.key(0))
    exact = jax.random.fold_in(jax.random.key(0), 748428243)  # CRC-32 without its highest bit
    assert views.draw_key("negatives") == exact
    names = ("image", "pairs", "match", "mlm", "")
    assert len({tuple(jax.random.key_data(views.draw_key(n)).tolist()) for n in names}) == 5


def test_size(inputs):
    model, (params, _, batch, _, _) = inputs
    assert Views(model, params, batch).size == SIZE


def test_passes_that_are_there_already_are_not_made_again(inputs):
    model, (params, _, batch, _, _) = inputs
    views = Views(model, params, batch)
    encoded = {"image": views.image(), CAPTION.ids: views.text()}
    given = lambda: Views(model, params, {}, made=encoded)
    assert given().size == SIZE
    assert calls_in(lambda: given().head("itm")).keys() == {"fuse", "read", "head", "pool"}
    np.testing.assert_allclose(given().head("itm"), views.head("itm"), atol=1e-6)


def test_a_head_may_be_called_like_a_pass(inputs):
    model = tiny_model(heads={"fused": {"kind": "vqa", "classes": 5}, "itm": {}})
    rng = np.random.default_rng()
    views = Views(model, random_params(model, rng), random_batch(rng, size=2))
    assert jax.eval_shape(lambda: (views.fused(), views.head("fused"))[1]).shape == (2, 5)


def test_another_picture_is_a_pass_of_its_own(inputs):
    model, (params, _, batch, _, _) = inputs
    more = batch | {"other": batch["region_features"][::-1]}
    views, instead = Views(model, params, more), {"region_features": "other"}
    swapped = Views(model, params, more | {"region_features": more["other"]})
    own, given = views.head("itm"), views.head("itm", instead=instead)
    np.testing.assert_allclose(given, swapped.head("itm"), atol=1e-6)
    assert not np.allclose(own, given)
    assert views.image() is views.image() is not views.image(instead)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda v: v.image({"region_boxs": "x"}),
            'the vision encoder reads no field "region_boxs". Did',
        ),
        (
            lambda v: v.image({"region_mask": "text_idz"}),
            'the batch has no field "text_idz". Did you ',
        ),
        (lambda v: v.text(TextFields("a", "text_mask")), 'the batch has no field "a". Known: '),
        (lambda v: v.text(TextFields("text_ids", "text_maks")), 'the batch has no field "text_mak'),
    ],
)
def test_a_field_that_is_not_there_is_named(inputs, ask, message):
    model, (params, _, batch, _, _) = inputs
    with pytest.raises(ValueError) as error:
        ask(Views(model, params, batch))
    assert str(error.value).startswith(message)
