"""The page that `vlp-jax preflight` prints, and the same as a dictionary."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from vlp_jax.cli.measure.preflight import Preflight, StepProgram
from vlp_jax.parallel.report import size_text


def page(found: Preflight, utilisation: float) -> str:
    """Returns all that was found as text, one section after the other."""
    lines = [f"{found.devices}, {found.device_count} devices, mesh {found.mesh}", ""]
    lines += _table([(c.verdict, c.about, c.said) for c in found.checks])
    lines.append(f"every device holds {size_text(found.replicated)} of the state whole")
    for program in found.programs:
        lines += ["", *_program(program, found)]
    return "\n".join([*lines, "", *_run(found, utilisation)])


def as_json(found: Preflight, utilisation: float) -> dict[str, Any]:
    """Returns all that was found in plain types."""
    seconds = found.seconds_a_step(utilisation)
    plain = dataclasses.asdict(found)
    for program, entry in zip(found.programs, plain["programs"]):
        entry["flops_ratio"] = program.flops_ratio
    return plain | {
        "fits": found.fits,
        "ready": found.ready,
        "utilisation": utilisation,
        "steps_per_second": seconds and 1 / seconds,
        "hours": seconds and found.steps * seconds / 3600,
    }


def _program(program: StepProgram, found: Preflight) -> Iterator[str]:
    share = f"{program.share:.0%} of the steps, " if program.share < 1 else ""
    yield (
        f"step of {' + '.join(program.tasks)} on {', '.join(program.sources)}: {share}"
        f"compiled in {program.compile_seconds:.0f} s"
    )
    rows = [(size_text(count), kind) for kind, count in program.parts.items()]
    if program.refused:
        yield from _table(rows)
        yield f"  {program.refused}"
        return
    rows.append((size_text(program.working), "activations and temporaries"))
    yield from _table([*rows, (size_text(program.peak), _peak(found))])
    each = program.flops * found.device_count / found.batch_size
    yield f"  {_flops(program.flops)} a device, {_flops(each)} an example"
    if program.flops_ratio:
        yield (
            f"  {program.flops_ratio:.2f} times the {_flops(program.model_flops)} that loss and "
            "gradient need; the rest is computed again, or the optimizer's"
        )
    sent = [
        (size_text(one.bytes), f"over {one.net}", f"{one.kind} × {one.count}")
        for one in program.traffic
    ]
    yield "  a device sends:" if sent else "  devices exchange nothing"
    yield from _table(sent)


def _peak(found: Preflight) -> str:
    if not found.device_bytes:
        return "at most at a time"
    return f"at most at a time, of {size_text(found.device_bytes)} of a device"


def _counted(wrong: int) -> str:
    """Returns how many things are wrong, as a sentence."""
    if not wrong:
        return "nothing is wrong"
    return f"{wrong} thing{' is' if wrong == 1 else 's are'} wrong"


def _flops(count: float) -> str:
    unit = next((u for u in ((1e12, "T"), (1e9, "G"), (1e6, "M")) if count >= u[0]), (1e3, "k"))
    return f"{count / unit[0]:,.1f} {unit[1]}FLOP"


def _run(found: Preflight, utilisation: float) -> Iterator[str]:
    seconds = found.seconds_a_step(utilisation)
    if seconds:
        yield (
            f"at {utilisation:.0%} of {found.device_flops / 1e12:,.0f} TFLOP/s a device: "
            f"{1 / seconds:,.2f} steps/s, {found.batch_size / seconds:,.0f} examples/s, "
            f"{found.steps * seconds / 3600:,.1f} hours for {found.steps:,} steps"
        )
    wrong = sum(check.verdict == "wrong" for check in found.checks)
    memory = "it fits" if found.fits else "it does not fit"
    if found.fits and not found.device_flops:
        memory = "it compiles (simulated devices have no memory of their own to fill)"
    yield f"{memory}; {_counted(wrong)}"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in list(zip(*rows))[:-1]]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths)] + [row[-1]] for row in rows)
    return ["  " + "  ".join(cells) for cells in padded]
