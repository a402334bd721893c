"""Pickles from strangers: plain data and numpy values are read, nothing is imported or run."""

from vlp_jax.pickles.plain import read_pickle

__all__ = ["read_pickle"]
