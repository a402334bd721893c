#!/usr/bin/env bash
# Trains as the one process of a pod; the arguments go to `vlp-jax train`.
# On SIGTERM the training saves a checkpoint and ends well, though it is not done. This script then
# ends with status 143, so that Kubernetes counts the pod as failed and starts it again.
set -uo pipefail

vlp-jax train --report "$@" &
training=$!
stopped=0
trap 'stopped=143; kill -TERM "$training" 2>/dev/null' TERM INT

status=0
wait "$training" || status=$?
# A trapped signal ends `wait` before the training has ended.
while kill -0 "$training" 2>/dev/null; do
  wait "$training"
  status=$?
done
exit "$((stopped ? stopped : status))"
