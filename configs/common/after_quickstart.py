"""What tasks on which the quickstart's model is fine-tuned have in common: start, budget, sizes."""

from typing import Any

from vlp_jax.config import import_beside

quickstart = import_beside(__file__, "../quickstart.py")
recipe = import_beside(__file__, "recipe.py")

RUN = "runs/quickstart"
SCENES = dict(concepts=24)


def experiment(
    argument: str, *, task: str, settings: dict[str, Any], source: str, steps: int, **data: Any
) -> dict[str, Any]:
    """Returns the quickstart's model on one task, its head new; the rest starts from the run.

    "scratch" starts from nothing, with the same words and for as many steps; "smoke" runs in
    seconds. `settings` are those of the task, `data` further fields of `config.data`.
    """
    recipe.check_argument(argument, "scratch")
    small = argument == "smoke"
    whole = quickstart.get_config(argument if small else "")
    heads = {"exclude": (f"^heads_{settings.pop('head', task)}/",)}
    return dict(
        name="_".join(filter(None, (task, argument))),
        model=whole["model"] | dict(heads={}),
        init_from=() if argument else (dict(path=RUN) | heads,),
        data=dict(
            source=source,
            batch_size=8 if small else 32,
            image_size=64,
            text_length=24,
            vocabulary="fit" if small else RUN,
            flip=False,
            threads=1,
            prefetch=8,
        )
        | data,
        tasks={task: settings},
        optimizer=whole["optimizer"] | dict(groups=()),
        training=dict(steps=4, log_every=2, checkpoint_every=2)
        if small
        else dict(steps=steps, log_every=20, evaluate_every=80, checkpoint_every=steps),
        evaluation=dict(batch_size=8 if small else 64),
    )
