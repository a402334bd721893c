"""The page of a run: plots, examples, heat maps and figures beside chance and blind guesses."""
