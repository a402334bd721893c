"""Draws a figure of several runs over their steps: of what was measured while they trained.

python benchmarks/curves.py easy_vqa_accuracy runs/easy_vqa runs/easy_vqa_scratch --out curves.png
"""

import argparse
import json
from pathlib import Path


def measured(run: Path, figure: str) -> dict[int, dict[str, float]]:
    """Returns step → figure, with its chance and blind guess, of a run; ValueError for none."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    found = {
        line["step"]: {name.removeprefix("evaluation/"): x for name, x in line.items()}
        for line in lines
        if f"evaluation/{figure}" in line
    }
    if not found:
        raise ValueError(f'{run} has not measured "{figure}" while it trained')
    return found


def main() -> None:
    """Writes the plot as PNG."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("figure")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    curves = {run.name: measured(run, args.figure) for run in args.runs}
    from matplotlib.figure import Figure  # without pyplot it needs no display

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(list(curve), [row[args.figure] for row in curve.values()], "o-", label=name)
    last = list(next(iter(curves.values())).values())[-1]
    blind = last.get(args.figure.replace("_accuracy", "_blind"))
    if blind is not None:
        axes.axhline(blind, color="#888888", linestyle=(0, (3, 3)), label="blind")
    axes.set_xlabel("step")
    axes.set_ylabel(args.figure)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(args.out, format="png", dpi=150)


if __name__ == "__main__":
    main()
