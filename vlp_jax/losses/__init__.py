"""Losses: pure functions of arrays, held to reference numbers of the original codes."""
