"""Export a model as plain files, for others to read: safetensors, JSON, word pieces, programs.

vlp-jax export --model runs/quickstart --out quickstart
vlp-jax export --model runs/quickstart --out programs --format stablehlo --verb match answer
vlp-jax export --model albef_vqa --weights vqa.pth --answers answers.json --out albef
"""

import argparse

from vlp_jax.cli.arguments import add_model, load_model

_OF_PROGRAMS = ("verbs", "platforms", "text_length")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model(parser)
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder to make; vlp_jax.load reads it")
    add(
        "--format",
        choices=("safetensors", "stablehlo"),
        default="safetensors",
        help="stablehlo: also a program of each verb, that JAX calls without this package",
    )
    add("--verb", nargs="+", dest="verbs", help="stablehlo: only these verbs")
    add("--platforms", nargs="+", help="stablehlo: by default cpu cuda tpu")
    add("--text-length", type=int, metavar="N", help="stablehlo: tokens of a text, by default 64")


def run(args: argparse.Namespace) -> int:
    """Writes the folder and says what is in it."""
    from vlp_jax.inference.exported import free_folder, write_export
    from vlp_jax.inference.programs import programs_of
    from vlp_jax.weights.conversion import count_parameters

    folder = free_folder(args.out)
    given = {name: getattr(args, name) for name in _OF_PROGRAMS}
    options = {name: value for name, value in given.items() if value is not None}
    if options and args.format != "stablehlo":
        raise ValueError(
            "--verb, --platforms and --text-length are of programs: give --format stablehlo as well"
        )
    model = load_model(args)
    programs = programs_of(model, **options) if args.format == "stablehlo" else {}
    write_export(model, folder, programs)
    shown = ", ".join(sorted(path.name for path in folder.iterdir()))
    print(f"{folder}: {count_parameters(model.params):,} parameters; {shown}")
    return 0
