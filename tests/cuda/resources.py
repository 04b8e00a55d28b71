#!/usr/bin/env python3
"""What the compiled kernels of the CUDA module take, as cuobjdump tells: resources.py CUOBJDUMP MODULE.

No kernel keeps numbers in local memory, which is as slow as global memory: neither what does not fit into registers nor an array that is indexed at run
time. Blocks of the size that kernels are launched with have room for their registers and shared memory. Exit code 77: there is no module."""

import collections
import os
import re
import subprocess
import sys

SKIPPED = 77

# Part of a kernel's name; the bytes of stack that it may have, and why.
ALLOWED = {
    "perturb_gradient": (40, "the cosine of a double has a path for large angles that keeps digits in an array; no angle is large"),
    "gaussian_forward": (40, "likewise"),
    "noise_draws": (40, "likewise"),
    "flat_update_kernelILb1E": (40, "likewise: it adds noise to gradients"),
}

REGISTERS = 65536  # of a multiprocessor
THREADS = {"order_places": 1024}  # of a block, where they are not USUAL_THREADS or fewer
USUAL_THREADS = 256
SHARED = 48 << 10
RESERVED_SHARED = 1 << 10  # counted in it from sm_90 on

LEAST_KERNELS = 500  # of an architecture: fewer were not read

FUNCTION = re.compile(r"\s*Function (\S+):")
USAGE = re.compile(r"\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


def kernels(text):
    """(architecture, name, registers, stack, shared, local) of each."""
    arch = name = None
    for line in text.splitlines():
        if line.startswith("arch = "):
            arch = line.split()[2]
        elif FUNCTION.match(line):
            name = FUNCTION.match(line).group(1)
        elif USAGE.match(line) and name is not None:
            yield (arch, name, *map(int, USAGE.match(line).groups()))
            name = None


def check(text):
    """The lines that say what is wrong."""
    wrong, used, names = [], set(), collections.defaultdict(set)
    for arch, name, registers, stack, shared, local in kernels(text):
        names[arch].add(name)
        allowed = [part for part in ALLOWED if part in name]
        used.update(part for part in allowed if stack > 0)
        if stack > max([ALLOWED[part][0] for part in allowed], default=0) or local > 0:
            wrong.append("%s: %d bytes of stack, %d of local memory: %s" % (arch, stack, local, name))
        threads = next((n for part, n in THREADS.items() if part in name), USUAL_THREADS)
        if (registers + 7) // 8 * 8 * threads > REGISTERS:  # they are given out by 8
            wrong.append("%s: %d registers, too many for %d threads: %s" % (arch, registers, threads, name))
        if shared > SHARED + RESERVED_SHARED:
            wrong.append("%s: %d bytes of shared memory: %s" % (arch, shared, name))
    wrong += ["%s: needs no stack any more" % part for part in ALLOWED if part not in used]
    wrong += ["%s: %d kernels were read" % (arch, len(found)) for arch, found in names.items() if len(found) < LEAST_KERNELS]
    if not names:
        wrong.append("no kernel was read")
    return wrong


def main():
    tool, module = sys.argv[1:]
    if not os.path.exists(module):
        print("%s is not built" % module)
        return SKIPPED
    text = subprocess.run([tool, "--dump-resource-usage", module], check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout
    wrong = check(text)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
