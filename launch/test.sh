#!/usr/bin/env bash
# Installs what the tests need into .venv-test and runs the fast ones; arguments go to pytest. `-m ""` runs the slow ones, too; of tests
# with many costly cases each session draws some, by the seed it prints: with TEST_ALL=1 it runs them all.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh

install_into .venv-test -e ".[test]"
export JAX_PLATFORMS=cpu
exec .venv-test/bin/python -m pytest -n "${TEST_WORKERS:-2}" -m "not slow and not multiprocess and not torch and not oracle" "$@"
