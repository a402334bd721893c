"""Vision-language pre-training in JAX and Flax."""

__version__ = "0.1.0"
