"""Test of benchmarks/curves.py, which draws the curves of docs/finetuning.md."""

import json
import subprocess
import sys

from PIL import Image

from tests.training.tiny import ROOT


def test_curves_of_runs_are_drawn_and_a_run_without_one_is_named(tmp_path):
    for run, key in (("a", "evaluation/vqa_accuracy"), ("b", "loss")):
        (tmp_path / run).mkdir()
        lines = [{"step": i, key: i / 10} for i in (1, 2)]
        (tmp_path / run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    command = [sys.executable, ROOT / "benchmarks/curves.py", "vqa_accuracy", "--out", "c.png"]
    draw = lambda *runs: subprocess.run([*command, *runs], cwd=tmp_path, capture_output=True)
    assert draw("a").returncode == 0
    assert Image.open(tmp_path / "c.png").size == (960, 540)
    assert b'b has not measured "vqa_accuracy" while it trained' in draw("a", "b").stderr
