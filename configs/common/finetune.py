"""What fine-tuning has in common: how each family reads its inputs and is trained, and its data.

Numbers that hold for a whole family stand here with their source; those of one task in its config.
"""

from collections.abc import Mapping
from typing import Any

from vlp_jax.config import import_beside
from vlp_jax.weights.zoo import ZOO

recipe = import_beside(__file__, "recipe.py")

# Form of the made-up data on which each task is tried.
MADE_UP = dict(
    nlvr2="picture_pairs",
    entailment="statements",
    referring="expressions",
    grounding="expressions",
    pointing="candidates",
    multiple_choice="choices",
    entities="phrases",
)

ASKING = ("vqa", "vqa_generative", "gqa")

# Texts of models that refuse longer ones instead of cutting them: enough for all of the data set.
UNCUT = 62


def experiment(
    argument: str,
    *,
    family: str,
    task: str,
    preset: str,
    start: tuple[dict[str, Any], ...],
    verb: str,
    source: dict[str, Any],
    batch: int,
    rate: float,
    steps: int,
    settings: Mapping[str, Any] = {},
    tasks: Mapping[str, Any] = {},
    data: Mapping[str, Any] = {},
    optimizer: Mapping[str, Any] = {},
    training: Mapping[str, Any] = {},
    model: Mapping[str, Any] = {},
    evaluate: Mapping[str, Any] | None = None,
    best: str | None = "{task}_accuracy",
    epoch: int = 1000,
    variants: tuple[str, ...] = (),
    name: str = "",
) -> dict[str, Any]:
    """Returns the experiment of a published model on a task; "smoke" cuts it down to seconds.

    Texts and regions are read as the published model `preset` is given them for `verb`. `epoch` is
    how many steps lie between evaluations; the best checkpoint by the figure `best` is kept.
    `settings` are the task's, `tasks` others that train beside it, `evaluate` what is measured if
    not its validation split alone; the other mappings go over what the family has. `variants` are
    further arguments of the config, `name` is what the experiment is called if not after the task,
    as the preset, which has several tasks of the verb, calls it.
    """
    recipe.check_argument(argument, *variants)
    reading = _reading(preset, verb, name)
    if task in ASKING:
        settings = dict(question_length=reading["text_length"]) | dict(settings)
    measured = {task: dict(split="validation", limit=None)} if evaluate is None else evaluate
    return whole(
        argument,
        family=family,
        name=name or task,
        model=recipe.published(preset) | dict(model),
        start=start,
        data=reading | source | dict(batch_size=batch) | dict(data),
        tasks=dict(tasks) | {task: dict(settings) | dict(evaluate=measured)},
        rate=rate,
        steps=steps,
        epoch=epoch,
        optimizer=optimizer,
        training=training,
        best=best and best.format(task=task),
        form=MADE_UP.get(task, ""),
    )


def whole(
    argument: str,
    *,
    family: str,
    name: str,
    model: dict[str, Any],
    start: tuple[dict[str, Any], ...],
    data: dict[str, Any],
    tasks: dict[str, Any],
    rate: float,
    steps: int,
    epoch: int,
    optimizer: Mapping[str, Any],
    form: str | Mapping[str, str],
    training: Mapping[str, Any] = {},
    best: str | None = None,
    means: Mapping[str, tuple[str, ...]] = {},
) -> dict[str, Any]:
    """Returns the experiment of these parts, trained as the family is.

    The best checkpoint is kept by the figure `best`, which may be one of `means`. `form` is that
    of made-up data, on which "smoke" tries it, see `recipe.smoke`.
    """
    every = dict(steps=steps, evaluate_every=epoch, checkpoint_every=epoch, log_every=100)
    config = dict(
        name="_".join(filter(None, (family, name, argument))),
        model=model,
        init_from=start,
        data=data,
        tasks=tasks,
        optimizer=_OPTIMIZERS[family](steps, epoch) | dict(learning_rate=rate) | dict(optimizer),
        training=_TRAINING.get(family, {}) | every | dict(training),
        evaluation=dict(best=best, means=means),
    )
    return recipe.smoke(config, form) if argument == "smoke" else config


def _reading(preset: str, verb: str, task: str = "") -> dict[str, Any]:
    """Returns how a published model reads texts and regions when it is used, for a task of many."""
    published = ZOO.get_known(preset)
    rules, words = published.inputs, published.conventions.vocabulary
    text = rules.text_of_task(verb, task) if task else rules.text_of(verb)
    pixels = dict(image_size=published.config.vision_args.get("image_size", 64))
    regions = dict(regions=rules.regions.max_boxes or 36, global_region=rules.global_region)
    return pixels | dict(
        text_style=text.style,
        max_words=text.max_words,
        add_sep=text.add_sep,
        text_length=text.length or UNCUT,
        tags=rules.tags,
        vocabulary=words if words == "bert-base-uncased" else f"weights/{words}",
        threads=8,
        **regions,
    )


def annotated(form: str, path: str, **options: Any) -> dict[str, Any]:
    """Returns the data of a task's published files: fields of `config.data`."""
    return dict(
        source="annotated", source_args=dict(annotated=dict(form=form, path=path) | options)
    )


def vqa(**options: Any) -> dict[str, Any]:
    """Returns the data of VQA v2, trained on the training split and measured on val2014.

    The originals train on most of val2014, too: `splits.train = "train2014,val2014"`.
    """
    return annotated(
        "vqa_v2",
        "data/vqa/v2_OpenEnded_mscoco_{split}_questions.json",
        beside="data/vqa/v2_mscoco_{split}_annotations.json",
        splits=dict(train="train2014", validation="val2014", test="test2015"),
        **options,
    )


def with_genome(asked: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Returns the data of VQA v2 and all questions of Visual Genome, shuffled as one list.

    `asked` are VQA's data, which alone are measured: source "annotated". `options` are those of
    Visual Genome's: its pictures or features, and what an answer counts.
    """
    own = asked["source_args"]["annotated"] | dict(kind="annotated")
    genome = dict(kind="annotated", form="vg_qa", path=GENOME, splits=dict(train="all"))
    genome |= dict(answer_list=own["answer_list"]) | options
    joined = dict(parts=dict(vqa=own, genome=genome))
    return dict(source="joined", source_args=dict(joined=joined, annotated=own))


def gqa(**options: Any) -> dict[str, Any]:
    """Returns the data of GQA, balanced: trained on train and val, measured on testdev."""
    return annotated(
        "gqa",
        "data/gqa/{split}_balanced_questions.json",
        splits=dict(train="train,val", validation="testdev", test="testdev"),
        **options,
    )


def test_pictures(data_set: str) -> tuple[str, ...]:
    """Returns what 12-in-1 leaves out in training: the pictures of any task's test set."""
    return (f"data/vilbert/{data_set}_test_ids.npy",)


def visual7w(**options: Any) -> dict[str, Any]:
    """Returns the data of Visual7W's pointing questions, with features as 12-in-1 has them.

    As there, no picture of another task's test set is trained on.
    """
    return annotated(
        "visual7w",
        "data/visual7w/dataset_v7w_pointing.json",
        store="vilbert_lmdb",
        features="data/vilbert/visual7w/visual7w_resnext152_faster_rcnn_genome.lmdb",
        candidates="data/vilbert/visual7w/visual7w_gt_resnext152_faster_rcnn_genome.lmdb",
        exclude=test_pictures("genome"),
        **options,
    )


def guesswhat(**options: Any) -> dict[str, Any]:
    """Returns the data of GuessWhat's games, with features as 12-in-1 has them."""
    return annotated(
        "guesswhat",
        "data/guesswhat/guesswhat.{split}.jsonl",
        beside="data/vilbert/guesswhat/cache/image_bbox_list.pkl",
        splits=dict(validation="valid"),
        store="vilbert_lmdb",
        features="data/vilbert/coco/COCO_trainval_resnext152_faster_rcnn_genome.lmdb",
        candidates="data/vilbert/guesswhat/guesswhat_gt_resnext152_faster_rcnn_genome.lmdb",
        exclude=test_pictures("coco"),
        **options,
    )


def vg_qa(**options: Any) -> dict[str, Any]:
    """Returns the data of Visual Genome's questions, with features and answers of 12-in-1."""
    return annotated(
        "vg_qa",
        GENOME,
        answer_list="data/vilbert/vqa/trainval_label2ans.pkl",
        store="vilbert_lmdb",
        features="data/vilbert/visual_genome/vg_resnext152_faster_rcnn_genome.lmdb",
        key="{id}",
        exclude=test_pictures("genome"),
        **options,
    )


def oscar_captions() -> dict[str, Any]:
    """Returns the data of COCO's captions, with the features of OSCAR's captioners."""
    return annotated(
        "karpathy",
        "data/dataset_coco.json",
        store="array_record",
        features="data/oscar/coco_caption.regions",
        key="{id}",
    )


GENOME = "data/visual_genome/question_answers.json"
# Questions in it (version 1.2), as remembered; the file was not at hand to count them.
GENOME_QUESTIONS = 1_445_322
# Captions and pictures of Karpathy's training split of COCO.
COCO_CAPTIONS, COCO_PICTURES = 566_747, 113_287
# --freeze_embedding of OSCAR's captioners
FROZEN_WORDS = dict(groups=(dict(pattern="^text/word/table", frozen=True),))
# Questions of VQA v2 for training; of GQA, of train and val, balanced.
VQA, GQA = 443_757, 943_000 + 132_062
# Examples for training of 12-in-1, without pictures of test sets: table 1 of the paper as it is
# remembered; it was not at hand to check them.
VG_QA, VISUAL7W, GUESSWHAT = 1_294_255, 93_813, 100_398


def splits(names: tuple[str, ...], name: str, **options: Any) -> dict[str, Any]:
    """Returns evaluations of splits: "refcoco" of the first, "refcoco_testa" of the next ones."""
    called = (name, *(f"{name}_{split.lower()}" for split in names[1:]))
    return {call: dict(split=split, limit=None) | options for call, split in zip(called, names)}


def _albef(steps: int, epoch: int) -> dict[str, Any]:
    """configs/*.yaml and optim/ of salesforce/ALBEF: AdamW, cosine by whole epochs."""
    return dict(
        end_learning_rate=1e-6,  # schedular.min_lr
        schedule="cosine",
        warmup_steps=100,  # warmup_epochs 1 × 100 iterations, from warmup_lr
        warmup_from=1e-5,
        warmup_stair=100,
        epoch_steps=epoch,
        weight_decay=0.02,
    )


def _uniter(steps: int, epoch: int) -> dict[str, Any]:
    """config/train-*.json and optim/ of ChenRocks/UNITER; gradients are clipped at 2.0."""
    return dict(
        schedule="linear",
        warmup_steps=steps // 10,
        weight_decay=0.01,
        beta2=0.98,
        epsilon=1e-6,
        clip_norm=2.0,
        # Norms whose names have no "LayerNorm" are decayed.
        groups=(dict(pattern="vision/(feature|box)_norm/scale", decay_all=True),),
    )


def _vilbert(steps: int, epoch: int) -> dict[str, Any]:
    """train_tasks.py of facebookresearch/vilbert-multi-task; new heads learn at 1e-4."""
    return dict(
        schedule="linear",  # --lr_scheduler warmup_linear
        warmup_steps=steps // 10,
        weight_decay=0.01,
        bias_correction=False,
    )


def _lxmert(steps: int, epoch: int) -> dict[str, Any]:
    """src/tasks/*.py of airsplay/lxmert: BertAdam on everything, clip_grad_norm_ 5.0."""
    return dict(
        schedule="linear",
        warmup_steps=steps // 10,
        weight_decay=0.01,
        epsilon=1e-6,
        bias_correction=False,
        clip_norm=5.0,
        groups=(dict(pattern=".*", decay_all=True),),
    )


def _visualbert(steps: int, epoch: int) -> dict[str, Any]:
    """models/model_wrapper.py of uclanlp/visualbert: BertAdam, the pooler is never trained.

    The original clips the gradient of each parameter by itself at 1.0; here the norm of all is.
    """
    return dict(
        schedule="linear",
        warmup_steps=steps // 10,
        weight_decay=0.01,
        epsilon=1e-6,
        bias_correction=False,
        clip_norm=1.0,
    )


def _oscar(steps: int, epoch: int) -> dict[str, Any]:
    """MODEL_ZOO.md and oscar/run_*.py of microsoft/Oscar: AdamW, linear, no warm-up."""
    return dict(schedule="linear", weight_decay=0.05, epsilon=1e-8, clip_norm=1.0)


_OPTIMIZERS = dict(
    albef=_albef,
    uniter=_uniter,
    vilbert=_vilbert,
    lxmert=_lxmert,
    visualbert=_visualbert,
    oscar=_oscar,
)
_TRAINING = dict(
    albef=dict(momentum=0.995),
    uniter=dict(dtype="bfloat16"),  # fp16
)


def one_of_twelve(head: str, task: int) -> dict[str, Any]:
    """Returns the parts of 12-in-1's model that one task has: its head, its row of the tasks."""
    model = recipe.published("vilbert_12in1")
    heads = {name: model["heads"][name] for name in (head,)}
    return dict(heads=heads, text_args=model["text_args"] | dict(task=task))


def vilbert_start(*heads: str) -> tuple[dict[str, Any], ...]:
    """pretrained_model.bin of the second release; heads and rows of tasks are new."""
    new = (*(f"heads_{head}" for head in heads), "text/task_token")
    return (dict(path="weights/pretrained_model.bin", kind="vilbert", exclude=new),)


def vilbert_heads(head: str, rate: float = 2e-5) -> dict[str, Any]:
    """Returns the groups of train_tasks.py: what is called `vil_` learns at 1e-4."""
    return dict(groups=(dict(pattern=f"^heads_{head}/", learning_rate=1e-4 / rate),))


def vilbert_pointing(
    argument: str,
    *,
    name: str,
    token: int,
    source: dict[str, Any],
    examples: int,
    batch: int,
    slots: int,
) -> dict[str, Any]:
    """Returns the experiment of one task of 12-in-1 that chooses among annotated boxes."""
    epoch = examples // batch
    return experiment(
        argument,
        family="vilbert",
        task="pointing",
        name=name,
        preset="vilbert_12in1",
        model=one_of_twelve("grounding", token),
        start=vilbert_start("grounding"),
        verb="point",
        source=source,
        settings=dict(slots=slots, head="grounding"),
        evaluate={name: dict(split="validation", limit=None)},
        best=f"{name}_accuracy",
        batch=batch,
        rate=2e-5,  # lr
        steps=20 * epoch,  # num_epoch
        epoch=epoch,
    )


def lxmert_start() -> tuple[dict[str, Any], ...]:
    """--loadLXMERTQA: all of the file, and of its head the rows of the answers that it knows."""
    answers = "data/lxmert/all_ans.json"
    return (dict(path="weights/model_LXRT.pth", kind="lxmert", answers=answers),)
