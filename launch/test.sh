#!/usr/bin/env bash
# Installs what the tests need into .venv-test and runs the fast ones; arguments go to pytest. `-m ""` runs them all.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh

install_into .venv-test -e ".[test]"
export JAX_PLATFORMS=cpu
exec .venv-test/bin/python -m pytest -n "${TEST_WORKERS:-2}" -m "not slow and not multiprocess and not torch and not oracle" "$@"
