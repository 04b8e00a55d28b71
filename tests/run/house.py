"""The house's rules, held over the sources: who may include whom, where foreign headers may stand, that each header compiles alone, which functions
are not used, what the library exports.

    house.py SOURCE_DIR [liblockstep.so]"""

import glob
import os
import re
import subprocess
import sys

# Room -> rooms whose headers it may include, besides its own.
ROOMS = {
    "base": [],
    "kern": ["base"],
    "comm": ["base"],
    "data": ["base"],
    "engine": ["kern", "base"],
    "model": ["engine", "kern", "data", "base"],
    "cuda": ["kern", "comm", "base"],
    "train": ["model", "engine", "cuda", "kern", "comm", "data", "base"],
    "launch": ["base"],
    "cli": ["train", "launch", "model", "engine", "cuda", "kern", "comm", "data", "base"],
}

# Header -> the files that may include it (and headers of ours that pass it on).
FOREIGN = [
    (r"mpi\.h", r"src/comm/"),
    (r"nccl.*\.h", r"src/comm/comm_nccl|tests/standin/"),
    (r"hdf5.*\.h|H5.*\.h", r"src/data/"),
    (r"data/h5\.h", r"src/data/|src/train/checkpoint"),
    (r"cblas.*\.h|.*dnnl.*\.h", r"src/kern/cpu/"),
    (r"cuda.*\.h|cublas.*\.h|cudnn.*\.h", r"src/kern/cuda/|src/comm/comm_nccl|tests/standin/"),
    (r"yaml\.h", r"src/base/yaml\.c"),
    (r"png\.h|jpeglib\.h", r"src/data/image\.c"),
]

BANNED = ["assert", "exit", "abort", "printf", "puts", "putchar", "gets", "strcpy", "strcat", "sprintf", "vsprintf", "rand", "srand", "alloca"]

# What ends the process, and where that may stand.
ENDS = {"_exit": ["src/comm/comm.c", "launch/launch.c"]}

complaints = []


def complain(path, line, text):
    complaints.append("%s:%d: %s" % (path, line, text))


def bare(text):
    """Code without comments and without what is in quotes; lines stay where they are."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def room_of(path):
    parts = path.split("/")
    return parts[1] if parts[0] == "src" else parts[0]


def check_includes(path, text):
    room = room_of(path)
    without_comments = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)
    for number, line in enumerate(without_comments.splitlines(), 1):
        m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not m:
            continue
        quoted, name = m.group(1) == '"', m.group(2)
        for header, where in FOREIGN:
            # Our own headers are named by room: base/yaml.h is not yaml.h.
            if (not quoted or name.startswith("data/")) and re.fullmatch(r"(.*/)?(%s)" % header if not quoted else header, name) and not re.match(where, path):
                complain(path, number, "%s may not be included here" % name)
        if not quoted or name == "lockstep.h" or (name == "standin/simt.h" and path == "src/kern/cuda/simt.cuh"):
            continue
        other = name.split("/")[0]
        if "/" not in name:
            complain(path, number, '"%s": name the room, as in "%s/%s"' % (name, room, name))
        elif other not in ROOMS:
            complain(path, number, '"%s" is in no room' % name)
        elif other != room and other not in ROOMS[room]:
            complain(path, number, '%s may not include "%s"' % (room, name))
        elif other != room and name.endswith("_int.h"):
            complain(path, number, '"%s" is for the inside of %s' % (name, other))


def check_banned(path, text):
    code = bare(text)
    for number, line in enumerate(code.splitlines(), 1):
        for m in re.finditer(r"(?<![\w.>])(%s)\s*\(" % "|".join(BANNED + list(ENDS)), line):
            name = m.group(1)
            if path not in ENDS.get(name, []):
                complain(path, number, "%s is not used in src and launch" % name)


def check_cuda(path, text):
    """What the stand-in of tests/standin, and the promise of the same bits, ask of code for the device."""
    code = bare(text)
    for number, line in enumerate(code.splitlines(), 1):
        if re.search(r"\b(thread_local|_Thread_local|__thread)\b", line) and path not in ["tests/standin/simt.h", "tests/standin/fiber.cpp"]:
            complain(path, number, "variables of threads are for __shared__ alone: tests/standin/standin.h")
        if "<<<" in line and path != "src/kern/cuda/simt.cuh":
            complain(path, number, "kernels are launched through launch() and each()")
        if re.search(r"\basm\b", line) and path.startswith("src/"):
            complain(path, number, "the stand-in cannot run PTX")


def has_cuda(includes):
    """CUDA's headers are there."""
    return subprocess.run(["gcc", "-fsyntax-only", "-x", "c", "-"] + includes, input="#include <cublasLt.h>\n", text=True, capture_output=True).returncode == 0


def check_structs(root):
    """Kernels take functions as structs: two of one name in two files would be one to the linker, whatever they do."""
    first = {}
    for path in sorted(glob.glob("%s/src/**/*.cu" % root, recursive=True) + glob.glob("%s/src/**/*.cuh" % root, recursive=True)):
        with open(path) as f:
            text = bare(f.read())
        path = os.path.relpath(path, root)
        for number, line in enumerate(text.splitlines(), 1):
            m = re.match(r"(?:template\s*<[^{]*>\s*)?struct\s+(?:alignas\(.*\)\s*)?(\w+)[^;<()]*$", line)
            if m and first.setdefault(m.group(1), path) != path:
                complain(path, number, "struct %s is also in %s: name it after what it does here" % (m.group(1), first[m.group(1)]))


def compile_alone(root, path, includes):
    command = ["gcc", "-std=gnu17", "-D_GNU_SOURCE", '-DLK_VERSION="0"', "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-"]
    run = subprocess.run(command + includes, input='#include "%s"\n#include "%s"\n' % (path, path), cwd=root, text=True, capture_output=True)
    if run.returncode != 0:
        complain(path, 1, "does not compile alone:\n" + run.stderr)


def compile_as_cxx(root, path, includes):
    if subprocess.run(["sh", "-c", "command -v g++"], capture_output=True).returncode != 0:
        return
    command = ["g++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c++", "-"]
    run = subprocess.run(command + includes, input='#include "%s"\nint main() { return lockstep_main(0, 0); }\n' % path, cwd=root, text=True, capture_output=True)
    if run.returncode != 0:
        complain(path, 1, "does not compile as C++:\n" + run.stderr)


def include_flags():
    flags = ["-Isrc", "-I.", "-Iinclude", "-idirafter", "/usr/local/cuda/include"]
    for package in ["hdf5-serial", "hdf5", "ompi-c", "openblas", "yaml-0.1", "jansson", "libxxhash"]:
        run = subprocess.run(["pkg-config", "--cflags-only-I", package], text=True, capture_output=True)
        if run.returncode == 0:
            flags += run.stdout.split()
    return flags


def check_exports(library):
    """A library that others link with takes no names but its own."""
    run = subprocess.run(["nm", "-D", "--defined-only", library], text=True, capture_output=True, check=True)
    for line in run.stdout.splitlines():
        name = line.split()[-1]
        if not re.match(r"(lk|lockstep)", name) and not re.match(r"(_init|_fini|_edata|_end|__bss_start|__asan|__ubsan|__odr)", name):
            complain(library, 0, "exports %s" % name)


def main():
    root = sys.argv[1]
    files = sorted(os.path.relpath(p, root) for top in ["src", "launch", "include"] for ending in ["c", "h", "cu", "cuh"] for p in glob.glob("%s/%s/**/*.%s" % (root, top, ending), recursive=True))
    for path in files:
        with open(os.path.join(root, path)) as f:
            text = f.read()
        if path.startswith("include/"):
            continue
        check_includes(path, text)
        check_banned(path, text)
        if path.startswith(("src/kern/cuda/", "src/cuda/module/", "src/comm/comm_nccl")):
            check_cuda(path, text)
    for path in sorted(os.path.relpath(p, root) for p in glob.glob(root + "/tests/standin/*.[ch]*")):
        with open(os.path.join(root, path)) as f:
            check_cuda(path, f.read())
    check_structs(root)
    includes = include_flags()
    headers = [p for p in files if p.endswith(".h") and not p.endswith("_body.h")]  # a body is a template, included for what it does
    cuda = has_cuda(includes)
    for path in headers:
        if cuda or path != "src/kern/cuda/cuda_int.h":
            compile_alone(root, path, includes)
    compile_as_cxx(root, "include/lockstep.h", includes)
    for library in sys.argv[2:]:
        check_exports(library)
    for c in complaints:
        print(c)
    print("%d files, %d headers, %d complaints" % (len(files), len(headers), len(complaints)))
    return 1 if complaints or len(files) < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
