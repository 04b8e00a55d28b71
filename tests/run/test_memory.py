"""Memory said beforehand: what `lockstep plan` says a rank will take, against what runs take; and runs that cannot fit are refused before they start."""

import json
import os
import re
import time
import unittest

from lockstep import *

SOURCE = os.environ.get("LOCKSTEP_SOURCE", "")
BENCHES = ["mlp", "lenet5", "resnet20", "resnet18"]
SHARE, FLOOR = 0.10, 6 << 20


class Peak:
    """The largest resident size of a process while it runs."""

    def __init__(self, case, *args, timeout=120):
        running = case.start(*args, timeout=timeout)
        self.bytes = 0
        while running.process.poll() is None:
            self.look(running.process.pid)
            time.sleep(0.002)
        self.result = running.wait()
        case.check_code(self.result, OK)

    def look(self, pid):
        try:
            with open("/proc/%d/status" % pid) as f:
                found = re.search(r"VmHWM:\s+(\d+) kB", f.read())
        except OSError:
            return
        if found:
            self.bytes = max(self.bytes, int(found.group(1)) * 1024)


class Memory(Case):
    def plan(self, *args):
        r = self.run_it("plan", *args, "--json")
        self.check_code(r, OK)
        return json.loads(r.out)["memory"]

    def check_close(self, said, peak, what):
        self.assertLessEqual(abs(said - peak), max(SHARE * peak, FLOOR), "%s: %.1f MiB said, %.1f MiB taken" % (what, said / 2**20, peak / 2**20))

    @unittest.skipIf(SANITIZED, "sanitizers keep memory of their own")
    def test_steps_take_what_the_plan_says(self):
        for name in BENCHES:
            for threads in (1, 2):
                config = os.path.join(SOURCE, "configs", "bench", name + ".yaml")
                threads_set = ("--set", "run.threads=%d" % threads)
                said = self.plan(config, *threads_set)
                peak = Peak(self, "bench", "step", config, "--steps", "2", "--warmup", "0", *threads_set)
                self.check_close(said["total_bytes"], peak.bytes, "%s on %d threads" % (name, threads))

    @unittest.skipIf(SANITIZED, "sanitizers keep memory of their own")
    def test_a_run_takes_what_the_plan_says(self):
        # Weights of 9 MB with three times as much of state beside, 20 MB of data, evaluation and checkpoints.
        self.make_h5("train.h5", "x=float32[4096,1200]:rand", "y=int64[4096]:mod3")
        self.make_h5("valid.h5", "x=float32[512,1200]:rand", "y=int64[512]:mod3")
        config = self.write("run.yaml", CONFIG.replace("train: train.h5", "train: train.h5\n  valid: valid.h5").replace("units: 16", "units: 2000")
                            .replace("batch: 16", "batch: 256\n  optimizer: adamw\n  ema: 0.9").replace("epochs: 2", "epochs: 1"))
        said = self.plan(config)
        self.assertGreater(said["optimizer_bytes"] + said["mean_bytes"], 3 * said["weight_bytes"])
        self.assertGreater(said["evaluation_bytes"], 0)
        peak = Peak(self, "train", config)
        self.check_close(said["total_bytes"], peak.bytes, "training")

    def test_ranks_share_the_state(self):
        self.make_small()
        config = self.path("run.yaml")
        wide = ("--set", "train.optimizer=adamw", "--set", "model=[{linear: 4000}, {linear: 3}]")
        alone, four = self.plan(config, *wide), self.plan(config, "--ranks", "4", *wide)
        self.assertEqual((alone["ranks"], alone["stage_bytes"]), (1, 0))
        self.assertEqual((four["ranks"], four["rank"]), (4, 0))
        self.assertLess(four["optimizer_bytes"], alone["optimizer_bytes"] / 3)
        # Rank 0 collects the state of all for checkpoints, beside what it gives itself.
        self.assertEqual(four["stage_bytes"], 3 * four["weight_bytes"])
        parts = [k for k in four if k.endswith("_bytes") and k not in ("total_bytes", "available_bytes")]
        self.assertEqual(four["total_bytes"], sum(four[k] for k in parts))
        r = self.run_it("plan", config, "--ranks", "5")
        self.check_code(r, INPUT)
        self.check_one_line(r, "train.microbatches is 4, but 5 ranks")

    def blocks(self):
        """A network whose norms, dropout and pools save what they need, and its data."""
        self.make_h5("train.h5", "x=float32[96,2,8,8]:rand", "y=int64[96]:mod3")
        block = "[{residual: [batch_norm, relu, {conv: {filters: 4, kernel: 3, pad: 1}}, {dropout: 0.1}]}]"
        model = "model: [{conv: {filters: 4, kernel: 3, pad: 1}}, {repeat: {times: 12, layers: %s}}, {max_pool: 2}, flatten, {linear: 3}]\n" % block
        return self.write("run.yaml", re.sub(r"model:\n(  .*\n)*", model, CONFIG))

    def limit(self, config, limit):
        return self.run_it("plan", config, "--json", "--set", "train.activation_memory=%d" % limit)

    def test_less_memory_gives_the_same_bits(self):
        config = self.blocks()
        free = json.loads(self.run_it("plan", config, "--json").out)
        r = self.limit(config, 1)
        self.check_code(r, INPUT)
        line = self.check_one_line(r, " segments), which is more than the 1 of train.activation_memory; layer ", "run.yaml:")
        least = int(re.search(r"need at least (\d+) bytes", line).group(1))
        self.assertLess(least, 0.6 * free["activation_bytes"])
        digests = set()
        for ranks, limit in ((1, 0), (1, least), (2, least), (1, (least + free["activation_bytes"]) // 2)):
            plan = json.loads(self.limit(config, limit).out)
            again = [op for op in plan["operations"] if op["pass"] == "again"]
            self.assertEqual((len(again), len(again) > 0), (plan["again"], limit > 0))
            if limit > 0:
                self.assertLessEqual(plan["activation_bytes"], limit)
            where = self.path("runs", "%d-%d" % (ranks, limit))
            how = ("train", config, "--run-dir", where, "--json", "--set", "train.activation_memory=%d" % limit)
            r = self.run_it(*how) if ranks == 1 else self.launch(ranks, *how)
            self.check_code(r, OK)
            digests.add(r.events("end")[0]["digest"])
        self.assertEqual(len(digests), 1)
        text = self.run_it("plan", config, "--set", "train.activation_memory=%d" % least).out
        self.assertRegex(text, r"\d+ of \d+ operations run twice, in \d+ segments, to keep within train.activation_memory")

    def test_a_thousand_layers(self):
        config = self.blocks()
        with open(config) as f:
            text = f.read()
        with open(config, "w") as f:
            f.write(text.replace("times: 12", "times: 250"))
        start = clock()
        r = self.run_it("plan", config, "--json")
        self.check_code(r, OK)
        self.assertLess(clock() - start, 5 * SLOWER)
        self.assertGreater(len(json.loads(r.out)["operations"]), 1500)

    def test_what_cannot_fit_is_refused(self):
        self.make_small()
        # Weights of 16 TB.
        big = ("--set", "model=[{linear: 2000000}, {linear: 2000000}, {linear: 3}]")
        for command in (("train",), ("bench", "step")):
            start = time.monotonic()
            r = self.run_it(*command, self.path("run.yaml"), *big)
            self.check_code(r, INPUT)
            self.check_one_line(r, "run.yaml: the run would not fit into memory: 1 rank on this host needs ", "TiB more, ", "are available (/", "weights 14.6 TiB", "Lower train.batch")
            self.assertLess(time.monotonic() - start, 30)
            self.assertFalse(os.path.exists(self.path("runs")))
        # The plan itself is shown.
        r = self.run_it("plan", self.path("run.yaml"), *big)
        self.check_code(r, OK)
        self.assertIn("available here", r.out)


if __name__ == "__main__":
    unittest.main()
