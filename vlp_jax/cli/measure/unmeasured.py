"""An experiment of which only the steps are looked at."""

from vlp_jax.config import ExperimentConfig, replace


def unmeasured(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the experiment without its evaluations, and without what is made of their figures."""
    tasks = {name: args and {**args, "evaluate": {}} for name, args in config.tasks.items()}
    without = {
        "evaluation.best": None,
        "evaluation.means": {},
        "training.evaluate_every": 0,
        "tasks": tasks,
    }
    for path, value in without.items():
        config = replace(config, path, value)
    return config
