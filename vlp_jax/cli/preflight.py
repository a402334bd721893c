"""Compile an experiment's steps for TPUs or GPUs that need not be there; check what they need.

vlp-jax preflight --config configs/albef/pretrain.py --topology v5e:4x4 --workdir runs/albef
vlp-jax preflight --config albef/pretrain --topology v5p:2x2x2 --slices 2 --config.mesh.fsdp=8
vlp-jax preflight --config albef/pretrain --topology h100:16
vlp-jax preflight --config albef/pretrain:smoke --devices 8 --json preflight.json
vlp-jax preflight --config albef/pretrain --topology v5e:4x4 --search batch

exit status: 0 if the run can start, 1 if it does not fit or anything is wrong
"""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_jax.cli.arguments import add_config
from vlp_jax.cli.output import written

if TYPE_CHECKING:
    from vlp_jax.parallel.topology import Slices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_config(parser)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--topology", help="a TPU slice, such as v5e:4x4, or GPUs, such as h100:8")
    where.add_argument("--devices", type=int, help="so many simulated devices instead")
    add = parser.add_argument
    add("--slices", type=int, default=1, help="how many such slices; of --devices, equal parts")
    add("--workdir", help="where the run would be kept: can it be, and is there room?")
    add("--utilisation", type=float, default=0.4, help="assumed share of the chips' peak")
    add("--search", choices=("batch", "remat"), help="look for the largest batch, or least remat")
    add("--json", type=Path, metavar="FILE", help="write what is found there, too")
    parser.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
    """Prints the page, and says whether the run can start."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # what compiles for a TPU must not take one
    if not 0 < args.utilisation <= 1:
        raise ValueError(f"--utilisation {args.utilisation}: expected a share above 0, up to 1")
    if args.search and not args.topology:
        raise ValueError("--search needs --topology: simulated devices have no memory to fill")
    from vlp_jax.cli.measure.preflight import preflight
    from vlp_jax.cli.measure.preflight_page import as_json, page
    from vlp_jax.config import load_config
    from vlp_jax.data.paths import run_path

    config = load_config(args.config, args.overrides)
    where = _devices(args)
    if args.search:
        return _search(config, where, args.search)
    workdir = run_path(args.workdir, "--workdir") if args.workdir else None
    found = preflight(config, where, workdir)
    print(page(found, args.utilisation))
    if args.json:
        text = json.dumps(as_json(found, args.utilisation), indent=2) + "\n"
        if not written("preflight", args.json, lambda: args.json.write_text(text)):
            return 1
    return 0 if found.ready else 1


def _devices(args: argparse.Namespace) -> "Slices":
    import jax

    from vlp_jax.config import nearest
    from vlp_jax.parallel.gpu_topology import GPUS, gpu_hosts
    from vlp_jax.parallel.topology import CHIPS, simulated, tpu_slices

    if not args.topology:
        return simulated(args.devices, args.slices)
    if (kind := args.topology.partition(":")[0]) not in {*CHIPS, *GPUS}:
        known = f"TPUs: {', '.join(CHIPS)}; GPUs: {', '.join(GPUS)}"
        raise ValueError(f'no chips "{kind}".{nearest(kind, [*CHIPS, *GPUS])} Known are {known}')
    if kind in CHIPS:
        return tpu_slices(args.topology, args.slices)
    if args.slices != 1:
        raise ValueError("--slices is for TPUs: the number of GPUs says how many hosts of 8 it is")
    # Of programs for GPUs that are not there it can be written, but not read.
    jax.config.update("jax_enable_compilation_cache", False)
    return gpu_hosts(args.topology)


def _search(config, where, kind: str) -> int:
    from vlp_jax.cli.measure.search import searched

    field, best = searched(config, where, kind, lambda line: print(line, flush=True))
    if best is None:
        print(f"no config.{field} fits {where.name}")
        return 1
    print(f"--config.{field}={best}")
    return 0
