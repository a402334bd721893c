"""Vision-language pre-training in JAX and Flax."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "load_detector", "pipeline"]


def load(*args: Any, **kwargs: Any) -> Any:
    """Returns a model ready for use; see `vlp_jax.inference.load`.

    `vlp_jax.load("runs/quickstart")` takes the newest checkpoint of a run.
    """
    from vlp_jax.inference import load as load_model  # keeps `import vlp_jax` light

    return load_model(*args, **kwargs)


def pipeline(task: str, model: Any, **load_arguments: Any) -> Any:
    """Returns a model ready for one task, under Hugging Face's names; see docs/pipelines.md.

    `vlp_jax.pipeline("visual-question-answering", model="runs/quickstart")`
    """
    from vlp_jax.inference.pipelines import pipeline as make_pipeline

    return make_pipeline(task, model, **load_arguments)


def load_detector(*args: Any, **kwargs: Any) -> Any:
    """Returns a region detector ready for use; see `vlp_jax.inference.load_detector`.

    `vlp_jax.load_detector("frcnn_vg", "pytorch_model.bin")` takes the published file.
    """
    from vlp_jax.inference import load_detector as load_published

    return load_published(*args, **kwargs)
