#!/usr/bin/env bash
# Trains one model with several processes on this machine, as a pod does with one process a host.
#   bash launch/local_multiprocess.sh 2 --config configs/quickstart.py:smoke --workdir runs/two
# The first argument is the number of processes, the others go to `vlp-jax train`. DEVICES is the
# number of simulated CPU devices of each process, 1 if not set. What process i > 0 prints begins
# with "[i]". SIGTERM and Ctrl-C reach every process: they save a checkpoint and end.
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: bash launch/local_multiprocess.sh PROCESSES --config FILE --workdir DIR [...]"
count="${1:-}"
if ! [[ "$count" =~ ^[1-9][0-9]*$ ]]; then
  echo "PROCESSES is \"$count\", expected a whole number above 0. $usage" >&2
  exit 2
fi
shift

python="${PYTHON:-.venv/bin/python}"
if ! command -v "$python" >/dev/null; then
  source launch/venv.sh
  python="$(find_python)"
fi

port="$("$python" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')"
export JAX_COORDINATOR_ADDRESS="localhost:$port" NUM_PROCESSES="$count"
export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES="${DEVICES:-1}"

label() {
  while IFS= read -r line; do echo "[$1] $line" >&2; done
}

# With job control every process leads a group of its own, so that Ctrl-C comes only by the trap.
set -m
pids=()
for ((i = 0; i < count; i++)); do
  if ((i == 0)); then
    PROCESS_ID=$i "$python" -m vlp_jax train "$@" &
  else
    PROCESS_ID=$i "$python" -m vlp_jax train "$@" > >(label "$i") 2>&1 &
  fi
  pids+=("$!")
done
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' INT TERM

# Ends with the first failure's status. The others would wait long for a lost process, so they are
# killed ten seconds later.
status=0 polls=0
while ((${#pids[@]})); do
  running=()
  for pid in "${pids[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then
      running+=("$pid")
    else
      code=0
      wait "$pid" || code=$?
      ((status)) || status=$code
    fi
  done
  pids=(${running[@]+"${running[@]}"})
  if ((status && ++polls == 50 && ${#pids[@]})); then
    kill -KILL "${pids[@]}" 2>/dev/null || true
  fi
  sleep 0.2 & wait "$!" || true  # waiting in the background lets a signal through at once
done
exit "$status"
