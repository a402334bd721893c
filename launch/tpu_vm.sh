#!/usr/bin/env bash
# Trains one model on all workers of a Cloud TPU VM that exists already.
#   TPU=my-v4-32 ZONE=us-central2-b bash launch/tpu_vm.sh \
#       --config configs/quickstart.py --workdir /mnt/shared/runs/pod
# The arguments go to `vlp-jax train`. The workdir must be a folder that all workers share (a mounted
# file store), or gs://bucket/folder, and data must be where every worker finds them. PROJECT names
# the project if it is not gcloud's own.
#
# Copies this checkout to ~/vlp_jax of every worker, installs it there and starts one process a
# worker. COORDINATOR_ADDRESS=auto leaves it to JAX to find the others, from the TPU's metadata.
# What is not committed is not copied. PYTHON names the workers' Python 3.11 or newer, if it has an
# unusual name. The same command goes on from the last checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: TPU=NAME ZONE=ZONE bash launch/tpu_vm.sh --config FILE --workdir SHARED_FOLDER [...]"
if [ -z "${TPU:-}" ] || [ -z "${ZONE:-}" ] || [ "$#" -eq 0 ]; then
  echo "$usage" >&2
  exit 2
fi

project=(${PROJECT:+--project="$PROJECT"})
tpu_vm() { gcloud compute tpus tpu-vm "$@" --zone="$ZONE" ${project[@]+"${project[@]}"} --worker=all; }

checkout="$(mktemp -d)/vlp_jax.tar.gz"
trap 'rm -rf "$(dirname "$checkout")"' EXIT
git archive --format=tar.gz --output="$checkout" HEAD
tpu_vm scp "$checkout" "$TPU:"

arguments="$(printf ' %q' "$@")"
tpu_vm ssh "$TPU" --command="
set -euo pipefail
mkdir -p ~/vlp_jax
tar -xzf ~/vlp_jax.tar.gz -C ~/vlp_jax
cd ~/vlp_jax
source launch/venv.sh
export PYTHON=$(printf %q "${PYTHON:-}")
install_into .venv '.[train,quickstart,tpu,gcs]'
COORDINATOR_ADDRESS=auto .venv/bin/vlp-jax train --report$arguments"
