"""scripts/gpu-check without a GPU: each command that it would run there names tests, options and configs that exist; the parts fit its time; its report says what
failed. nvidia-smi and compute-sanitizer are made up."""

import fnmatch
import os
import re
import shlex
import subprocess
import sys
import unittest

import lockstep

SOURCE = os.environ["LOCKSTEP_SOURCE"]
BUILD = os.environ["LOCKSTEP_BUILD"]
KERNEL_TEST = os.environ["LOCKSTEP_KERNEL_TEST"]
SECONDS = 540  # nine minutes

SMI = """#!/bin/sh
test "$*" = "--query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader" || exit 6
for i in $(seq ${GPUS:-1}); do echo "NVIDIA H200, 580.82.07, 143771 MiB, 9.0"; done
"""


def output(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout


def content(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def options_of(words):
    """--x VALUE pairs of a command line, in order."""
    return [(a, b) for a, b in zip(words, words[1:]) if a.startswith("--")]


class Check(lockstep.Case):
    def setUp(self):
        super().setUp()
        self.tool("nvidia-smi", SMI)
        self.tool("compute-sanitizer", "#!/bin/sh\n")

    def tool(self, name, text):
        os.chmod(self.write("bin/" + name, text), 0o755)

    def gpu_check(self, *words, **env):
        e = dict(os.environ, PATH=self.path("bin") + ":" + os.environ["PATH"], **env)
        e.pop("BUILD", None) if "BUILD" not in env else None
        done = subprocess.run([os.path.join(SOURCE, "scripts", "gpu-check"), *words], cwd=self.dir, env=e, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60)
        return lockstep.Result(["gpu-check", *words], done.returncode, done.stdout, done.stderr, 0)

    def parts(self, **env):
        listed = self.gpu_check("--list", **env)
        self.check_code(listed, lockstep.OK)
        rows = [line.split("\t") for line in listed.out.splitlines()]
        return [(name, int(seconds), shlex.split(words)) for name, seconds, words in rows]


class Commands(Check):
    def refused_for_lack_of_a_gpu(self, words):
        """The command with this build's program, where no CUDA module is: all else about it is right."""
        result = self.run_it(*words, env={"LOCKSTEP_CUDA_MODULE": self.path("none.so")})
        self.check_code(result, lockstep.INPUT if "run.device=cuda" in words else lockstep.FAILED)
        self.assertIn(self.path("none.so"), result.err, str(result))

    def check_lockstep(self, words):
        words = [os.path.join(SOURCE, w) if w.startswith("configs/") else w for w in words]
        if words == ["doctor"]:
            self.check_code(self.run_it(*words), lockstep.OK)
        else:
            self.refused_for_lack_of_a_gpu(words)

    def check_build(self, script):
        stated = "".join(content(os.path.join(SOURCE, f)) for f in ["CMakeLists.txt", "cmake/cuda.cmake", "tests/standin/tests.cmake"])
        for option in re.findall(r"-D(LK_\w+)=", script):
            self.assertRegex(stated, r"(option\(|set\()%s\b" % option)
        targets = re.search(r"--target (.*)", script).group(1).split()
        known = output("cmake", "--build", BUILD, "--target", "help")
        for target in targets:
            if target != "lockstep_cuda":  # that only where nvcc is
                self.assertIn(target, known)
        self.assertIn("lockstep_cuda", targets)
        self.assertRegex(stated, r"add_library\(lockstep_cuda MODULE")

    def check_kernel_test(self, words):
        """The filter finds each of the tests that it names, and nothing twice."""
        suite, names = re.fullmatch(r"(\w+)/@\((.*)\)", dict(options_of(words))["--filter"]).groups()
        listed = re.split(r"^(\w+): \d+ tests?$", output(KERNEL_TEST, "--list"), flags=re.M)
        there = re.findall(r"\w+", listed[listed.index(suite) + 1])
        for name in names.split("|"):
            self.assertEqual(len(fnmatch.filter(there, name)), 1, name)

    def check_tests(self, words):
        pattern = dict(zip(words, words[1:]))["-R"]
        found = output("ctest", "--test-dir", BUILD, "-N", "-R", pattern)
        for name in ["cuda.cuda_vs_ref", "cuda.cuda_vs_ref.without_cudnn.fp32", "run.gpu.digest", "run.gpu.losses"]:
            self.assertIn(": %s\n" % name, found)

    def check_peer(self, words):
        """Arguments are read before an interpreter is asked for PyTorch."""
        done = subprocess.run([sys.executable, *words, "--python", "false"], cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn("false cannot import torch", done.stderr)
        config, lockstep_at = (dict(options_of(words))[k] for k in ["--config", "--lockstep"])
        self.assertTrue(os.path.exists(os.path.join(SOURCE, config)), config)
        self.assertEqual(lockstep_at, "build/gpu/lockstep")

    def check_part(self, name, words):
        with self.subTest(name):
            if words[0] == "build/gpu/lockstep":
                self.check_lockstep(words[1:])
            elif words[0] == "ctest":
                self.assertEqual(words[1:3], ["--test-dir", "build/gpu"])
                self.check_tests(words)
            elif words[0] == "compute-sanitizer":
                self.assertIn(words[2], ["memcheck", "racecheck"])
                self.assertEqual(words[7], "build/gpu/tests/" + os.path.basename(KERNEL_TEST))
                self.check_kernel_test(words[8:])
            elif words[0] == "bash" and "cmake" in words[-1]:
                self.check_build(words[-1])
            elif words[0] == "bash":
                program, rest = shlex.split(words[-1].split("|")[0]), words[-1].split("|", 1)[1]
                self.assertEqual(program[0], "build/gpu/lockstep")
                self.check_lockstep(program[1:])
                shown = subprocess.run(["bash", "-c", "printf 'first\\na b c 2.5 1%%\\na b c 10.1 2%%\\n' |" + rest], stdout=subprocess.PIPE, text=True, check=True)
                self.assertEqual([line.split()[-1] for line in shown.stdout.splitlines()], ["first", "2%", "1%"])
            else:
                self.assertEqual(words[:2], ["true", "bench/peer.py"])
                self.check_peer(words[1:])

    def test_each_is_right(self):
        with_torch, without = self.parts(PYTHON="true"), self.parts(PYTHON="false")
        self.assertGreater(len(with_torch), 12)
        seen = []
        for name, _, words in with_torch + without:
            if words not in seen:
                seen.append(words)
                self.check_part(name, words)

    def test_fit_the_time(self):
        for python in ["true", "false"]:
            self.assertLess(sum(seconds for _, seconds, _ in self.parts(PYTHON=python)), SECONDS)

    def test_ranks_follow_the_gpus(self):
        for gpus, ranks, over in [("1", 2, "through MPI"), ("2", 2, "over NCCL"), ("3", 2, "over NCCL"), ("8", 8, "over NCCL"), ("16", 8, "over NCCL")]:
            names = [name for name, _, words in self.parts(PYTHON="false", GPUS=gpus) if "launch" in words]
            self.assertEqual(len(names), 2)
            for name in names:
                self.assertIn("gpt2-124m on %d ranks" % ranks, name)
                self.assertIn(over, name)


class Report(Check):
    """With made-up programs in the place of all that it runs."""

    def test_says_what_failed(self):
        self.tool("built/lockstep", "#!/bin/sh\necho \"$1 $2: 7 GFLOP/s\"\n[ \"$1 $2\" != 'bench products' ]\n")
        os.rename(self.path("bin/built"), self.path("built"))
        self.tool("ctest", "#!/bin/sh\nsleep 30\n")
        done = self.gpu_check("out.txt", BUILD=self.path("built"), PYTHON="false", SECONDS_LEFT="4")
        self.check_code(done, 1)
        report = content(self.path("out.txt"))
        self.assertEqual(done.out, report + "Report: %s\n" % self.path("out.txt"))
        self.assertIn("GPU       NVIDIA H200, 580.82.07, 143771 MiB, 9.0\n", report)
        self.assertRegex(report, r"passed    doctor \(\d s\)\n          doctor : 7 GFLOP/s\n")
        self.assertRegex(report, r"FAILED    every kernel against the reference.* \(exit code 124 after \d+ s; ")
        self.assertIn("NOT RUN   how fast this GPU multiplies, bf16: no time left\n", report)
        self.assertRegex(report, r"\n\d+ did not pass, in \d+ s:\n          every kernel")

    def test_keeps_what_a_part_that_failed_has_printed(self):
        self.tool("built/lockstep", "#!/bin/sh\necho \"$*\"\necho forward l o 1.0 50%\n[ \"$1 $2\" != 'bench products' ]\n")
        os.rename(self.path("bin/built"), self.path("built"))
        self.tool("ctest", "#!/bin/sh\n")
        done = self.gpu_check("out.txt", BUILD=self.path("built"), PYTHON="false")
        self.check_code(done, 1)
        self.assertRegex(done.out, r"\n2 did not pass, in \d+ s:\n          how fast this GPU multiplies, bf16\n          how fast this GPU multiplies, tf32\n")
        self.assertEqual(content(self.path("out.txt.2.log")), "bench products --precision tf32\nforward l o 1.0 50%\n")

    def test_without_a_gpu(self):
        self.tool("nvidia-smi", "#!/bin/sh\nexit 9\n")
        done = self.gpu_check()
        self.check_code(done, lockstep.INPUT)
        self.assertEqual(done.err, "gpu-check: nvidia-smi finds no GPU here\n")


if __name__ == "__main__":
    unittest.main()
