#!/usr/bin/env bash
# Measures in about ten minutes on one H100 or H200 what the published sizes reach, and keeps the raw figures in OUT: the train step of
# ALBEF-base at 256 pixels, that of ViT-B/16 and BERT-base which learn by contrast at 224 pixels, and the contrastive loss of 65,536 pairs
# in both types. Needs an environment with vlp_jax[gpu] as PYTHON. Arguments go to both models, such as --config.training.remat=cheap.
# SIZE=tiny and small numbers try it without a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

OUT="${OUT:-runs/bench_gpu}"
mkdir -p "$OUT"
bench() {
  "${PYTHON:-python}" -m vlp_jax bench --steps "${STEPS:-10}" "$@"
}
models=(--size "${SIZE:-base}" --dtype bfloat16)

nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv > "$OUT/gpu.csv" 2> /dev/null || echo "no GPU" > "$OUT/gpu.csv"
for dtype in float32 bfloat16; do
  bench --contrastive "${PAIRS:-65536}" --width 768 --dtype "$dtype" --json "$OUT/contrastive_$dtype.json"
done
bench two_towers "${models[@]}" --batch "${TOWERS_BATCH:-512}" --json "$OUT/two_towers.json" "$@"
bench albef "${models[@]}" --batch "${BATCH:-128}" --json "$OUT/albef.json" "$@"
