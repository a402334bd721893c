"""Check the data of a config, and region features of any published format, or convert these.

Find the regions of pictures with a published detector or that of a run.

vlp-jax data check --store lxmert_tsv --features "train2014_obj36.tsv,val2014_obj36.tsv"
vlp-jax data convert --store uniter_lmdb --features coco_train2014 --to coco.regions --half
vlp-jax data check --store lxmert_tsv --features mine.tsv --like bottom_up_36
vlp-jax data check --store oscar_tsv --features features.tsv --option labels=predictions.tsv
vlp-jax data records --config configs/uniter/finetune_nlvr2.py --split validation
vlp-jax data regions --images photos --detector frcnn_vg --weights pytorch_model.bin --out a.tsv
vlp-jax data regions --config configs/lxmert/scenes.py --detector runs/detector --out found.tsv
vlp-jax data constraints --boxes boxes.tsv --hierarchy classes.json --out constraints.json
"""

import argparse
from pathlib import Path

from vlp_jax.cli.arguments import add_config

_SHOWN = 20  # pictures that can't be read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    jobs = parser.add_subparsers(dest="job", required=True, metavar="check|convert|records|…")
    check = jobs.add_parser("check", help="read every picture and say what is wrong with which")
    convert = jobs.add_parser("convert", help="write ArrayRecord files, checking every picture")
    regions = jobs.add_parser("regions", help="find the regions of pictures with a detector")
    _add_region_arguments(regions)
    records = jobs.add_parser("records", help="open the sources of a config and say what they hold")
    add_config(records)
    records.add_argument("--split", default="train", help="which split of each source")
    _add_constraint_arguments(jobs)
    parser.set_defaults(overrides=[])
    for job in (check, convert):
        job.add_argument("--store", required=True, help="the format, see docs/regions.md")
        job.add_argument("--features", required=True, help="files or folders, comma separated or *")
        job.add_argument(
            "--option", action="append", default=[], metavar="NAME=VALUE", help="of the store"
        )
    check.add_argument("--like", help="a published file to compare with, see docs/detectors.md")
    convert.add_argument("--to", required=True, help="folder to make")
    convert.add_argument("--half", action="store_true", help="keep float16, half the size")
    convert.add_argument("--skip-bad", action="store_true", help="leave out what can't be read")
    convert.add_argument("--pictures-per-file", type=int, default=10_000)


def _add_region_arguments(regions: argparse.ArgumentParser) -> None:
    pictures = regions.add_mutually_exclusive_group(required=True)
    pictures.add_argument("--images", help="folder of pictures, and folders in it")
    pictures.add_argument("--config", help="whose source's pictures, for source found_regions")
    regions.add_argument(
        "--splits", default="train,validation,test", help="of the source, comma separated"
    )
    regions.add_argument(
        "--detector", required=True, help="frcnn_vg, vinvl_x152c4 or the workdir of a run"
    )
    regions.add_argument("--weights", help="its published file, or a folder with it")
    regions.add_argument("--out", required=True, help="made or completed: a file .tsv or a folder")
    regions.add_argument(
        "--store", default="", help="that shall read a folder: array_record (default), npz or hdf5"
    )
    regions.add_argument("--convention", default="", help="whose rules, see docs/detectors.md")
    regions.add_argument("--batch", type=int, default=1, help="pictures at a time")
    regions.add_argument("--draw", type=Path, help="folder for the pictures with what was found")


def _add_constraint_arguments(jobs) -> None:
    words = jobs.add_parser("constraints", help="what captions are to hold, by a detector's boxes")
    words.add_argument("--boxes", required=True, help="TSV: a key, a list of rect, class and conf")
    words.add_argument("--hierarchy", required=True, help="JSON: the tree of classes")
    words.add_argument("--forms", help="TSV: a word, its forms with commas between them")
    words.add_argument("--ids", help="nocaps_val_image_info.json, where keys are Open Images' ids")
    words.add_argument(
        "--overlap", type=float, help="above which the more general class goes (default 0.85)"
    )
    words.add_argument("--out", required=True, help="the JSON file to write")


def run(args: argparse.Namespace) -> int:
    """Prints what was found; the status of a check is 1 if a picture can't be read."""
    if args.job == "records":
        return _print_records(args)
    if args.overrides and not (args.job == "regions" and args.config):
        raise ValueError(f"{args.job} takes no config: {' '.join(args.overrides)}")
    if args.job == "regions":
        return _find_regions(args)
    if args.job == "constraints":
        return _make_constraints(args)
    from rich.progress import Progress

    from vlp_jax.config.files import parse_options
    from vlp_jax.data.regions import open_regions
    from vlp_jax.data.regions.convert import check, convert
    from vlp_jax.data.regions.statistics import PUBLISHED, FeatureSurvey, unlike

    features = FeatureSurvey()
    published = PUBLISHED.get_known(args.like) if args.job == "check" and args.like else None
    store = open_regions(args.store, args.features, **parse_options(args.option))
    with Progress(transient=True) as bar:
        task = bar.add_task(f"{args.job} {args.features}", total=len(store))

        def progress(done: int) -> None:
            bar.update(task, completed=done)

        if args.job == "check":
            found = check(store, features.add, progress=progress)
        else:
            found = convert(
                store, args.to, args.half, args.pictures_per_file, args.skip_bad, progress
            )
    _print_found(store, found)
    if args.job == "convert":
        return 0
    statistics = features.statistics()
    _print_statistics(statistics)
    differences = [*unlike(statistics, found.regions, published)] if published else []
    _print_problems(f"unlike {args.like}: {difference}" for difference in differences)
    return 1 if found.problems or differences else 0


def _find_regions(args: argparse.Namespace) -> int:
    from rich.progress import MofNCompleteColumn, Progress

    from vlp_jax.inference.detector import load_detector
    from vlp_jax.inference.region_files import pictures_in, region_file, write_regions

    region_file(args.out, args.store)  # before any work
    pictures = pictures_in(args.images) if args.images else _pictures_of(args)
    detector = load_detector(
        args.detector, args.weights, convention=args.convention, batch=args.batch
    )
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), transient=True) as bar:
        task = bar.add_task(f"regions of {args.images or args.config}", total=len(pictures))
        progress = lambda done: bar.update(task, completed=done)
        show = (_drawing(pictures, args.draw),) if args.draw else ()
        found = write_regions(detector, pictures, args.out, args.store, progress, *show)
        rate = found.written / max(bar.tasks[0].elapsed, 1e-9)
    print(
        f"{found.written:,} pictures written to {args.out} ({rate:.2f} pictures/s), "
        f"{found.before:,} were there"
    )
    _print_problems(found.problems)
    if found.problems:
        print(f"{len(found.problems):,} pictures have no regions")
    return 0


def _make_constraints(args: argparse.Namespace) -> int:
    import json

    from vlp_jax.data import box_constraints
    from vlp_jax.data.paths import path_to_write

    overlap = box_constraints.OVERLAP if args.overlap is None else args.overlap
    if not 0 <= overlap <= 1:
        raise ValueError(f"--overlap {overlap}: expected a share from 0 to 1")
    out = path_to_write(args.out, "--out")
    hierarchy = box_constraints.Hierarchy.read(args.hierarchy)
    forms = box_constraints.read_forms(args.forms) if args.forms else {}
    ids = box_constraints.read_ids(args.ids) if args.ids else None
    made, unknown = {}, []
    for key, boxes in box_constraints.read_boxes(args.boxes):
        if ids is not None and key not in ids:
            unknown.append(f'"{key}" has no id in {args.ids}')
            continue
        names = box_constraints.constraints_of(boxes, hierarchy, overlap)
        made[key if ids is None else ids[key]] = [
            box_constraints.phrases_of(name, forms) for name in names
        ]
    out.write_text(json.dumps(made, indent=1))
    some = sum(map(bool, made.values()))
    print(f"{len(made):,} pictures, {some:,} of them with words to hold, written to {out}")
    _print_problems(unknown)
    return 1 if unknown else 0


def _drawing(pictures, folder: Path):
    """Returns what writes a picture with its regions, named and with their shares, as PNG."""
    from vlp_jax.data.images import decode
    from vlp_jax.report.plots import named_boxes, png_bytes

    folder.mkdir(parents=True, exist_ok=True)

    def draw(key: str, found) -> None:
        names = found.names or map(str, found.labels)
        named = [f"{name} {share:.0%}" for name, share in zip(names, found.confidence)]
        drawn = named_boxes(decode(pictures[key], key), found.boxes, named)
        (folder / f"{key}.png").write_bytes(png_bytes(drawn))

    return draw


def _pictures_of(args: argparse.Namespace):
    """Returns the pictures of the splits of a config's first source."""
    from vlp_jax.config import load_config
    from vlp_jax.config.plugins import load_plugins
    from vlp_jax.data.assemble import open_source
    from vlp_jax.inference.region_files import PicturesOf

    config = load_config(args.config, args.overrides)
    load_plugins(config.plugins)
    splits = [split.strip() for split in args.splits.split(",")]
    name = config.data.sources[0]
    return PicturesOf({split: open_source(config.data, name, split) for split in splits})


def _print_records(args: argparse.Namespace) -> int:
    from vlp_jax.config import load_config
    from vlp_jax.config.plugins import load_plugins
    from vlp_jax.data.assemble import open_source
    from vlp_jax.data.survey import survey

    config = load_config(args.config, args.overrides)
    load_plugins(config.plugins)
    wrong = 0
    for name in config.data.sources:
        found = survey(open_source(config.data, name, args.split))
        print(f"{name}, {args.split}: {found.lines[0]}", *found.lines[1:], sep="\n  ")
        _print_problems(found.problems)
        wrong += len(found.problems)
    return 1 if wrong else 0


def _print_statistics(found) -> None:
    order = "" if found.ordered != found.ordered else f"; {found.ordered:.0%} surest first"
    print(
        f"{found.zeros:.1%} of the numbers are 0, {found.negative:.1%} below it, the mean is "
        f"{found.mean:.3f}, and a row {found.length:.1f} long{order}"
    )


def _print_problems(problems) -> None:
    for problem in list(problems)[:_SHOWN]:
        print(f"  {problem}")


def _print_found(store, found) -> None:
    least, mean, most = found.regions
    print(f"{found.pictures:,} pictures with {least} to {most} regions, {mean:.1f} on average")
    print(f"features {store.dimension} wide; also {', '.join(sorted(store.contents)) or 'nothing'}")
    _print_problems(found.problems)
    if found.problems:
        print(f"{len(found.problems):,} pictures can't be read")
