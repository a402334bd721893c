"""Commands that note how they were called, put before the real ones on the PATH."""

import os
from pathlib import Path


class Commands:
    """A folder of small bash scripts; every call adds a line to `calls`."""

    def __init__(self, folder: Path):
        self.folder = folder / "commands"
        self.folder.mkdir()
        self._log = folder / "calls"
        self._log.touch()

    def add(self, name: str, body: str = "") -> None:
        """Adds a command that logs its name and arguments and then does `body`."""
        script = self.folder / name
        script.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >> {self._log}\n{body}\n')
        script.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """What was called, a line each."""
        return self._log.read_text().splitlines()

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which these commands are found first."""
        return os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}"}
