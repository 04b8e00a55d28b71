#!/bin/bash
# How a step grows with the batch and with the depth of the network (each over a factor of 16), and planning with the number of layers.
# One rank, one thread, least times of STEPS (4) steps. Prints Markdown tables.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

steps=${STEPS:-4}
gpt=$root/configs/bench/gpt.yaml

# step KEY=VALUE...: least milliseconds of a step of the GPT.
step()
{
    local set=()
    for value in "$@"; do set+=(--set "$value"); done
    "$lockstep" bench step "$gpt" --json "${set[@]}" --steps "$steps" --warmup 1 | field ms_min
}

echo "| batch (GPT of 1 block) | ms a step | ms a sample |"
echo "| --- | --- | --- |"
for n in 8 16 32 64 128; do
    ms=$(step model.2.repeat.times=1 "train.batch=$n")
    awk -v n="$n" -v ms="$ms" 'BEGIN { printf "| %d | %.1f | %.3f |\n", n, ms, ms / n }'
done
echo
echo "| blocks (batch 8) | ms a step | ms a block more |"
echo "| --- | --- | --- |"
last=0 before=0
for n in 1 2 4 8 16; do
    ms=$(step "model.2.repeat.times=$n" train.batch=8)
    awk -v n="$n" -v ms="$ms" -v last="$last" -v before="$before" \
        'BEGIN { if (before > 0) printf "| %d | %.1f | %.1f |\n", n, ms, (ms - last) / (n - before); else printf "| %d | %.1f | |\n", n, ms }'
    last=$ms before=$n
done
echo
echo "| operations of the plan | seconds of \`lockstep plan\` |"
echo "| --- | --- |"
for n in 8 40 400; do
    start=$EPOCHREALTIME
    count=$("$lockstep" plan "$gpt" --json --set "model.2.repeat.times=$n" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["operations"]))')
    ms=$(ms_since "$start")
    awk -v c="$count" -v ms="$ms" 'BEGIN { printf "| %d | %.2f |\n", c, ms / 1000 }'
done
