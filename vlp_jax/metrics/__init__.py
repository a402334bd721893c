"""Metrics: pure functions of predictions and truths, by their official definitions."""
