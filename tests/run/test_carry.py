"""Layers with `carry: true`: steps that go on from each other are one long sequence, on any number of ranks, also after a resume."""
import json
import os
import re
import subprocess
import unittest

import lockstep

CONFIG = """\
data:
  train: s.h5
  valid: s.h5
  input: x
  target: x
  order: streams
  sequence: {length: %d, ahead: 0}
model:
  - lstm: {units: 5, carry: %s}
  - gru: {units: 4, carry: %s}
  - linear: 3
train: {objective: regress, batch: %d, microbatches: %d, epochs: 2, log_every: 1 steps, lr: %s}
checkpoint: {every: 4 steps}
"""


class Carry(lockstep.Case):
    def config(self, name="run.yaml", length=4, carry="true", batch=12, microbatches=6, lr="0.01"):
        if not os.path.exists(self.path("s.h5")):
            self.make_h5("s.h5", "x=float32[576,3]:rand")
        return self.write(name, CONFIG % (length, carry, carry, batch, microbatches, lr))

    def train(self, name, config, *options, ranks=1):
        args = ["train", config, "--run-dir", self.path(name), "--json", *options]
        done = self.run_it(*(["launch", "-n", str(ranks)] if ranks > 1 else []), *args)
        self.check_code(done, 0)
        return done

    def log(self, name):
        with open(self.path(name, "log.jsonl")) as f:
            lines = [json.loads(line) for line in f]
        return [(e["event"], e["step"], e.get("loss"), e.get("digest")) for e in lines]

    def arrays(self, name):
        done = self.run_it("checkpoint", "show", "--json", self.path(name))
        self.check_code(done, 0)
        return {a["name"]: a for a in json.loads(done.out)["arrays"]}

    def test_any_number_of_ranks_and_a_resume_in_an_epoch(self):
        config = self.config()
        one = self.train("one", config).events("end")[0]["digest"]
        for ranks in (3, 4):
            self.train(f"n{ranks}", config, "--set", "run.threads=2", ranks=ranks)
            self.assertEqual(self.log(f"n{ranks}"), self.log("one"))
        self.assertNotEqual(self.train("none", self.config("none.yaml", carry="false")).events("end")[0]["digest"], one)
        # 144 windows in 12 streams are 12 steps an epoch: both stops are in the middle of one.
        for first, second, third in ((1, 3, 2), (4, 1, 6)):
            name = f"resumed{first}"
            self.train(name, config, "--set", "train.steps=5", ranks=first)
            self.train(name, config, "--set", "train.steps=14", ranks=second)
            self.train(name, config, ranks=third)
            self.assertEqual([e for e in self.log(name) if e[0] == "step"], [e for e in self.log("one") if e[0] == "step"])
            self.assertEqual(self.log(name)[-1], self.log("one")[-1])
        # One row of state for each microbatch: two rows of it with an lstm's two states of 5, then a gru's of 4, each on a line of 64 bytes.
        self.assertEqual(self.arrays("one")["carry"]["shape"], [6, 32 + 16])
        self.assertNotIn("carry", self.arrays("none"))
        self.assertEqual(self.run_it("digest", self.path("one")).out.split()[0], one)

    def test_killed_in_an_epoch(self):
        config = self.config()
        self.train("whole", config, "--set", "train.epochs=40")
        p = self.start("launch", "-n", "3", "train", config, "--run-dir", self.path("killed"), "--set", "train.epochs=40")
        self.wait_until("a checkpoint", lambda: os.path.exists(self.path("killed/checkpoints/LATEST")))
        p.kill()
        self.wait_until("all processes gone", lambda: not self.processes(), 10)
        self.train("killed", config, "--set", "train.epochs=40", ranks=2)
        self.assertEqual([e for e in self.log("killed") if e[0] == "step"], [e for e in self.log("whole") if e[0] == "step"])
        self.assertEqual(self.log("killed")[-1][3], self.log("whole")[-1][3])

    def test_an_epoch_begins_at_zero(self):
        done = self.train("still", self.config(lr="1e-30"))
        losses = [e["loss"] for e in done.events("step")]
        self.assertEqual(losses[:12], losses[12:])
        self.assertEqual(len(set(losses)), 12)

    def dump(self, path):
        try:
            done = subprocess.run(["h5dump", "-y", "-w", "1", "-m", "%.9g", "-d", "prediction", path], check=True, capture_output=True, text=True)
        except FileNotFoundError:
            self.skipTest("h5dump is not installed (package hdf5-tools)")
        return [float(v) for v in re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", done.stdout.split("DATA {")[1].split("}")[0])]

    def test_short_steps_that_carry_are_one_long_sequence(self):
        self.train("run", self.config(), "--set", "train.epochs=1")

        def predict(config, ranks):
            out = self.path("p.h5")
            args = ["predict", config, "--from", self.path("run"), "--out", out]
            self.check_code(self.run_it("launch", "-n", str(ranks), *args), 0)
            return self.dump(out)

        carried = [predict(self.config(), ranks) for ranks in (1, 2)]
        self.assertEqual(*carried)
        whole = predict(self.config("whole.yaml", length=48, carry="false"), 1)
        cut = predict(self.config("cut.yaml", carry="false"), 1)
        self.assertEqual(len(whole), 576 * 3)
        apart = [max(abs(a - b) for a, b in zip(whole, other)) for other in (carried[0], cut)]
        self.assertLess(apart[0], 1e-5)  # float32, in products of other shapes
        self.assertGreater(apart[1], 1e-3)
        # And so does evaluation: the same mean of squares.
        losses = [self.run_it("eval", config, "--from", self.path("run"), "--json").events("eval")[0]["loss"]
                  for config in (self.path("run.yaml"), self.path("whole.yaml"), self.path("cut.yaml"))]
        self.assertLess(abs(losses[0] - losses[1]), 1e-6 * losses[1])
        self.assertGreater(abs(losses[2] - losses[1]), 1e-5 * losses[1])

    def test_errors(self):
        config = self.config()
        for options, *parts in (
            (["--set", "data.order=sequential"], "run.yaml:9:5: layer lstm1 has `carry: true`", "set data.order (--set data.order) to streams"),
            (["--set", "model.0={lstm: {units: 5, carry: true, bidirectional: true}}"], "lstm.carry"),
        ):
            with self.subTest(parts[0]):
                done = self.run_it("train", config, *options)
                self.check_code(done, lockstep.INPUT)
                self.check_one_line(done, *parts)
        self.train("run", config, "--set", "train.steps=3")
        done = self.run_it("train", config, "--run-dir", self.path("run"), "--set", "model.1={gru: {units: 4, carry: false}}")
        self.check_code(done, lockstep.INPUT)
        self.check_one_line(done, "made by another model: carry is [6,48] in it and [6,32] by the config")
        done = self.run_it("train", self.config("none.yaml", carry="false"), "--run-dir", self.path("run"))
        self.check_code(done, lockstep.INPUT)
        self.check_one_line(done, "made by another model: it holds carry [6,48], which the config has no place for")


if __name__ == "__main__":
    unittest.main()
