"""Tests of the published fine-tuning recipes; test_readme_table.py trains each in small."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from tests.data.regions.pictures import lxmert_line, random_pictures, write_lines
from tests.training.tiny import ROOT
from vlp_jax.config import ExperimentConfig, build, load_config, to_plain
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.model import Forward, build_model
from vlp_jax.model.model import abstract_params, init_params
from vlp_jax.parallel import unbox
from vlp_jax.tasks import build_tasks, evaluate
from vlp_jax.training.experiment import assemble
from vlp_jax.weights.conversion import layers_apart
from vlp_jax.weights.initial import read_initial_weights
from vlp_jax.weights.zoo import ZOO
from vlp_jax.weights.zoo.base import abstract_shapes

# What the file that a recipe starts from holds, where its name is read as another model's.
FILES = {
    "albef_nlvr2": "albef_nlvr2_pretrain",
    "uniter_nlvr2": "uniter",
    "visualbert_vqa": "visualbert",
    "oscar_caption": "oscar",
    "uniter_retrieval": "uniter",
}

CONFIGS = sorted(ROOT.glob("configs/*/finetune_*.py"))
NAMES = [f"{file.parent.name}/{file.stem.removeprefix('finetune_')}" for file in CONFIGS]
# With the step between pre-training and fine-tuning, of which nothing is measured, and without
# what starts from BERT.
STEPS = [f for f in CONFIGS if f.stem != "finetune_nocaps"]
STEPS.append(ROOT / "configs/albef/pretrain_nlvr2.py")
STEP_NAMES = [f"{file.parent.name}/{file.stem.removeprefix('finetune_')}" for file in STEPS]


@pytest.mark.parametrize("file", CONFIGS, ids=NAMES)
def test_a_recipe_and_its_smoke_run_ask_the_same(file):
    published, small = load_config(str(file)), load_config(f"{file}:smoke")
    tasks, cut = build_tasks(published), build_tasks(small)
    assert tasks.keys() == cut.keys()
    for name, task in tasks.items():
        assert {"evaluate", "queue_size", "local_batch"} >= {
            k for k, v in vars(task).items() if vars(cut[name])[k] != v
        }
    measured = [e.figures(name) for t in tasks.values() for name, e in t.evaluate.items()]
    best, means = published.evaluation.best, published.evaluation.means
    assert best is None or best in frozenset(means).union(*measured)
    assert means == small.evaluation.means
    assert measured
    assert small.optimizer.groups == published.optimizer.groups
    assert small.data.tags == published.data.tags and published.init_from


class Published(dict):
    """The tensors of a published model, all one, as a file has them."""

    meta = SimpleNamespace(config={})

    def __init__(self, kind: str):
        model = ZOO[FILES.get(kind, kind)]
        shapes = abstract_shapes(build_model(model.config))
        super().__init__(model.save(jax.tree.map(lambda x: np.ones(x.shape, np.float16), shapes)))

    def release_pages(self) -> None:
        """Nothing is mapped."""


@pytest.mark.drawn(3)
@pytest.mark.slow
@pytest.mark.parametrize("file", STEPS, ids=STEP_NAMES)
def test_all_but_the_head_comes_from_the_file_it_starts_from(file, monkeypatch):
    config = load_config(str(file))
    (kind,) = {entry["kind"] for entry in config.init_from}
    monkeypatch.setattr("vlp_jax.weights.sources.read_state_dict", lambda path: Published(kind))
    model = build_model(config.model)
    shapes = unbox(abstract_params(model))
    answers = tuple(map(str, range(9500)))  # of LXMERT's pre-training
    monkeypatch.setattr("vlp_jax.weights.initial.read_answers", lambda path: answers)
    classes = config.model.heads.get("vqa", {}).get("classes", 0)
    words = Vocabulary(Tokenizer.fit(["a"]), answers[:classes])
    found = read_initial_weights(config, model, shapes, words, None)
    filled = frozenset.union(*(filling.paths for filling in found.fillings))
    fresh = {path.split("/")[0] for path in layers_apart(shapes).keys() - filled}
    assert all(part.startswith("heads_") for part in fresh - {"text"})
    assert "text" not in fresh or config.model.text_args["tasks"]  # the row of the task


@pytest.mark.slow
def test_from_published_files_to_the_servers_file(tmp_path):
    """LXMERT on eight questions of VQA: trained nothing, measured, and handed in."""
    keys = [f"COCO_train2014_{i:012d}" for i in range(8)]
    pictures = zip(keys, random_pictures(8).values())
    write_lines(tmp_path / "f.tsv", [lxmert_line(*picture) for picture in pictures])
    asked = [{"image_id": i, "question": "what?", "question_id": 100 + i} for i in range(8)]
    given = [{"answer": "cat", "answer_id": i} for i in range(10)]
    annotations = [{"question_id": 100 + i, "image_id": i, "answers": given} for i in range(8)]
    for split in ("train2014", "val2014", "test2015"):
        questions = {"data_subtype": "train2014", "questions": asked}
        (tmp_path / f"q_{split}.json").write_text(json.dumps(questions))
    for split in ("train2014", "val2014"):
        (tmp_path / f"a_{split}.json").write_text(json.dumps({"annotations": annotations}))
    (tmp_path / "answers.json").write_text(json.dumps(["dog", "cat", ""]))
    values = to_plain(load_config(str(ROOT / "configs/lxmert/finetune_vqa.py:smoke")))
    published = to_plain(load_config(str(ROOT / "configs/lxmert/finetune_vqa.py")))["data"]
    files = published["source_args"]["annotated"] | dict(
        path=str(tmp_path / "q_{split}.json"),
        beside=str(tmp_path / "a_{split}.json"),
        answer_list=str(tmp_path / "answers.json"),
        features=str(tmp_path / "f.tsv"),
    )
    values["data"] |= dict(source="annotated", source_args=dict(annotated=files), region_pixels=0)
    measured = dict(vqa=dict(split="validation"), served=dict(split="test"))
    values["tasks"]["vqa"]["evaluate"] = measured
    experiment = assemble(build(ExperimentConfig, values, "config"))
    assert experiment.vocabulary.answers == ("dog", "cat", "")
    params = unbox(init_params(experiment.model, jax.random.key(0)))
    forward = Forward(experiment.model, params)
    outcome = evaluate(experiment.config, experiment.vocabulary, forward)
    assert (
        outcome.figures["vqa_accuracy"] in (0.0, 1.0) and "served_accuracy" not in outcome.figures
    )
    rows = json.loads(outcome.submissions["served_predictions.json"])
    assert [row["question_id"] for row in rows] == list(range(100, 108))
