"""Training: state, step, loop, optimizer, checkpoints and hooks."""
