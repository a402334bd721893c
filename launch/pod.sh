#!/usr/bin/env bash
# Trains as the one process of a pod; the arguments go to `vlp-jax train`.
# On SIGTERM the training saves a checkpoint and ends with status 75, and so does this script:
# Kubernetes counts the pod as failed and starts it again.
set -uo pipefail

vlp-jax train --report "$@" &
training=$!
trap 'kill -TERM "$training" 2>/dev/null' TERM INT

status=0
wait "$training" || status=$?
# A trapped signal ends `wait` before the training has ended.
while kill -0 "$training" 2>/dev/null; do
  wait "$training"
  status=$?
done
exit "$status"
