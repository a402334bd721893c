"""Evaluation: official metrics, chance and blind baselines, the summary and the report of a run."""
