"""ViLBERT on the twelve tasks of 12-in-1 jointly, from its pre-training; arguments "" and "smoke".

Each task is that of its own recipe beside this file, with the same token, batch, text length, loss
and learning rate. Sources: vilbert_tasks.yml and train_tasks.py of
github.com/facebookresearch/vilbert-multi-task, and table 1 of the paper.

As there, every iteration takes a step of the optimizer for each task in turn, an epoch has the
iterations of the largest data set and smaller ones begin anew, the base learning rate is the lowest
of all and a task's loss counts as many times as its own rate is higher, parameters called `vil_`
learn at 1e-4, and training leaves out the pictures of any task's test set, but for NLVR2.

The best checkpoint is that of the mean over the tasks, as the paper averages them: accuracies, and
recall at 1 of the picture of a text.

What differs: the rate follows the steps, where the original's stays the same within an iteration.
There is no dynamic stop-and-go: the original gives a task whose validation score has stopped
rising a step in every fourth iteration until the score falls by 0.5 %; here all tasks go on.
"""

from typing import Any

from vlp_jax.config import import_beside

finetune = import_beside(__file__, "../common/finetune.py")

EPOCHS = 20  # num_epoch

# source: its recipe and argument, the test set whose pictures it leaves out, made-up data to try it
TASKS = {
    "vqa": ("vqa", "", "coco", ""),
    "vg_qa": ("vg_qa", "", "genome", ""),
    "visual7w": ("visual7w", "", "genome", "candidates"),
    "coco": ("retrieval", "coco", "coco", ""),
    "flickr30k": ("retrieval", "", "flickr", ""),
    "refcoco": ("referring", "", "coco", "expressions"),
    "refcocoplus": ("referring", "plus", "coco", "expressions"),
    "refcocog": ("referring", "g", "coco", "expressions"),
    "nlvr2": ("nlvr2", "", "", "picture_pairs"),
    "snli_ve": ("entailment", "", "flickr", "statements"),
    "gqa": ("gqa", "", "genome", ""),
    "guesswhat": ("guesswhat", "", "coco", "candidates"),
}
# What a task is measured by, if not by its accuracy.
FIGURES = dict.fromkeys(("coco", "flickr30k"), "t2i_r1")


def get_config(argument: str = "") -> dict:
    """Returns the experiment."""
    finetune.recipe.check_argument(argument)
    singles = {
        source: import_beside(__file__, f"finetune_{recipe}.py").get_config(variant)
        for source, (recipe, variant, _, _) in TASKS.items()
    }
    rates = {source: single["optimizer"]["learning_rate"] for source, single in singles.items()}
    rate, heads = min(rates.values()), {}
    tasks: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for source, single in singles.items():
        heads |= single["model"]["heads"]
        tasks |= _tasks(source, single["tasks"], rates[source] / rate)
        for group in single["optimizer"].get("groups", ()):
            factor = group["learning_rate"] * rates[source] / rate
            groups[group["pattern"]] = group | dict(learning_rate=factor)
    iterations = max(single["training"]["evaluate_every"] for single in singles.values())
    return finetune.whole(
        argument,
        family="vilbert",
        name="12in1",
        model=finetune.recipe.published("vilbert_12in1") | dict(heads=heads),
        start=finetune.vilbert_start(*heads),
        data=_data(singles),
        tasks=tasks,
        rate=rate,
        steps=EPOCHS * iterations * len(TASKS),
        epoch=iterations * len(TASKS),
        optimizer=dict(groups=tuple(groups.values())),
        best="mean",
        means=dict(mean=tuple(f"{name}_{FIGURES.get(name, 'accuracy')}" for name in TASKS)),
        form={source: form for source, (_, _, _, form) in TASKS.items()},
    )


def _data(singles: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the data of all: each source with what its recipe says of it."""
    per_source, source_args = {}, {}
    for source, single in singles.items():
        data, test_set = single["data"], TASKS[source][2]
        per_source[source] = dict(
            batch_size=data["batch_size"],
            text_length=data["text_length"],
            task_token=single["model"]["text_args"]["task"],
        )
        excluded = finetune.test_pictures(test_set) if test_set else ()
        own = data["source_args"]["annotated"] | dict(kind="annotated", exclude=excluded)
        source_args[source] = own
    per_source["gqa"]["answers"] = "gqa"
    shared = singles["vqa"]["data"] | dict(source="::".join(singles), order="in_turn")
    return shared | dict(source_args=source_args, per_source=per_source)


def _tasks(source: str, tasks: dict[str, Any], weight: float) -> dict[str, Any]:
    """Returns the tasks of a recipe under names of their own, measured on the validation split."""
    named = {}
    for kind, args in tasks.items():
        measured = [x for x in args.get("evaluate", {}).values() if x["split"] == "validation"]
        own = dict(kind=kind, sources=(source,), weight=weight)
        own |= dict(evaluate={source: one for one in measured})
        named[source if len(tasks) == 1 else f"{source}_{kind}"] = args | own
    return named
