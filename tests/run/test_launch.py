"""The launcher: exit codes, signals, and what happens when a rank dies."""

import os
import signal
import socket
import time
import unittest

import lockstep

HOST = socket.gethostname()
LONG = ["--set", "train.steps=1000000000", "--set", "checkpoint.every=never", "--set", "train.log_every=1 step"]


class ExitCodes(lockstep.Case):
    def test_done(self):
        self.make_small()
        alone = self.run_it("train", "run.yaml", "--json", "--run-dir", "alone")
        ranks = self.launch(3, "train", "run.yaml", "--json", "--run-dir", "ranks")
        self.check_code(ranks, lockstep.OK)
        self.assertEqual(ranks.err, "")
        self.assertEqual(ranks.events("end")[0]["digest"], alone.events("end")[0]["digest"])
        self.check_nothing_left("ranks")
        self.check_code(self.launch(2, "eval", "run.yaml", "--run-dir", "ranks", "--set", "data.valid=train.h5"), lockstep.OK)
        self.check_code(self.launch(2, "plan", "run.yaml"), lockstep.OK)
        self.check_code(self.launch(2, "bench", "step", "run.yaml", "--steps", "3"), lockstep.OK)
        reduce = self.launch(2, "bench", "reduce", "--bytes", "4096", "--iterations", "3", "--json")
        self.check_code(reduce, lockstep.OK)
        self.assertEqual(reduce.events()[0]["nranks"], 2)

    def test_wrong_input(self):
        self.make_small()
        result = self.launch(3, "train", "run.yaml", "--set", "train.epoch=1")
        self.check_code(result, lockstep.INPUT)
        self.check_one_line(result, "epoch", 'did you mean "epochs"?')
        self.check_nothing_left()

    def test_failed(self):
        """What all ranks agree on is told once, by one of them."""
        self.make_small()
        self.make_h5("train.h5", "x=float32[64,4]:rand", "y=float32[64,3]:rand")
        result = self.launch(3, "train", "run.yaml", "--quiet", "--set", "train.lr=1e6", "--set", "train.optimizer=sgd", "--set", "train.objective=regress",
                             "--set", "train.epochs=100000")
        self.check_code(result, lockstep.FAILED)
        self.check_one_line(result, "diverged")
        self.check_nothing_left("runs")

    def test_no_mpirun(self):
        self.make_small()
        result = self.launch(2, "train", "run.yaml", env={"PATH": self.dir})
        self.check_code(result, lockstep.INPUT)
        self.check_one_line(result, "mpirun was not found", "openmpi-bin")

    def test_mpirun_that_cannot(self):
        """Its own words are shown when no rank has any."""
        self.write("no-mpirun", "#!/bin/sh\necho -------------------------------------------------------------------------- >&2\necho no such thing >&2\n"
                   "echo -------------------------------------------------------------------------- >&2\nexit 213\n")
        os.chmod(self.path("no-mpirun"), 0o755)
        result = self.launch(2, "train", "run.yaml", env={"LOCKSTEP_MPIRUN": self.path("no-mpirun")})
        self.check_code(result, lockstep.FAILED)
        self.assertIn("mpirun could not run the ranks", result.err)
        self.assertIn("no such thing", result.err)
        silent = self.launch(2, "train", "run.yaml", env={"LOCKSTEP_MPIRUN": "/bin/false"})
        self.check_code(silent, lockstep.FAILED)
        self.check_one_line(silent, "said nothing")


class Training(lockstep.Case):
    """A training that goes on until something happens to it."""

    def start_long(self, ranks, *more, env=None):
        self.make_small()
        run = self.start("launch", "-n", str(ranks), "train", "run.yaml", "--quiet", "--run-dir", "run", *LONG, *more, env=env, timeout=90)
        self.wait_until("all ranks train", lambda: self.steps(ranks) >= 5 or run.process.poll() is not None)
        self.assertIsNone(run.process.poll(), "the job ended by itself")
        return run

    def in_step(self, run, rank):
        """The record of a rank that computes or reduces just now."""
        self.assertIsNone(run.process.poll(), "the job ended by itself")
        record = self.records().get(rank)
        return record if record and record["phase"] in ("compute", "reduce") else None

    def steps(self, ranks):
        records = self.records()
        return min((r["step"] for r in records.values()), default=0) if len(records) == ranks else 0


class Signals(Training):
    def check_stop(self, number):
        run = self.start_long(3)
        run.signal(number)
        result = run.wait()
        self.check_code(result, lockstep.STOPPED)
        self.assertEqual(result.err, "")
        self.check_nothing_left("run")
        stopped = self.run_it("digest", "run", "--json").events()[0]
        self.assertGreaterEqual(stopped["step"], 5)
        # It goes on from there, on another number of ranks.
        end = str(stopped["step"] + 3)
        again = self.launch(2, "train", "run.yaml", "--json", "--run-dir", "run", "--set", "train.steps=" + end, "--set", "train.log_every=1 step")
        self.check_code(again, lockstep.OK)
        self.assertEqual([e["step"] for e in again.events("step")], [stopped["step"] + i for i in (1, 2, 3)])

    def test_sigterm_stops(self):
        self.check_stop(signal.SIGTERM)

    def test_sigusr1_stops(self):
        self.check_stop(signal.SIGUSR1)

    def test_hangup_stops(self):
        self.check_stop(signal.SIGHUP)

    def check_stop_early(self, delay):
        """A wish that comes before the ranks can take it is kept."""
        self.make_small()
        run = self.start("launch", "-n", "2", "train", "run.yaml", "--quiet", "--run-dir", "run", *LONG)
        time.sleep(delay)
        run.signal(signal.SIGTERM)
        result = run.wait()
        self.check_code(result, lockstep.STOPPED)
        self.check_nothing_left("run")

    def test_sigterm_stops_early(self):
        for delay in (0.05, 0.15, 0.25):
            with self.subTest(delay):
                self.check_stop_early(delay)

    def test_sigint_ends(self):
        run = self.start_long(3)
        start = lockstep.clock()
        run.signal(signal.SIGINT)
        result = run.wait()
        self.assertLess(lockstep.clock() - start, 10)
        self.check_code(result, lockstep.FAILED)
        self.check_one_line(result, "ended by SIGINT")
        self.check_nothing_left("run")

    def test_second_sigterm_ends(self):
        run = self.start_long(3)
        # A frozen rank hears no wish.
        frozen = self.records()[1]["pid"]
        os.kill(frozen, signal.SIGSTOP)
        run.signal(signal.SIGTERM)
        time.sleep(0.5)
        self.assertIsNone(run.process.poll())
        start = lockstep.clock()
        run.signal(signal.SIGTERM)
        result = run.wait()
        self.assertLess(lockstep.clock() - start, 10)
        self.check_code(result, lockstep.FAILED)
        self.check_one_line(result, "ended by SIGTERM")
        self.check_nothing_left("run")

    def test_a_killed_launcher_leaves_no_rank(self):
        run = self.start_long(3)
        run.process.kill()
        run.process.wait()
        self.wait_until("all ranks gone", lambda: not self.processes(), 15)

    def test_alone(self):
        """Without launcher and MPI, too."""
        self.make_small()
        for number in (signal.SIGTERM, signal.SIGUSR1):
            run = self.start("train", "run.yaml", "--quiet", "--run-dir", "run", *LONG)
            self.wait_until("it trains", lambda: any(r["step"] >= 5 and r["state"] == "running" for r in self.records("run/attempts/*").values()))
            run.signal(number)
            self.check_code(run.wait(), lockstep.STOPPED)
            for path in self.files("run/attempts"):
                os.unlink(path)


class Deaths(Training):
    def check_death(self, number, cause):
        run = self.start_long(4)
        victim = self.wait_until("rank 2 in the middle of a step", lambda: self.in_step(run, 2))
        others = [r["pid"] for r in self.records().values()]
        os.kill(victim["pid"], number)
        start = lockstep.clock()
        result = run.wait()
        seconds = lockstep.clock() - start
        self.assertLess(seconds, 10)
        self.check_code(result, lockstep.FAILED)
        line = self.check_one_line(result, "rank 2 on %s died in phase " % HOST, cause)
        self.assertRegex(line, r"^lockstep: rank 2 on \S+ died in phase (data|compute|reduce|update) at step \d+ \(%s\)$" % cause)
        self.assertEqual([pid for pid in others if pid in self.processes()], [], "ranks are still there")
        self.check_nothing_left("run")

    def test_sigkill(self):
        self.check_death(signal.SIGKILL, "killed by signal 9")

    def test_sigbus(self):
        # One for which MPI installs no handler that speaks of its own.
        self.check_death(signal.SIGSYS, "killed by signal 31")

    def test_a_death_that_mpirun_does_not_see(self):
        """mpirun itself is frozen: the launcher ends the ranks on its own."""
        run = self.start_long(3)
        records = self.records()
        with open("/proc/%d/stat" % records[0]["pid"]) as f:
            mpirun = int(f.read().rsplit(")", 1)[1].split()[1])
        os.kill(mpirun, signal.SIGSTOP)
        os.kill(records[1]["pid"], signal.SIGKILL)
        start = lockstep.clock()
        result = run.wait()
        self.assertLess(lockstep.clock() - start, 10)
        self.check_code(result, lockstep.FAILED)
        self.check_one_line(result, "rank 1 on %s died in phase" % HOST)
        self.check_nothing_left("run")

    def test_a_failed_call(self):
        self.make_small()
        result = self.launch(4, "train", "run.yaml", "--quiet", "--run-dir", "run", *LONG, env={"LOCKSTEP_FAULT": "2:60"})
        self.check_code(result, lockstep.FAILED)
        line = self.check_one_line(result, "rank 2 on %s failed in phase " % HOST, "injected fault at call 60")
        self.assertRegex(line, r"failed in phase \w+ at step \d+: injected fault")
        self.assertLess(result.seconds, 15 * lockstep.SLOWER)
        self.check_nothing_left("run")

    def test_a_failed_call_anywhere(self):
        """Also while the run is being opened: one line, no hang."""
        self.make_small()
        for call in (1, 2, 5, 9, 14, 20):
            with self.subTest(call):
                result = self.launch(2, "train", "run.yaml", "--quiet", "--run-dir", "run%d" % call, *LONG, env={"LOCKSTEP_FAULT": "1:%d" % call})
                self.check_code(result, lockstep.FAILED)
                self.check_one_line(result, "injected fault at call %d" % call)
                self.check_nothing_left("run%d" % call)

    def test_a_failed_call_without_launcher(self):
        """The rank itself speaks then."""
        self.make_small()
        run = lockstep.subprocess.run(["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--quiet", "-n", "2", lockstep.BIN, "train", "run.yaml", "--quiet",
                                       *LONG], cwd=self.dir, env=self.environment({"LOCKSTEP_FAULT": "1:60"}, ranks=True), stdin=lockstep.subprocess.DEVNULL, capture_output=True, text=True,
                                      timeout=60 * lockstep.SLOWER)
        self.assertEqual(run.returncode, lockstep.FAILED, run.stderr)
        lines = run.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, run.stderr)
        self.assertIn("[rank 1]: injected fault at call 60", lines[0])


if __name__ == "__main__":
    unittest.main()
