"""Whole-program tests: runs the program in a temporary folder of the test's own, with a deadline, and looks at what it leaves behind.

LOCKSTEP_BIN names the program, LOCKSTEP_MAKE_H5 the helper that makes HDF5 files (make_h5.c)."""

import ctypes
import glob
import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
import unittest

BIN = os.environ.get("LOCKSTEP_BIN", "")
MAKE_H5 = os.environ.get("LOCKSTEP_MAKE_H5", "")
SANITIZED = os.environ.get("LOCKSTEP_SANITIZED", "") != ""
SLOWER = 10 if SANITIZED else 1  # what deadlines are stretched by

OK, FAILED, INPUT, STOPPED = 0, 1, 2, 75

CONFIG = """\
run: {name: small, seed: 1}
data:
  train: train.h5
  input: x
  target: y
model:
  - linear: {units: 16}
  - relu
  - linear: {units: 3}
train:
  batch: 16
  microbatches: 4
  epochs: 2
  lr: 0.01
"""


class Result:
    """How a command ended."""

    def __init__(self, args, code, out, err, seconds):
        self.args, self.code, self.out, self.err, self.seconds = args, code, out, err, seconds

    def events(self, kind=None):
        """The JSON lines of standard output."""
        found = [json.loads(line) for line in self.out.splitlines()]
        return found if kind is None else [e for e in found if e.get("event") == kind]

    def __str__(self):
        return "%s\nexit code %s after %.1f s\n--- stdout\n%s\n--- stderr\n%s" % (" ".join(self.args), self.code, self.seconds, self.out, self.err)


LIBC = ctypes.CDLL(None)


def die_with_the_test():
    """In the child: it is killed when this process is, so that no job outlives a test that ran into its deadline."""
    LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)


class Stalls(threading.Thread):
    """Counts the seconds in which this process was not let run."""

    BEAT = 0.05

    def __init__(self):
        super().__init__(daemon=True)
        self.total, self.last = 0.0, time.monotonic()

    def run(self):
        while True:
            time.sleep(self.BEAT)
            now = time.monotonic()
            self.total, self.last = self.total + self.late(now), now

    def late(self, now):
        late = now - self.last - self.BEAT
        return late if late > 0.2 else 0.0


STALLS = Stalls()
STALLS.start()


def clock():
    """Seconds, without stalls: a crowded machine says nothing about how long the program takes."""
    now = time.monotonic()
    return now - STALLS.total - STALLS.late(now)


class Running:
    """A command in a session of its own."""

    def __init__(self, case, args, env, timeout):
        self.args, self.timeout, self.start = list(args), timeout * SLOWER, clock()
        self.process = subprocess.Popen([BIN] + self.args, cwd=case.dir, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=die_with_the_test)
        case.addCleanup(self.kill)

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        try:
            while True:
                try:
                    out, err = self.process.communicate(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    if clock() - self.start > self.timeout:
                        raise
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            out, err = self.process.communicate()
            raise AssertionError("no end after %g s: %s" % (self.timeout, Result(self.args, None, out, err, self.timeout)))
        return Result(self.args, self.process.returncode, out, err, clock() - self.start)


class Case(unittest.TestCase):
    """A test with a folder of its own, where commands run and which TMPDIR names."""

    maxDiff = None

    def setUp(self):
        self.assertTrue(os.access(BIN, os.X_OK), "LOCKSTEP_BIN does not name the program")
        # Short, since MPI puts sockets below it, whose paths are.
        self.dir = tempfile.mkdtemp(prefix="lk-", dir="/tmp")
        self.addCleanup(self.clean_up)

    def clean_up(self):
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)

    # What commands see.

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def write(self, name, content):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb" if isinstance(content, bytes) else "w") as f:
            f.write(content)
        return path

    def make_h5(self, name, *fields):
        """make_h5("a.h5", "x=float32[64,4]:rand", "y=int64[64]:mod3")"""
        subprocess.run([MAKE_H5, self.path(name)] + list(fields), check=True)
        return self.path(name)

    def make_small(self, samples=64, config=CONFIG):
        """run.yaml and train.h5: a run of a second."""
        self.make_h5("train.h5", "x=float32[%d,4]:rand" % samples, "y=int64[%d]:mod3" % samples)
        return self.write("run.yaml", config)

    def environment(self, env=None, ranks=False):
        e = {k: v for k, v in os.environ.items() if not k.startswith("LOCKSTEP_")}
        e.update(TMPDIR=self.dir, OMP_NUM_THREADS="1")
        if "LOCKSTEP_TEST_MODULE" in os.environ:  # the whole test on a GPU, or on the stand-in of one
            e["LOCKSTEP_CUDA_MODULE"] = os.environ["LOCKSTEP_TEST_MODULE"]
        if ranks:  # MPI ends with memory held by modules that it has unloaded, which no suppression can name
            e["ASAN_OPTIONS"] = "detect_leaks=0"
        e.update(env or {})
        return e

    # Commands.

    def start(self, *args, env=None, timeout=60):
        return Running(self, args, self.environment(env, ranks=args[:1] == ("launch",)), timeout)

    def run_it(self, *args, env=None, timeout=60):
        return self.start(*args, env=env, timeout=timeout).wait()

    def launch(self, ranks, *args, **how):
        return self.run_it("launch", "-n", str(ranks), *args, **how)

    # What they leave behind.

    def processes(self):
        """Ids of living processes that a command of this test has started: all know this test's folder as TMPDIR."""
        mark, found = b"TMPDIR=" + self.dir.encode() + b"\0", []
        for entry in glob.glob("/proc/[0-9]*"):
            try:
                with open(entry + "/environ", "rb") as f:
                    if mark in f.read() + b"\0":
                        found.append(int(os.path.basename(entry)))
            except OSError:
                pass
        return found

    def records(self, folder=None):
        """The flight records of the running job, by rank."""
        found = {}
        for path in glob.glob(self.path(folder or "lockstep-*", "rank-*.rec")):
            record = read_record(path)
            if record is not None:
                found[record["rank"]] = record
        return found

    def wait_until(self, what, condition, seconds=30):
        end = clock() + seconds * SLOWER
        while clock() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.005)
        raise AssertionError("not within %g s: %s" % (seconds * SLOWER, what))

    def files(self, folder):
        return [os.path.join(at, name) for at, _, names in os.walk(self.path(folder)) for name in names]

    def check_nothing_left(self, folder=None):
        """No process, no launcher's folder, no half-written file."""
        self.wait_until("all processes gone", lambda: not self.processes(), 5)
        self.assertEqual(glob.glob(self.path("lockstep-*")), [])
        if folder is not None:
            self.assertEqual([f for f in self.files(folder) if ".tmp" in os.path.basename(f)], [])

    def check_code(self, result, code):
        self.assertEqual(result.code, code, str(result))

    def check_one_line(self, result, *parts):
        """Exactly one line on standard error, which has all of the parts."""
        lines = [line for line in result.err.splitlines() if line.strip()]
        self.assertEqual(len(lines), 1, str(result))
        self.assertTrue(lines[0].startswith("lockstep"), str(result))
        for part in parts:
            self.assertIn(part, lines[0], str(result))
        return lines[0]


RECORD = struct.Struct("=QQiiq256siiqqQ1024s")
STATES = ["running", "done", "failed", "stopped"]
PHASES = ["start", "open", "data", "compute", "reduce", "update", "eval", "checkpoint", "end"]


def read_record(path):
    """As in src/base/record.h; None while it is being made."""
    try:
        with open(path, "rb") as f:
            data = f.read()
    except OSError:
        return None
    if len(data) < RECORD.size or data[:8] != b"LKPRECRD":
        return None
    names = ["magic", "version", "rank", "nranks", "pid", "host", "state", "phase", "epoch", "step", "ticks", "message"]
    r = dict(zip(names, RECORD.unpack(data[:RECORD.size])))
    r["host"] = r["host"].split(b"\0")[0].decode()
    r["message"] = r["message"].split(b"\0")[0].decode()
    r["state"], r["phase"] = STATES[r["state"]], PHASES[r["phase"]]
    return r
