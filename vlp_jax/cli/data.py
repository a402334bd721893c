"""Check region features of any published format, or convert them to ArrayRecord files.

vlp-jax data check --store lxmert_tsv --features "train2014_obj36.tsv,val2014_obj36.tsv"
vlp-jax data convert --store uniter_lmdb --features coco_train2014 --to coco.regions --half
vlp-jax data check --store oscar_tsv --features features.tsv --option labels=predictions.tsv
"""

import argparse
from pathlib import Path

_SHOWN = 20  # pictures that can't be read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    jobs = parser.add_subparsers(dest="job", required=True, metavar="check|convert")
    check = jobs.add_parser("check", help="read every picture and say what is wrong with which")
    convert = jobs.add_parser("convert", help="write ArrayRecord files, checking every picture")
    for job in (check, convert):
        job.add_argument("--store", required=True, help="the format, see docs/regions.md")
        job.add_argument("--features", required=True, help="files or folders, comma separated or *")
        job.add_argument(
            "--option", action="append", default=[], metavar="NAME=VALUE", help="of the store"
        )
    convert.add_argument("--to", required=True, type=Path, help="folder to make")
    convert.add_argument("--half", action="store_true", help="keep float16, half the size")
    convert.add_argument("--skip-bad", action="store_true", help="leave out what can't be read")
    convert.add_argument("--pictures-per-file", type=int, default=10_000)


def run(args: argparse.Namespace) -> int:
    """Prints what was found; the status of a check is 1 if a picture can't be read."""
    from rich.progress import Progress

    from vlp_jax.config.files import parse_options
    from vlp_jax.data.regions import open_regions
    from vlp_jax.data.regions.convert import check, convert

    store = open_regions(args.store, args.features, **parse_options(args.option))
    with Progress(transient=True) as bar:
        task = bar.add_task(f"{args.job} {args.features}", total=len(store))

        def progress(done: int) -> None:
            bar.update(task, completed=done)

        if args.job == "check":
            found = check(store, progress=progress)
        else:
            found = convert(
                store, args.to, args.half, args.pictures_per_file, args.skip_bad, progress
            )
    _print_found(store, found)
    return 1 if args.job == "check" and found.problems else 0


def _print_found(store, found) -> None:
    least, mean, most = found.regions
    print(f"{found.pictures:,} pictures with {least} to {most} regions, {mean:.1f} on average")
    print(f"features {store.dimension} wide; also {', '.join(sorted(store.contents)) or 'nothing'}")
    for problem in found.problems[:_SHOWN]:
        print(f"  {problem}")
    if found.problems:
        print(f"{len(found.problems):,} pictures can't be read")
