"""Tests of the user's cache and of the compiled programs in it."""

import os
import subprocess
import sys

from vlp_jax.config.user_cache import keep_compiled_programs, user_cache

FOLDER, SIZE = "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"


def test_things_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache("lines") == tmp_path / "vlp_jax" / "lines"
    keep_compiled_programs(environment := {})
    folder = environment[FOLDER]
    assert folder.startswith(str(tmp_path / "vlp_jax" / "compiled")) and int(environment[SIZE]) > 0
    keep_compiled_programs(again := {})
    assert again == environment


def test_what_the_user_says_of_the_cache_stays():
    keep_compiled_programs(environment := {FOLDER: "/mine"})
    assert environment == {FOLDER: "/mine"}
    keep_compiled_programs(environment := {SIZE: "5"})
    assert environment[SIZE] == "5"


def test_a_second_process_reads_what_the_first_has_compiled(tmp_path):
    """The size is bounded, for which JAX needs a package of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    code = (
        "from vlp_jax.config.user_cache import keep_compiled_programs; keep_compiled_programs()\n"
        "from vlp_jax.training.cache_use import CacheUse; import jax\n"
        "with CacheUse() as use: jax.jit(lambda x: x + 1).lower(1.0).compile()\n"
        "print(use)"
    )
    run = lambda: subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert run() == "0 of 1 programs from the cache"
    assert run() == "1 of 1 programs from the cache"
