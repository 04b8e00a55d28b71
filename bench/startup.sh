#!/bin/bash
# How long it takes until the first step is done: medians of ROUNDS (10) starts each. Prints a Markdown table.
#
#   bench/startup.sh [CONFIG]      default: configs/digits-mlp.yaml
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

config=${1:-$root/configs/digits-mlp.yaml}
rounds=${ROUNDS:-10}
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT

# until_line PATTERN COMMAND...: milliseconds from the start of the command to the first line of its output with the pattern.
until_line()
{
    local pattern=$1 start line ms=
    shift
    start=$EPOCHREALTIME
    while IFS= read -r line; do
        if [[ -z "$ms" && "$line" == *$pattern* ]]; then
            ms=$(ms_since "$start")
        fi
    done < <("$@")
    echo "${ms:?no line with $pattern from: $*}"
}

# measure PATTERN COMMAND...: the median of the rounds. Each has a run directory of its own, the last argument.
measure()
{
    local i
    for ((i = 0; i < rounds; i++)); do
        until_line "$@"
        rm -rf "${runs:?}"/*
    done | median
}

first_step=(train "$config" --json --set train.steps=1 --set "train.log_every=1 step" --run-dir "$runs/run")
echo "| from start to | median of $rounds, ms |"
echo "| --- | --- |"
echo "| \`lockstep --version\` | $(measure lockstep "$lockstep" --version) |"
echo "| end of the first step, \`train\` | $(measure '"event":"step"' "$lockstep" "${first_step[@]}") |"
for n in 2 4; do
    echo "| end of the first step, \`launch -n $n train\` | $(measure '"event":"step"' "$lockstep" launch -n $n "${first_step[@]}") |"
done
