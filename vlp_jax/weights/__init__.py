"""Weights in and out: torch files without torch, safetensors, Hugging Face directories."""
