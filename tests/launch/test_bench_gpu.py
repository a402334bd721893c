"""Test of launch/bench_gpu.sh, in sizes that need no GPU."""

import json
import subprocess
import sys

import pytest

from tests.training.tiny import ROOT, environment

SMALL = dict(
    SIZE="tiny", STEPS="1", BATCH="8", TOWERS_BATCH="8", PAIRS="600", PYTHON=sys.executable
)


@pytest.mark.slow
def test_all_figures_are_written(tmp_path):
    script = ["bash", str(ROOT / "launch/bench_gpu.sh")]
    subprocess.run(script, env=environment() | SMALL | {"OUT": str(tmp_path)}, check=True)
    figures = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    types = {f"contrastive_{dtype}": dtype for dtype in ("float32", "bfloat16")}
    assert set(figures) == {*types, "two_towers", "albef"}
    for name, dtype in types.items():
        row = figures[name]["contrastive"]
        assert (row["rows"], row["dtype"]) == (600, dtype)
    (train, infer) = figures["albef"]["rows"]
    assert (train["dtype"], train["tasks"]) == ("bfloat16", ["itc", "itm", "mlm"])
    assert train["sides"]["jax"]["flops_per_pair"] > 3 * infer["sides"]["jax"]["flops_per_pair"]
