"""Layers that encoders, fusions and heads are built from."""
