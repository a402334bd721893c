#!/usr/bin/env bash
# Installs programs that some slow tests need, where this is Debian and root: SLURM, a browser and
# a linter of shell scripts. What can't be had is said in a line, and the tests that need it skip.
set -euo pipefail

skip() {
  echo "$1: tests skip where they need what is missing of: ${packages[*]}"
}

packages=(slurm-wlm munge shellcheck chromium chromium-driver)
if type slurmctld slurmd munged shellcheck chromium chromedriver >/dev/null 2>&1; then
  exit
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  skip "this is not root on Debian"
  exit
fi
export DEBIAN_FRONTEND=noninteractive
reach=(-qq -o Acquire::http::Timeout=20 -o Acquire::Retries=1 -o APT::Update::Error-Mode=any)
if ! apt-get "${reach[@]}" update; then
  skip "Debian's mirror was not reached"
  exit
fi
for package in "${packages[@]}"; do
  # Ubuntu has no browser of this kind, which is no reason to go without the others.
  apt-get "${reach[@]}" install --no-install-recommends "$package" >/dev/null 2>&1 ||
    skip "$package was not installed"
done
