"""Killed, resized, resumed, damaged: the run ends on the digest of the run that was never stopped."""
import json
import os
import signal
import subprocess
import time
import unittest

import lockstep

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CONFIG = os.path.join(SOURCE, "configs", "digits-cnn.yaml")
SET = ["--set", "train.steps=60", "--set", "train.log_every=1 steps", "--set", "checkpoint.every=10 steps", "--set", "train.lr.warmup=5",
       "--set", "data.normalize=all", "--set", "data.augment=[crop: 1]"]


def events(run_dir, kind):
    with open(os.path.join(run_dir, "log.jsonl")) as f:
        lines = [json.loads(line) for line in f if line.endswith("\n")]
    return [e for e in lines if e["event"] == kind]


class Resume(lockstep.Case):
    def train(self, run_dir, ranks=1, *options):
        args = ["train", CONFIG, "--run-dir", run_dir, *SET, *options]
        return self.run_it(*(["launch", "-n", str(ranks)] if ranks > 1 else []), *args, timeout=120)

    def whole(self):
        """Log and digest of the run that nothing happened to."""
        run_dir = os.path.join(self.dir, "whole")
        done = self.train(run_dir)
        self.check_code(done, 0)
        return run_dir, events(run_dir, "end")[-1]["digest"]

    def killed(self, name, ranks, at):
        """A run whose ranks were all killed once its log had come to step `at`."""
        run_dir = os.path.join(self.dir, name)
        args = ["launch", "-n", str(ranks), "train", CONFIG, "--run-dir", run_dir, *SET]
        p = self.start(*args)
        log = os.path.join(run_dir, "log.jsonl")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and p.process.poll() is None:
            try:
                if len(events(run_dir, "step")) >= at:
                    break
            except (OSError, ValueError):
                pass
            time.sleep(0.002)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        p.process.wait()
        self.assertTrue(os.path.exists(log))
        steps = events(run_dir, "step")[-1]["step"]
        self.assertGreaterEqual(steps, at)
        self.assertLess(steps, 60, "the run had ended before it was killed")
        return run_dir

    def check_end(self, run_dir, whole):
        want_dir, want = whole
        self.assertEqual(events(run_dir, "end")[-1]["digest"], want)
        a = [(e["step"], e["loss"]) for e in events(want_dir, "step")]
        b = [(e["step"], e["loss"]) for e in events(run_dir, "step")]
        self.assertEqual(a, b, "the log does not hold each step once, with the loss of the run that was never stopped")

    def test_killed_at_four_resumed_at_three(self):
        whole = self.whole()
        run_dir = self.killed("killed", 4, 13)
        done = self.train(run_dir, 3)
        self.check_code(done, 0)
        self.assertIn("resuming at step", done.err)
        self.check_end(run_dir, whole)

    def test_damaged_newest_checkpoint_is_skipped(self):
        whole = self.whole()
        for name, damage in (("truncated", self.truncate), ("flipped", self.flip_bit)):
            with self.subTest(name):
                run_dir = self.killed(name, 2, 25)
                newest = sorted(os.listdir(os.path.join(run_dir, "checkpoints")))
                newest = [d for d in newest if d.startswith("step-") and "tmp" not in d][-1]
                damage(os.path.join(run_dir, "checkpoints", newest, "state.h5"))
                done = self.train(run_dir, 3)
                self.check_code(done, 0)
                self.assertRegex(done.err, f"{newest}.* is damaged")
                self.check_end(run_dir, whole)

    @staticmethod
    def truncate(path):
        os.truncate(path, os.path.getsize(path) * 2 // 3)

    @staticmethod
    def flip_bit(path):
        with open(path, "r+b") as f:
            f.seek(os.path.getsize(path) // 2)
            byte = f.read(1)[0]
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte ^ 4]))

    def test_stopped_on_request_and_resumed(self):
        whole = self.whole()
        for sig in (signal.SIGTERM, signal.SIGUSR1):
            with self.subTest(sig.name):
                run_dir = os.path.join(self.dir, sig.name)
                p = self.start("launch", "-n", "2", "train", CONFIG, "--run-dir", run_dir, *SET)
                deadline = time.monotonic() + 60
                while time.monotonic() < deadline and p.process.poll() is None:
                    try:
                        if len(events(run_dir, "step")) >= 7:
                            break
                    except (OSError, ValueError):
                        pass
                    time.sleep(0.002)
                p.signal(sig)
                self.check_code(p.wait(), 75)
                self.assertLess(events(run_dir, "step")[-1]["step"], 60)
                done = self.train(run_dir, 5)
                self.check_code(done, 0)
                self.check_end(run_dir, whole)

    WATCH = ["--set", "train.steps=60", "--set", "train.log_every=1 steps", "--set", "train.eval_every=4 steps", "--set", "train.ema=0.9",
             "--set", "train.lr={peak: 0.003, decay: plateau, patience: 2, threshold: 0.2, factor: 0.5}",
             "--set", "train.early_stop={patience: 4, metric: accuracy, delta: 0.05}", "--set", "checkpoint={every: 5 steps, keep: 1, best: 2}"]

    def watched(self, name, ranks, *options):
        run_dir = os.path.join(self.dir, name)
        args = ["train", os.path.join(SOURCE, "configs", "digits-mlp.yaml"), "--run-dir", run_dir, *self.WATCH, *options]
        done = self.run_it(*(["launch", "-n", str(ranks)] if ranks > 1 else []), *args, timeout=120)
        self.check_code(done, 0)
        return run_dir

    def kept(self, run_dir):
        """Step folders, and what BEST names."""
        folder = os.path.join(run_dir, "checkpoints")
        with open(os.path.join(folder, "BEST")) as f:
            best = f.read().strip()
        return sorted(d for d in os.listdir(folder) if d.startswith("step-")), best

    def test_evaluations_decide_the_same_after_a_resume(self):
        whole = self.watched("watched", 1)
        end = events(whole, "end")[-1]
        self.assertTrue(end["stopped_early"])
        self.assertLess(end["step"], 60)
        evals = events(whole, "eval")
        best = min(evals, key=lambda e: e["loss"])
        steps, name = self.kept(whole)
        self.assertEqual(name, f"step-{best['step']:08d}")
        # The newest, and the two with the lowest loss.
        lowest = sorted(evals, key=lambda e: e["loss"])[:2]
        self.assertEqual(steps, sorted({f"step-{e['step']:08d}" for e in [*lowest, evals[-1]]}))

        first = self.watched("resumed", 3, "--set", "train.steps=16")
        self.assertFalse(events(first, "end")[-1]["stopped_early"])
        resumed = self.watched("resumed", 2)
        self.assertEqual(events(resumed, "end")[-1]["digest"], end["digest"])
        self.assertEqual([(e["step"], e["lr"], e["loss"]) for e in events(resumed, "step")], [(e["step"], e["lr"], e["loss"]) for e in events(whole, "step")])
        self.assertEqual(self.kept(resumed), (steps, name))
        again = self.watched("resumed", 1)
        self.assertEqual(events(again, "end")[-1]["step"], end["step"], "a run that stopped early is finished")

    def test_what_would_change_the_bits_is_refused(self):
        run_dir = os.path.join(self.dir, "run")
        self.assertEqual(self.train(run_dir, 1, "--set", "train.steps=10").code, 0)
        for key, value in (("run.seed", 7), ("train.batch", 32), ("train.microbatches", 4)):
            done = self.train(run_dir, 1, "--set", f"{key}={value}")
            self.check_code(done, 2)
            self.assertIn(f"was made with {key}", done.err)

    def test_a_finished_run_says_so(self):
        run_dir, digest = self.whole()
        again = self.train(run_dir)
        self.check_code(again, 0)
        self.assertIn(digest, again.out)
        self.assertEqual(len(events(run_dir, "end")), 1)
        never = self.train(run_dir, 1, "--resume", "never")
        self.check_code(never, 2)
        self.assertIn("--run-dir", never.err)

    def test_full_disk(self):
        run_dir = os.path.join(self.dir, "full")
        # Files may not grow beyond 100 KiB: the log fits, a checkpoint does not.
        script = 'trap "" XFSZ; ulimit -f 100; exec "$@"'
        done = subprocess.run(["bash", "-c", script, "bash", lockstep.BIN, "train", CONFIG, "--quiet", "--run-dir", run_dir, *SET],
                              env=self.environment(), cwd=self.dir, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn("state.h5", done.stderr)
        self.assertEqual([f for f in self.files("full") if "tmp" in os.path.basename(f) or ".tmp" in f], [])
        # With room again the run starts anew and ends well.
        self.check_code(self.train(run_dir), 0)

    def test_divergence_keeps_the_last_good_step(self):
        run_dir = os.path.join(self.dir, "diverges")
        wild = ["--set", "train.optimizer=sgd", "--set", "train.lr.peak=1e6", "--set", "train.clip_norm=0", "--set", "train.lr.warmup=0"]
        for ranks in (1, 3):
            done = self.train(f"{run_dir}{ranks}", ranks, *wild)
            self.check_code(done, 1)
            line = [x for x in done.err.splitlines() if "diverged" in x]
            self.assertEqual(len(line), 1, done.err)
            found = self.run_it("checkpoint", "verify", os.path.join(f"{run_dir}{ranks}", "checkpoints"))
            self.check_code(found, 0)
        a, b = (self.run_it("digest", f"{run_dir}{n}", "--json").out for n in (1, 3))
        self.assertEqual(json.loads(a)["digest"], json.loads(b)["digest"])


if __name__ == "__main__":
    unittest.main()
