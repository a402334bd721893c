#!/usr/bin/env bash
# Installs vlp_jax into .venv, trains a small model on bundled pictures, evaluates it and writes a report.
# Needs Python >= 3.11 with pip, two CPU cores and about seven minutes. Nothing is downloaded at run time.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh

install_into .venv ".[quickstart]"
.venv/bin/vlp-jax train --config "${CONFIG:-configs/quickstart.py}" --workdir "${WORKDIR:-runs/quickstart}" --report "$@"
