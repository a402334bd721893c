"""What eight models have in common when they are compared on emoji scenes: data, budget, tasks."""

from typing import Any

WIDTH = 128
TEXT_LENGTH, QUESTION_LENGTH = 24, 14

# One Transformer layer of every model: with `WIDTH` it has 198,000 parameters.
BLOCK = dict(heads=4, mlp_width=4 * WIDTH, dropout=0.0, attention_dropout=0.0)
VISION_BLOCK = dict(heads=4, mlp_width=4 * WIDTH)

CONCEPTS = dict(concepts=24)

# A region is what its box shows, at 16 × 16 pixels; the boxes are exact.
REGIONS = dict(regions=4, region_pixels=16)

# In place of them the regions and features of the detector of configs/detection/scenes.py.
_FOUND = dict(
    source="found_regions",
    source_args=dict(
        found_regions=dict(
            records=dict(kind="emoji_scenes") | CONCEPTS, features="runs/scenes/found.tsv"
        )
    ),
    region_pixels=0,
)


def experiment(
    argument: str,
    *,
    name: str,
    model: dict[str, Any],
    tasks: dict[str, Any],
    data: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    matches: bool = True,
    optimizer: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the experiment of one model; "smoke" makes it run in seconds.

    "found" gives a model of regions those of a detector in place of exact ones. `tasks` are the
    model's own; answering questions and what is measured is added to all. `matches` says that the
    matching head tells a caption from another image's, so that it can be asked to rank.
    """
    data = data or {}
    if argument == "found" and data.get("regions"):
        argument, name, data = "", f"{name}_found", data | _FOUND
    return made(
        argument,
        name=name,
        model=dict(init_std=0.05) | model,
        tasks=_tasks(tasks, matches),
        data=data,
        training=training,
        optimizer=optimizer,
    )


def made(
    argument: str,
    *,
    name: str,
    model: dict[str, Any],
    tasks: dict[str, Any],
    data: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    optimizer: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns an experiment on the same scenes, by the same optimizer, with these tasks alone."""
    if argument not in ("", "smoke"):
        raise ValueError(
            f'unknown argument "{argument}" of this config; known: smoke; of '
            "models of regions also found"
        )
    values = dict(
        name=name,
        model=model,
        data=_data() | (data or {}),
        tasks=tasks,
        optimizer=_optimizer() | (optimizer or {}),
        training=dict(steps=160, log_every=40, checkpoint_every=160) | (training or {}),
        evaluation=dict(batch_size=64),
    )
    return _small(values) if argument else values


def text(layers: int, **others: Any) -> dict[str, Any]:
    """Returns the arguments of a text encoder of so many layers."""
    return dict(width=WIDTH, layers=layers, max_length=2 * TEXT_LENGTH) | BLOCK | others


def regions(boxes: str, **others: Any) -> dict[str, Any]:
    """Returns the arguments of a region encoder with a published box encoding."""
    return dict(width=WIDTH, boxes=boxes) | BLOCK | others


def _data() -> dict[str, Any]:
    return dict(
        source="emoji_scenes",
        source_args=dict(emoji_scenes=CONCEPTS),
        batch_size=32,
        image_size=64,
        text_length=TEXT_LENGTH,
        vocabulary="fit",
        add_sep=True,
        flip=False,  # captions say left and right
        prefetch=8,
    )


def _optimizer() -> dict[str, Any]:
    return dict(
        name="muon",
        muon_rms=1.2,
        muon_momentum=0.85,
        learning_rate=1.5e-3,
        end_learning_rate=1e-5,
        schedule="cosine",
        warmup_steps=30,
        weight_decay=0.02,
        beta2=0.98,
        clip_norm=1.0,
    )


def _tasks(own: dict[str, Any], matches: bool) -> dict[str, Any]:
    """Returns the model's own tasks and questions, with what is measured on unseen splits."""
    words = dict(
        probability=0.4,  # in a short run more words to guess are worth more than context
        evaluate=dict(mlm=dict(split="test", limit=512)),
    )
    answers = dict(
        form="ce",
        question_length=QUESTION_LENGTH,
        questions=4,
        evaluate=dict(scene_vqa=dict(split="test", limit=1024)),
    )
    every = own | dict(mlm=own["mlm"] | words, vqa=answers)
    if not matches:
        return every
    ranked = dict(matching=dict(rank_by="matching", split="test", limit=64))
    return every | dict(
        retrieval=dict(captions=1, evaluate=ranked),
        near_miss=dict(evaluate=dict(near_miss=dict(split="test", limit=512))),
    )


def _small(values: dict[str, Any]) -> dict[str, Any]:
    """Cuts an experiment down to seconds; the model keeps its shape."""
    source_args = dict(emoji_scenes=dict(concepts=12, size=256))
    values["data"] |= dict(batch_size=8, source_args=source_args)
    values["training"] |= dict(steps=4, log_every=2, checkpoint_every=2)
    for task in values["tasks"].values():
        if "queue_size" in task:
            task["queue_size"] = 16
        for evaluation in task.get("evaluate", {}).values():
            evaluation["limit"] = 16
    values["optimizer"] |= dict(warmup_steps=1)
    values["evaluation"]["batch_size"] = 8
    return values
