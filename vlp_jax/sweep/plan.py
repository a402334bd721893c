"""Which runs a sweep has: configs × variants × seeds, each checked and with a folder of its own."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp_jax.config import load_config, to_plain
from vlp_jax.config.files import PREFIX
from vlp_jax.data.paths import local_path

_LONGEST_NAME = 100


@dataclass(frozen=True)
class Run:
    """One training: a config with settings ("training.steps=8") and a seed, in a folder.

    `group` names what it shares with the runs of other seeds, and is a row of the table. `config`
    is the resolved experiment as plain data.
    """

    group: str
    spec: str
    settings: tuple[str, ...]
    seed: int
    workdir: Path
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """How messages call this run: "scenes model.fusion=co_attention, seed 1"."""
        return f"{self.group}, seed {self.seed}"

    @property
    def overrides(self) -> list[str]:
        """The settings and the seed as `vlp-jax train` takes them."""
        return [PREFIX + setting for setting in (*self.settings, f"seed={self.seed}")]


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep, in the order in which they are made, under the folder `out`."""

    out: Path
    runs: tuple[Run, ...]

    @property
    def groups(self) -> dict[str, list[Run]]:
        """The runs by group, in order."""
        groups: dict[str, list[Run]] = {}
        for run in self.runs:
            groups.setdefault(run.group, []).append(run)
        return groups

    def only(self, index: int) -> Run:
        """Returns the run at a position (a SLURM array's task); ValueError if there is none."""
        if not 0 <= index < len(self.runs):
            raise ValueError(
                f"index {index}: the sweep has {len(self.runs)} runs, 0 to {len(self.runs) - 1}"
            )
        return self.runs[index]


def make_plan(
    configs: Sequence[str],
    variants: Sequence[Sequence[str]],
    common: Sequence[str],
    seeds: Sequence[int],
    out: str | Path,
) -> Plan:
    """Returns every config in every variant with every seed.

    `configs` are "FILE.py" or "FILE.py:argument"; a variant is a list of settings "a.b=c" made
    together, an empty one the config as it is; `common` settings hold for all runs and are not part
    of their names. Every config is resolved here, so a mistake in the last run stops the first.

    Raises ValueError or FileNotFoundError for an empty or repeated part, or a config that does not
    resolve.
    """
    out = local_path(out, "--out")
    variants = [tuple(variant) for variant in variants] or [()]
    _check_distinct("--config", configs)
    _check_distinct("--seeds", seeds)
    _check_distinct("--override", [" ".join(sorted(variant)) for variant in variants])
    _check_settings([*common, *(setting for variant in variants for setting in variant)])
    folders = _folders(configs, variants)
    runs = [
        _run(group, spec, (*common, *variant), seed, out / folder)
        for (spec, variant), (group, folder) in folders.items()
        for seed in seeds
    ]
    return Plan(out, tuple(runs))


def _run(group: str, spec: str, settings: tuple[str, ...], seed: int, folder: Path) -> Run:
    run = Run(group, spec, settings, seed, folder / f"seed_{seed}", {})
    try:
        config = to_plain(load_config(spec, run.overrides))
    except ValueError as error:
        raise ValueError(f"{run.name}: {error}") from None
    return Run(group, spec, settings, seed, run.workdir, config)


def _folders(
    configs: Sequence[str], variants: Sequence[tuple[str, ...]]
) -> dict[tuple[str, tuple[str, ...]], tuple[str, str]]:
    """Returns group and folder name of every config in every variant."""
    names = dict(zip(configs, _short_names(configs)))
    groups = {(c, v): " ".join((names[c], *v)) for c in configs for v in variants}
    plain = {key: re.sub(r"[^\w.=+-]+", "_", group) for key, group in groups.items()}
    count = Counter(name.casefold() for name in plain.values())
    return {
        key: (group, _unique(plain[key], key, count[plain[key].casefold()] > 1))
        for key, group in groups.items()
    }


def _short_names(configs: Sequence[str]) -> list[str]:
    """Returns the file names without folders, or as many folders as tell all configs apart."""
    parts = [_parts(spec) for spec in configs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-depth:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return list(configs)


def _parts(spec: str) -> list[str]:
    file, _, argument = spec.partition(":")
    path = Path(file)
    last = f"{path.stem}:{argument}" if argument else path.stem
    return [*path.parent.parts, last]


def _unique(name: str, key: tuple, shared: bool) -> str:
    """Returns a folder name no longer than a file system takes, with a digest if not itself."""
    if len(name) <= _LONGEST_NAME and not shared:
        return name
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:8]
    return f"{name[:_LONGEST_NAME]}-{digest}"


def _check_distinct(option: str, values: Sequence[Any]) -> None:
    if not values:
        raise ValueError(f"{option}: expected at least one value")
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"{option}: {repeated[0] or 'the config as it is'} is given twice")


def _check_settings(settings: Sequence[str]) -> None:
    for setting in settings:
        path, equals, _ = setting.partition("=")
        if not path or not equals or setting.startswith("-"):
            raise ValueError(f'setting "{setting}": expected group.field=value, without "{PREFIX}"')
        if path == "seed":
            raise ValueError(f'setting "{setting}": give seeds by --seeds')
