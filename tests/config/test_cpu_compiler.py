"""Tests of what XLA is told about compiling for CPUs."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from vlp_jax.config.cpu_compiler import keep_attention_unfused

FLAG = "--xla_cpu_experimental_ynn_fusion_type"


@pytest.mark.parametrize(
    ("version", "given", "expected"),
    [
        ("0.10.2", {}, {"XLA_FLAGS": f"{FLAG}=reduce"}),
        ("0.10.0", {"XLA_FLAGS": "--a=1"}, {"XLA_FLAGS": f"--a=1 {FLAG}=reduce"}),
        ("0.10.2", {"XLA_FLAGS": f"{FLAG}=MINE"}, {"XLA_FLAGS": f"{FLAG}=MINE"}),
        ("0.12.0.1", {}, {}),
    ],
)
def test_only_the_version_that_fuses_badly_is_told(monkeypatch, version, given, expected):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    environment = dict(given)
    keep_attention_unfused(environment)
    assert environment == expected


def test_a_tpus_compiler_is_not_told(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.10.2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    keep_attention_unfused(environment := {})
    assert not environment


def test_the_installed_compiler_knows_the_flag():
    """An unknown flag would end the process."""
    keep_attention_unfused(environment := {})
    code = "import jax; print(jax.jit(lambda x: x + 1)(1))"
    environment = os.environ | {"XLA_FLAGS": environment.get("XLA_FLAGS", "")}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout == "2\n", run.stderr
