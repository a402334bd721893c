"""What tasks on which the quickstart's model is fine-tuned have in common: start, budget, sizes."""

from collections.abc import Mapping
from typing import Any

from vlp_jax.config import import_beside

quickstart = import_beside(__file__, "../quickstart.py")
recipe = import_beside(__file__, "recipe.py")

RUN, CONCEPTS = "runs/quickstart", 24
SMALL = dict(steps=4, log_every=2, checkpoint_every=2)


def experiment(
    argument: str,
    *,
    task: str,
    settings: Mapping[str, Any],
    evaluate: Mapping[str, Any],
    data: Mapping[str, Any],
    steps: int,
    head: str,
    every: int = 0,
    args: Mapping[str, Any] = {},
    start: Mapping[str, Any] | None = None,
    optimizer: Mapping[str, Any] = {},
) -> dict[str, Any]:
    """Returns the quickstart's model on one task, with a new `head` of these `args`.

    All else starts from the run, and the head as `start`, an entry of `init_from`, says. "scratch"
    starts from nothing, with the same words and for as many steps; "smoke" runs in seconds.
    `settings` are those of the task, `evaluate` what is measured, at the end and `every` so many
    steps, `data` fields of `config.data`, `optimizer` settings that differ from the quickstart's.
    """
    recipe.check_argument(argument, "scratch")
    small = argument == "smoke"
    whole, own = quickstart.get_config("smoke" if small else ""), f"^heads_{head}/"
    entries = [dict(exclude=(own,)), *([dict(include=(own,)) | start] if start else [])]
    limit = dict(limit=16) if small else {}
    return dict(
        name="_".join(filter(None, ("quickstart", task, argument))),
        model=whole["model"] | dict(heads={head: dict(args)} if args else {}),
        init_from=() if argument else tuple(dict(path=RUN) | entry for entry in entries),
        data=_data(small) | data,
        tasks={task: settings | dict(evaluate={n: e | limit for n, e in evaluate.items()})},
        optimizer=whole["optimizer"] | dict(groups=()) | optimizer,
        training=SMALL if small else dict(steps=steps, log_every=20, evaluate_every=every),
        evaluation=dict(batch_size=8 if small else 64),
    )


def _data(small: bool) -> dict[str, Any]:
    return dict(
        batch_size=8 if small else 32,
        image_size=64,
        text_length=24,
        vocabulary="fit" if small else RUN,
        flip=False,
        threads=1,
        prefetch=8,
    )
