#!/usr/bin/env bash
# Installs what the tests need into .venv-test and runs them; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh

install_into .venv-test -e ".[test]"
export JAX_PLATFORMS=cpu
exec .venv-test/bin/python -m pytest -n "${TEST_WORKERS:-2}" "$@"
