#!/bin/bash
# What this machine gives: fused multiply-adds in registers, memory, our own matrix products (src/kern/cpu/gemm.c), and those of the BLAS behind
# PyTorch where that is installed. The best of many repetitions. Prints a Markdown table.
#
#   PEERS="/usr/bin/python3 /opt/torch2/bin/python" THREADS="1 2" bench/limits.sh
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

read -ra threads <<<"${THREADS:-1 2}"
read -ra peers <<<"${PEERS:-/usr/bin/python3}"
build=$(dirname "$lockstep")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${CC:-cc}" -std=gnu17 -O3 -march=native -ffp-contract=fast -D_GNU_SOURCE -I"$root/src" "$root/bench/limits.c" "$build/liblk_kern.a" "$build/liblk_base.a" \
    -lpthread -lm -lyaml -lxxhash -o "$work/limits"
"$work/limits" "${threads[@]}" >"$work/lines"

for peer in "${peers[@]}"; do
    for n in "${threads[@]}"; do
        OMP_NUM_THREADS=$n "$peer" - "$n" <<'PYTHON' >>"$work/lines" || echo "(no PyTorch in $peer)" >&2
import json, sys, time
import torch

threads = int(sys.argv[1])
torch.set_num_threads(threads)
for m, n, k in ((16, 512, 784), (64, 512, 512), (256, 256, 256), (256, 1024, 256), (512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048)):
    a, b, c = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
    best, end, turn = 1e30, time.perf_counter() + 0.4, 0
    while turn < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, b, out=c)
        best, turn = min(best, time.perf_counter() - start), turn + 1
    name = "torch.mm " + torch.__version__.split("+")[0]
    print(json.dumps({"name": name, "threads": threads, "m": m, "n": n, "k": k, "gflops": round(2e-9 * m * n * k / best, 2)}))
PYTHON
    done
done

python3 - "$work/lines" <<'PYTHON'
import json, sys

rows, threads = {}, []
with open(sys.argv[1], encoding="utf-8") as f:
    for line in f:
        r = json.loads(line)
        size = f" {r['m']} x {r['k']} x {r['n']}" if r["k"] > 1 else ""
        unit = "GB/s" if "gb_per_s" in r else "GFLOP/s"
        rows.setdefault((r["name"] + size, unit), {})[r["threads"]] = r.get("gb_per_s", r.get("gflops"))
        if r["threads"] not in threads:
            threads.append(r["threads"])
print("| best of many repetitions | unit |", *(f"{n} thread{'s'[:n != 1]} |" for n in threads))
print("| --- | --- |", " --- |" * len(threads), sep="")
for (name, unit), values in rows.items():
    print(f"| {name} | {unit} |", *(f"{values[n]:.1f} |" if n in values else " |" for n in threads))
PYTHON
