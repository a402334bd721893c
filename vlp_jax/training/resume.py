"""What a run that goes on may change: most of it, but not what its parameters mean."""

from collections.abc import Iterable, Mapping
from typing import Any

from vlp_jax.config import DataConfig, ExperimentConfig, build, to_plain
from vlp_jax.config.files import flat
from vlp_jax.data.sources.base import Source
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.model import build_model
from vlp_jax.tasks import build_tasks
from vlp_jax.weights.sources import spelled_out

# What may change without a word: how long, how often, on what, and what is measured.
_FREE = (
    "name", "plugins", "init_from", "mesh", "evaluation", "data.threads", "data.workers",
    "data.prefetch",
    "training.steps", "training.log_every", "training.checkpoint_every",
    "training.keep_checkpoints", "training.evaluate_every", "training.nan_patience",
    "training.hang_seconds", "training.profile", "training.writers",
)  # fmt: skip

# What decides the meaning of parameters and is not seen in their shapes.
_FIXED = ("model", "data.vocabulary")

_SHOWN = 12


def check_resume(saved: Mapping[str, Any], config: ExperimentConfig) -> list[str]:
    """Returns a line for each setting that is another one than in the checkpoint, as far as it
    changes what is trained.

    `saved` is the checkpoint's resolved config, `config` the new one, resolved too. Raises
    ValueError for settings that decide what the parameters mean.
    """
    before, now = (_settings(c) for c in (build(ExperimentConfig, saved, "config"), config))
    changes = {
        name: f"config.{name} was {before.get(name)!r} in the checkpoint and is {now.get(name)!r}"
        for name in sorted({**before, **now})
        if before.get(name) != now.get(name) and not _is_under(name, _FREE)
    }
    fixed = [line for name, line in changes.items() if _is_under(name, _FIXED) and _matters(name)]
    if fixed:
        raise ValueError(
            "; ".join(fixed[:_SHOWN])
            + ": the parameters would mean something else. Set it as it was, or start a new "
            'workdir with config.init_from = [{"path": …, "kind": "run"}]'
        )
    lines = [f"{line} now" for line in changes.values()]
    return lines[:_SHOWN] + [f"… and {len(lines) - _SHOWN} more"] * (len(lines) > _SHOWN)


def check_records(saved: Mapping[str, int] | None, now: Mapping[str, int]) -> list[str]:
    """Returns a line for each source that has another number of records than at the checkpoint."""
    return [
        f"source {name} had {saved[name]:,} records at the checkpoint and has {count:,} now: the "
        "order of the data is another one"
        for name, count in now.items()
        if saved and saved.get(name, count) != count
    ]


def check_vocabulary(
    vocabulary: Vocabulary, sources: Mapping[str, Source], data: DataConfig
) -> None:
    """Raises ValueError if the data name answers or classes that the checkpoint's do not."""
    answers = (
        ("answers", vocabulary.of_list(data.own(name).answers).answers, (source.answers(),))
        for name, source in sources.items()
        if "question" in source.provides
    )
    for what, known, given in (
        *answers,
        ("region classes", vocabulary.region_classes, _all(sources, "region_classes")),
        ("region attributes", vocabulary.region_attributes, _all(sources, "region_attributes")),
    ):
        there = {name for names in given for name in names}
        new = sorted(there - set(known))
        if new:
            shown = ", ".join(f'"{name:.40}"' for name in new[:3]) + ", …" * (len(new) > 3)
            raise ValueError(
                f"{len(new)} of the {len(there)} {what} of the data are not among the "
                f"{len(known)} of the checkpoint ({shown}), and its head knows no others. Give the "
                "data of the run, or start a new workdir with config.init_from = "
                '[{"path": …, "kind": "run"}]'
            )


def _all(sources: Mapping[str, Source], kind: str) -> list[tuple[str, ...]]:
    return [getattr(source, kind)() for source in sources.values()]


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    """Returns every setting by its path, defaults of parts and tasks included."""
    values = to_plain(config)
    model = build_model(config.model, config.training.dtype)
    values["model"] = to_plain(spelled_out(config.model, model))
    trained = {name: task for name, task in build_tasks(config).items() if task.trains}
    tasks = {name: to_plain(task) for name, task in trained.items()}
    for task in tasks.values():
        del task["evaluate"]
    values["tasks"] = tasks
    return flat(values)


def _matters(name: str) -> bool:
    return "dropout" not in name and not name.startswith("model.init_std")


def _is_under(name: str, paths: Iterable[str]) -> bool:
    return any(name == path or name.startswith(f"{path}.") for path in paths)
