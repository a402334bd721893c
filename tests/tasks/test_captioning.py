"""Captions: what is hidden, the loss that sees no word ahead, and the official figures."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.config import DataConfig, EvaluationConfig, ExperimentConfig, ModelConfig
from vlp_jax.data.assemble import open_source
from vlp_jax.data.region_fields import Regions
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.model import Views, build_model
from vlp_jax.model.model import init_params
from vlp_jax.parallel import unbox
from vlp_jax.tasks import Run, build_tasks
from vlp_jax.tasks.base import Step
from vlp_jax.tasks.captioning import CaptionEvaluation, CaptionTask, WrittenFields

WORDS = "a red dog sits on the small blue sofa near an old lamp"
TOKENIZER = Tokenizer.fit([WORDS])


def fields(train=True, tags=True, slots=12, length=16):
    return WrittenFields(TextEncoder(TOKENIZER, "plain"), slots, length, tags, train)


def example(caption="a red dog"):
    made = Example({"captions": [caption], "labels": ["dog", "sofa", "lamp"]}, None)
    made["regions"] = Regions({}, np.array([2, 0]))
    return made


@pytest.mark.parametrize(("caption", "hidden"), [("a", 1), ("a red dog", 1), (WORDS, 2)])
def test_what_is_hidden(caption, hidden):
    seen = set()
    for seed in range(40):
        made = fields()(example(caption), np.random.default_rng(seed))
        targets = np.flatnonzero(made["caption_labels"] >= 0)
        assert len(targets) == hidden and 0 not in targets and made["caption_mask"][targets].all()
        seen |= set(targets)
    assert seen == set(range(1, int(made["caption_mask"].sum())))  # the end is learned, too


def test_tags_of_the_regions_that_are_kept_follow():
    made = fields()(example(), np.random.default_rng(0))
    wanted = [*TOKENIZER.piece_ids("lamp dog"), TOKENIZER.sep_id]
    assert made["tag_ids"][made["tag_mask"]].tolist() == wanted and made["tag_ids"].shape == (4,)
    assert set(fields(train=False)(example(), None)) == {"tag_ids", "tag_mask"}
    assert not fields(tags=False)(example(), np.random.default_rng(0))["tag_mask"].any()


def model():
    block = dict(heads=2, mlp_width=8)
    return build_model(
        ModelConfig(
            vision="regions",
            vision_args=dict(width=8, boxes="corners", feature_width=3),
            text_args=dict(width=8, layers=0, max_length=32, vocab_size=TOKENIZER.size) | block,
            fusion="single_stream",
            fusion_args=dict(layers=1) | block,
            pooler="tanh",
            heads=dict(mlm={}),
        )
    )


@pytest.mark.slow
def test_a_hidden_word_does_not_see_what_follows_it():
    built = model()
    params = unbox(init_params(built, jax.random.key(0), std=0.5))
    rng = np.random.default_rng(0)
    batch = {name: x[None] for name, x in fields()(example(WORDS), rng).items()}
    batch |= {"region_features": rng.normal(size=(1, 2, 3)).astype(np.float32)}
    batch |= {"region_boxes": np.zeros((1, 2, 4), np.float32), "region_mask": np.ones((1, 2), bool)}
    batch["caption_labels"][:] = -100
    batch["caption_labels"][0, 4] = 7
    task = CaptionTask(slots=12)
    step = lambda batch: Step(Views(built, params, batch), None, None, 1.0)
    loss = jax.jit(lambda batch: task.loss(step(batch)))
    before = float(loss(batch).loss)
    changed = {place: dict(batch, caption_ids=batch["caption_ids"].copy()) for place in (3, 5)}
    for place, other in changed.items():
        other["caption_ids"][0, place] = 9
    assert float(loss(changed[5]).loss) == before != float(loss(changed[3]).loss)


def test_the_evaluation():
    data = DataConfig(
        source="emoji_scenes",
        source_args={"emoji_scenes": dict(concepts=12, canvas=32, size=5)},
        image_size=32,
        text_length=48,
        tags=True,
    )
    config = ExperimentConfig(data=data, evaluation=EvaluationConfig(batch_size=2))
    source = open_source(data, "emoji_scenes", "test")
    texts = [source[i]["captions"][0] for i in range(5)]
    spoken = Tokenizer.fit(texts)
    rows = iter([spoken.frame(spoken.piece_ids(text), 60, True)[0] for text in [*texts, texts[0]]])
    forward = lambda function, batch: SimpleNamespace(ids=[next(rows) for _ in batch["tag_ids"]])
    run = Run(config, Vocabulary(spoken), forward, CaptionTask())
    outcome = CaptionEvaluation(baseline_records=5)(run, "coco")
    assert outcome.figures["coco_bleu_4"] == pytest.approx(1.0, abs=1e-6)
    assert outcome.figures["coco_cider"] > outcome.figures["coco_cider_blind"]
    assert set(outcome.figures) == CaptionEvaluation().figures("coco")
    entries = json.loads(outcome.submissions["coco_predictions.json"])
    assert [entry["caption"] for entry in entries] == texts


def test_an_evaluation_gives_each_picture_its_constraints(tmp_path):
    data = DataConfig(
        source="emoji_scenes",
        source_args={"emoji_scenes": dict(concepts=12, canvas=32, size=5)},
        image_size=32,
        text_length=48,
        tags=True,
    )
    config = ExperimentConfig(data=data, evaluation=EvaluationConfig(batch_size=2))
    source, file = open_source(data, "emoji_scenes", "test").by_image(), tmp_path / "wanted.json"
    names = [source[i].get("name", source[i]["image_id"]) for i in range(5)]
    file.write_text(json.dumps({str(names[3]): [["a"]]}))
    spoken, states = Tokenizer.fit([source[0]["captions"][0], "a"]), []

    def forward(function, batch):
        states.extend(batch["constraint_reached"].max(-1))
        return SimpleNamespace(ids=np.full((len(batch["tag_ids"]), 3), spoken.sep_id))

    run = Run(config, Vocabulary(spoken), forward, CaptionTask())
    CaptionEvaluation(baseline_records=5, constraints=str(file))(run, "coco")
    assert states == [0, 0, 0, 1, 0, 0]


def test_what_does_not_fit():
    def mistake(**values):
        with pytest.raises(ValueError) as error:
            build_tasks(ExperimentConfig(tasks={"captioning": {}}, **values))
        return str(error.value)

    assert 'config.model.fusion = "single_stream"' in mistake()
    single = ModelConfig(fusion="single_stream")
    assert "slots = 40 leaves nothing of config.data.text_length = 25" in mistake(model=single)


@pytest.mark.parametrize("number, mean", [(19_999, 2.5), (20_000, 2.0)])
def test_the_worst_words_are_left_out_from_a_step_on(number, mean):
    losses, right = jnp.array([[0.0, 4.0, 1.0], [2.0, 9.0, 3.0]]), jnp.zeros((2, 3), bool)
    labels = np.array([[-100, 7, 7], [7, -100, 7]])
    batch = dict.fromkeys(WrittenFields.makes, None) | {"caption_labels": labels}
    views = SimpleNamespace(
        batch=batch, image=lambda: None, run=lambda *inputs, name: (losses, right)
    )
    task = CaptionTask(drop=0.2, drop_after=20_000)
    made = jax.jit(lambda number: task.loss(Step(views, None, None, 1.0, number)))(number)
    assert float(made.loss) == mean
