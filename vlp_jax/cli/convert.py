"""Convert published weights: read any layout, write safetensors or a Hugging Face directory.

vlp-jax convert --model albef --weights ALBEF.pth --to albef.safetensors
vlp-jax convert --model lxmert --weights model_LXRT.pth --to lxmert-directory --format huggingface
"""

import argparse

from vlp_jax.cli.arguments import read_sizes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", required=True, help="a name that `vlp-jax models` lists")
    parser.add_argument("--weights", required=True, help="torch file, safetensors or directory")
    parser.add_argument(
        "--sizes", help="JSON with entries of the published config that differ from the preset's"
    )
    parser.add_argument("--to", required=True, help="file or directory to write")
    parser.add_argument("--format", choices=("safetensors", "huggingface"), default="safetensors")


def run(args: argparse.Namespace) -> int:
    """Converts, after a check that every tensor is known and every parameter filled."""
    from vlp_jax.data.paths import path_to_write
    from vlp_jax.weights.conversion import count_parameters
    from vlp_jax.weights.safetensors_file import write_safetensors
    from vlp_jax.weights.state_dict import read_state_dict
    from vlp_jax.weights.zoo import DETECTORS, ZOO

    path_to_write(args.to, "--to")
    if args.model in DETECTORS:
        return _convert_detector(args)
    model = ZOO.get_known(args.model, "--model")
    config = model.config_of(read_sizes(args.sizes), strict=True)
    state = read_state_dict(args.weights)
    params = model.load(state, config)
    if args.format == "huggingface":
        model.write_huggingface(args.to, params, config)
    else:
        write_safetensors(args.to, model.save(params, config, like=state))
    print(f"{args.model}: {count_parameters(params):,} parameters from {args.weights} to {args.to}")
    return 0


def _convert_detector(args: argparse.Namespace) -> int:
    from vlp_jax.weights.safetensors_file import write_safetensors
    from vlp_jax.weights.state_dict import read_state_dict
    from vlp_jax.weights.zoo import DETECTORS

    if args.format != "safetensors":
        raise ValueError(f"{args.model} has no Hugging Face class; write safetensors")
    published = DETECTORS[args.model]
    sizes = read_sizes(args.sizes)
    detector = next(iter(published.conventions(sizes).values())).detector
    state = read_state_dict(args.weights)
    tensors = published.save(published.load(state, detector), detector, like=state)
    write_safetensors(args.to, tensors)
    print(f"{args.model}: {len(tensors):,} tensors from {args.weights} to {args.to}")
    return 0
