"""Data: sources → decode, augment, tokenise, mask → batches of fixed shapes."""
