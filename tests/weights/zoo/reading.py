"""What a head gives for fused tokens."""

from vlp_jax.heads.head import Reading


def read_head(model, name, fused):
    """Applies a head of the model to a pass that has been fused already."""
    return model.read(name, Reading((), (), (fused,)))
