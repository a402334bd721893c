"""Which environment variables a process reads to find out who it is."""

from collections.abc import Mapping

from vlp_jax.parallel.distributed import ProcessSettings, read_settings


class _Recorder(dict):
    """A mapping that notes the names it is asked for."""

    def __init__(self, values: Mapping[str, str]):
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


def asked_for(environ: Mapping[str, str]) -> set[str]:
    """Returns the variables that the start-up of a process reads in this environment."""
    recorder = _Recorder({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"} | dict(environ))
    read_settings(ProcessSettings(), recorder)
    return recorder.asked
