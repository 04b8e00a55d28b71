# Shared by the measuring scripts.
# shellcheck shell=bash disable=SC2034

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
lockstep=${LOCKSTEP:-$root/build/release/lockstep}
if [[ ! -x "$lockstep" ]]; then
    echo "$lockstep is not there: build it (cmake --preset release && cmake --build --preset release), or name another in LOCKSTEP" >&2
    exit 2
fi

# Lines of numbers -> their median.
median()
{
    sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# field NAME: that member of each line of JSON.
field()
{
    python3 -c 'import json, sys
for line in sys.stdin:
    print(json.loads(line)[sys.argv[1]])' "$1"
}

# Milliseconds since a value of EPOCHREALTIME, which has a comma in some locales.
ms_since()
{
    local now=${EPOCHREALTIME/[.,]/} then=${1/[.,]/}
    awk -v us=$((now - then)) 'BEGIN { printf "%.1f\n", us / 1000 }'
}
