# The Debian packages that lockstep stands on: the one list, sourced by the other scripts. docs/dependencies.md says what each is for.
# shellcheck shell=bash disable=SC2034

packages_build=(
    gcc
    libc6-dev
    cmake
    ninja-build
    pkg-config
    openmpi-bin
    libopenmpi-dev
    libhdf5-dev
    libyaml-dev
    libxxhash-dev
    libjansson-dev
    zlib1g-dev
    libpng-dev
    libjpeg62-turbo-dev
)
packages_test=(
    g++
    libcriterion-dev
    hdf5-tools
    dataset-fashion-mnist
    python3
)
# What the comparisons of bench/ and tests/parity/make_reference.py need beside the above; no test does.
packages_peer=(
    python3
    python3-yaml
    python3-torch
    python3-h5py
    libopenblas0-pthread
)

# install_packages NAME...: installs what is missing through apt-get, as root or through sudo. Says what, before it does.
install_packages()
{
    local name missing=() as_root=()

    if ! command -v apt-get >/dev/null; then
        echo "No apt-get here. These packages, or what this system calls them, are needed: $*"
        return 0
    fi
    for name in "$@"; do
        [[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" == installed ]] || missing+=("$name")
    done
    if ((${#missing[@]} == 0)); then
        echo "All ${#} packages are installed."
        return 0
    fi
    echo "Installing ${#missing[@]} packages: ${missing[*]}"
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "This needs root, and there is no sudo. Once, as root: apt-get install --no-install-recommends ${missing[*]}" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    "${apt[@]}" update
    "${apt[@]}" install --no-install-recommends "${missing[@]}"
}
