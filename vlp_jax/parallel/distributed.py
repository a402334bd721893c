"""Joins the processes of a multi-host run, before JAX touches a device."""

import dataclasses
import os
import re
import sys
from collections.abc import Mapping

import jax

AUTO = "auto"
_ONE_TASK_A_NODE = re.compile(r"1(\(x\d+\))?")


@dataclasses.dataclass(frozen=True)
class ProcessSettings:
    """Who this process is: where the coordinator listens, how many processes, which one."""

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def initialize_distributed(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout_seconds: int = 300,
) -> int:
    """Connects this process to the others of the run and returns how many there are.

    What is not given is read from the environment: JAX_COORDINATOR_ADDRESS or COORDINATOR_ADDRESS,
    NUM_PROCESSES, PROCESS_ID. COORDINATOR_ADDRESS=auto leaves the detection to JAX (SLURM, Cloud
    TPU, Kubernetes, MPI); a SLURM job step of several tasks and a TPU_WORKER_HOSTNAMES with several
    hosts mean "auto" too. One process, or no settings at all: does nothing. Call it before anything
    that touches a device; a second call does nothing.

    Raises:
      ValueError: if the settings are incomplete or contradict each other.
      RuntimeError: if a device was touched already, or the expected processes do not appear within
        `timeout_seconds`.
    """
    if jax.distributed.is_initialized():
        return jax.process_count()
    given = ProcessSettings(coordinator_address, num_processes, process_id)
    settings = read_settings(given, os.environ)
    if settings.coordinator_address == AUTO:
        _connect(ProcessSettings(num_processes=settings.num_processes), timeout_seconds)
    elif (settings.num_processes or 1) > 1:
        _connect(settings, timeout_seconds)
    else:
        return 1
    return jax.process_count()


def read_settings(given: ProcessSettings, environ: Mapping[str, str]) -> ProcessSettings:
    """Fills what `given` leaves open from environment variables and checks the result.

    Raises:
      ValueError: if some but not all settings are known, or the process id is out of range.
    """
    settings = _fill(given, _from_plain_variables(environ))
    if settings == ProcessSettings():
        settings = _from_slurm(environ)
    if settings == ProcessSettings() and "," in environ.get("TPU_WORKER_HOSTNAMES", ""):
        settings = ProcessSettings(AUTO)
    _check(settings)
    return settings


def _fill(first: ProcessSettings, second: ProcessSettings) -> ProcessSettings:
    pairs = zip(dataclasses.astuple(first), dataclasses.astuple(second))
    return ProcessSettings(*(b if a is None else a for a, b in pairs))


def _from_plain_variables(environ: Mapping[str, str]) -> ProcessSettings:
    if environ.get("JAX_COORDINATOR_ADDRESS") == AUTO:
        raise ValueError(
            'JAX_COORDINATOR_ADDRESS = "auto": JAX reads this variable itself and would look for a '
            "host of that name; set COORDINATOR_ADDRESS=auto instead"
        )
    address = environ.get("JAX_COORDINATOR_ADDRESS") or environ.get("COORDINATOR_ADDRESS")
    return ProcessSettings(
        address or None, _read_int(environ, "NUM_PROCESSES"), _read_int(environ, "PROCESS_ID")
    )


def _from_slurm(environ: Mapping[str, str]) -> ProcessSettings:
    # Only a job step (srun) starts every task; a bare sbatch script sees SLURM_NTASKS but runs
    # alone, and would wait for the others until the timeout.
    count = _read_int(environ, "SLURM_STEP_NUM_TASKS") or _read_int(environ, "SLURM_NTASKS")
    several = "SLURM_STEP_NODELIST" in environ and count not in (None, 1)
    return ProcessSettings(AUTO, count) if several else ProcessSettings()


def _read_int(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"environment variable {name}={text!r}: expected a whole number") from None


def _check(settings: ProcessSettings) -> None:
    count, index = settings.num_processes, settings.process_id
    if count is not None and count < 1:
        raise ValueError(f"number of processes is {count}: expected at least 1")
    if settings.coordinator_address == AUTO or count == 1 or settings == ProcessSettings():
        return
    values = dataclasses.asdict(settings)
    missing = [name for name, value in values.items() if value is None]
    if missing:
        known = ", ".join(f"{k}={v}" for k, v in values.items() if v is not None)
        raise ValueError(
            f"a run of several processes needs {', '.join(missing)} beside {known}: give it as an "
            "argument or set JAX_COORDINATOR_ADDRESS (host:port), NUM_PROCESSES and PROCESS_ID"
        )
    if not 0 <= index < count:
        raise ValueError(f"process id {index}: expected 0 to {count - 1} for {count} processes")


def _connect(settings: ProcessSettings, timeout_seconds: int) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    expected = settings.num_processes or "all"
    # A missing peer makes JAX's client end the process with its own message, which names neither
    # the address nor the count; so say them beforehand.
    where = settings.coordinator_address or "an address detected by JAX"
    message = (
        f"expected {expected} processes at {where} within {timeout_seconds} s "
        f"(this is process {settings.process_id if settings.process_id is not None else '?'})"
    )
    print(f"distributed: {message}", file=sys.stderr, flush=True)
    try:
        jax.distributed.initialize(
            **dataclasses.asdict(settings), initialization_timeout=timeout_seconds
        )
    except Exception as error:
        raise RuntimeError(f"distributed start failed: {message}: {error}") from error
    if _ONE_TASK_A_NODE.fullmatch(os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")):
        # Under SLURM JAX gives each process one GPU of its host; here it is the host's only one.
        jax.config.update("jax_cuda_visible_devices", "all")
        jax.config.update("jax_rocm_visible_devices", "all")
    if settings.num_processes not in (None, jax.process_count()):
        raise RuntimeError(
            f"distributed start: expected {settings.num_processes} processes, "
            f"saw {jax.process_count()}: is every process using the same kind of device?"
        )
