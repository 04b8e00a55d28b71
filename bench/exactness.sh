#!/bin/bash
# What the same bits cost: a step of eight microbatches beside one of the undivided batch, and the ordered reduction beside the MPI
# library's own. Medians of ROUNDS (5) rounds, taken in turn. Prints Markdown tables.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=${ROUNDS:-5}

# step CONFIG M: milliseconds of a step.
step()
{
    "$lockstep" bench step "$1" --json --set "train.microbatches=$2" --steps 30 | field ms_median
}

echo "One rank, one thread; milliseconds a step:"
echo
echo "| config | 1 microbatch | 8 microbatches | ratio |"
echo "| --- | --- | --- | --- |"
for config in lenet5 mlp; do
    one=() eight=()
    for ((i = 0; i < rounds; i++)); do
        one+=("$(step "$root/configs/bench/$config.yaml" 1)")
        eight+=("$(step "$root/configs/bench/$config.yaml" 8)")
    done
    a=$(printf '%s\n' "${one[@]}" | median)
    b=$(printf '%s\n' "${eight[@]}" | median)
    awk -v name="$config" -v a="$a" -v b="$b" 'BEGIN { printf "| %s | %.3f | %.3f | %.2f |\n", name, a, b, b / a }'
done

echo
echo "Sum of a gradient over the ranks; milliseconds:"
echo
echo "| ranks | MiB | ordered | MPI_Allreduce | ratio |"
echo "| --- | --- | --- | --- | --- |"
for n in 2 4; do
    "$lockstep" launch -n $n bench reduce --json | python3 -c 'import json, sys
rows = {}
for line in sys.stdin:
    row = json.loads(line)
    rows.setdefault(row["bytes"], {})[row["name"]] = row["ms_median"]
for size, ms in sorted(rows.items()):
    print("| %s | %.3g | %.3f | %.3f | %.2f |" % (sys.argv[1], size / 2**20, ms["reduce"], ms["allreduce"], ms["reduce"] / ms["allreduce"]))' $n
done
