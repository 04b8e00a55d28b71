#!/bin/bash
# All measurements, as one Markdown report on standard output: what docs/performance.md is made of. On a quiet machine.
#
#   PEERS="/usr/bin/python3 /opt/torch2/bin/python" bench/run-all.sh      interpreters that have PyTorch; default: the first
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
read -ra peers <<<"${PEERS:-/usr/bin/python3}"

processor=$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)
commit=$(git describe --always --dirty 2>/dev/null || echo "unknown commit")
compiler=$(gcc --version | head -n 1)
mpi=$(mpirun --version | head -n 1)
echo "$(date +%Y-%m-%d), $("$lockstep" --version) ($commit), ${processor:-$(uname -m)}, $(nproc) cores, $compiler, $mpi"

echo
echo "## What the machine gives"
echo
bench/limits.sh

echo
echo "## A step, beside PyTorch"
peer()
{
    echo
    if ! python3 bench/peer.py --rounds "${ROUNDS:-5}" "${peers[@]/#/--python=}" --config "$@"; then
        echo "(not measured)"
    fi
}
# Made-up data of the same shape: MNIST itself is not part of a clone, and its content does not change the time.
peer configs/mnist-cnn.yaml --input 1,28,28
peer configs/mnist-mlp.yaml --input 1,28,28
for config in configs/bench/*.yaml configs/digits-cnn.yaml configs/digits-mlp.yaml; do
    peer "$config"
done

echo
echo "## Start"
echo
bench/startup.sh

echo
echo "## Growth"
echo
bench/growth.sh

echo
echo "## What the same bits cost"
echo
bench/exactness.sh
