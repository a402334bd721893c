"""List the published models that can be loaded, shipped configs, and the parts they can name."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--parts", action="store_true", help="list encoders, fusions, heads, …")
    which.add_argument("--configs", action="store_true", help="list what --config takes by name")


def run(args: argparse.Namespace) -> int:
    """Prints one line for each model, for each kind of part, or for each config."""
    for line in _parts() if args.parts else _configs() if args.configs else _models():
        print(line)
    return 0


def _models():
    from vlp_jax.weights.zoo import DETECTORS, ZOO

    for name, model in ZOO.items():
        yield f"{name:32} {model.parameters / 1e6:7.1f} M parameters   {model.paper}"
    for name, detector in DETECTORS.items():
        yield f"{name:32} {'detector':>20}   {detector.paper}"


def _configs():
    from vlp_jax.config.shipped import shipped_configs, summary

    for name, file in shipped_configs().items():
        yield f"{name:32} {summary(file)}"


def _parts():
    from vlp_jax.data.augment import AUGMENTATIONS
    from vlp_jax.data.regions import REGION_STORES
    from vlp_jax.data.sources import SOURCES
    from vlp_jax.encoders import TEXT_ENCODERS, VISION_ENCODERS
    from vlp_jax.fusion import FUSIONS
    from vlp_jax.heads import HEADS, POOLERS
    from vlp_jax.tasks import TASKS

    registries = (VISION_ENCODERS, TEXT_ENCODERS, FUSIONS, POOLERS, HEADS, TASKS)
    for registry in (*registries, SOURCES, REGION_STORES, AUGMENTATIONS):
        yield f"{registry.kind + ':':18} {', '.join(sorted(registry))}"
