"""train.init_from: what a run takes from the checkpoint of another, what it says about it, and what it refuses."""
import json
import os
import unittest

import lockstep

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CONFIG = os.path.join(SOURCE, "configs", "digits-cnn.yaml")
SHORT = ["--set", "train.epochs=1", "--set", "train.lr.warmup=5"]
FREEZE = ["--set", "train.groups=[{match: 'conv*', frozen: true}, {match: 'batch_norm*', frozen: true}]"]
HEAD = ["--set", "model.13={linear: {units: 10, name: head}}"]


class Transfer(lockstep.Case):
    def train(self, name, *options, ranks=1, config=CONFIG, code=0):
        args = ["train", config, "--run-dir", self.path(name), "--json", *SHORT, *options]
        done = self.run_it(*(["launch", "-n", str(ranks)] if ranks > 1 else []), *args, timeout=120)
        self.check_code(done, code)
        return done

    def arrays(self, name):
        """Hash of each array of the newest checkpoint."""
        show = self.run_it("checkpoint", "show", "--json", self.path(name))
        self.check_code(show, 0)
        return {a["name"]: a["xxh3"] for a in json.loads(show.out)["arrays"]}

    def start_from(self, name, *more):
        return ["--set", f"train.init_from.checkpoint={self.path(name)}", *more]

    def test_a_new_head_on_frozen_features(self):
        self.train("base")
        done = self.train("head1", *self.start_from("base"), *FREEZE, *HEAD)
        self.assertIn("init_from: loaded conv1.weight [48,1,3,3] from weights/conv1/weight\n", done.err)
        self.assertIn("init_from: loaded batch_norm3.running_var [96] from weights/batch_norm3/running_var\n", done.err)
        self.assertIn("init_from: skipped head.weight: the checkpoint has no such name\n", done.err)
        init = done.events("init")
        self.assertEqual(len(init), 1)
        self.assertEqual((init[0]["loaded"], init[0]["skipped"], init[0]["step"]), (15, 2, 0))
        base, head = self.arrays("base"), self.arrays("head1")
        frozen = [n for n in head if n.startswith(("weights/conv", "weights/batch_norm"))]
        self.assertEqual(len(frozen), 15)
        for n in frozen:
            self.assertEqual(head[n], base[n], n)
        losses = [e["loss"] for e in done.events("step")]
        self.assertLess(losses[-1], losses[0], "the head learns")
        other = self.train("head3", *self.start_from("base"), *FREEZE, *HEAD, ranks=3)
        self.assertEqual(other.events("end")[0]["digest"], done.events("end")[0]["digest"])
        self.assertEqual(other.events("init")[0]["loaded"], 15)

    def test_frozen_statistics_are_the_ones_that_normalize(self):
        """A frozen network without dropout gives in training the loss of evaluation, on data that is both."""
        whole = f"{SOURCE}/data/digits/valid-*.h5"
        same = ["--set", f"data.train={whole}", "--set", f"data.valid={whole}", "--set", "model.11={dropout: 0}", "--set", "train.batch=360"]
        self.train("base")
        done = self.train("frozen", *self.start_from("base"), *same, "--set", "train.groups=[{match: '*', frozen: false, lr: 1e-30}]")
        thawed = [e["loss"] for e in done.events("step")][0]
        frozen = ["--set", "train.groups=[{match: 'batch_norm*', frozen: true}, {match: '*', lr: 1e-30}]"]
        done = self.train("still", *self.start_from("base"), *same, *frozen)
        step, evaluated = done.events("step")[0]["loss"], done.events("eval")[0]["loss"]
        self.assertLess(abs(step - evaluated), 1e-6 * evaluated)  # the same numbers, summed in another order
        self.assertGreater(abs(thawed - evaluated), 1e-3 * evaluated)

    def test_other_shapes_patterns_and_names(self):
        self.train("base")
        done = self.train("wide", *self.start_from("base", "--set", "train.init_from.match='[cl]*'"), "--set", "model.13={linear: 12}")
        self.assertIn("init_from: skipped linear1.weight: it is [12,384], in the checkpoint [10,384]\n", done.err)
        self.assertIn("init_from: skipped batch_norm1.bias: does not match\n", done.err)
        self.assertEqual((done.events("init")[0]["loaded"], done.events("init")[0]["skipped"]), (3, 14))
        rename = ["--set", "train.init_from.rename=[{from: linear1, to: head}]", "--set", "train.init_from.strict=true"]
        done = self.train("renamed", *self.start_from("base", *rename), *HEAD)
        self.assertIn("init_from: loaded head.weight [10,384] from weights/linear1/weight\n", done.err)
        self.assertEqual((done.events("init")[0]["loaded"], done.events("init")[0]["skipped"]), (17, 0))

    def test_running_means_stand_for_weights(self):
        self.train("base", "--set", "train.ema=0.9")
        still = ["--set", "train.groups=[{match: linear1.bias, frozen: false}, {match: '*', frozen: true}]", "--set", "train.steps=1"]
        self.train("means", *self.start_from("base"), *still)
        self.train("plain", *self.start_from("base", "--set", "train.init_from.ema=false"), *still)
        base, means, plain = self.arrays("base"), self.arrays("means"), self.arrays("plain")
        self.assertEqual(means["weights/conv1/weight"], base["ema/conv1/weight"])
        self.assertEqual(plain["weights/conv1/weight"], base["weights/conv1/weight"])
        self.assertNotEqual(base["ema/conv1/weight"], base["weights/conv1/weight"])
        self.assertEqual(means["weights/batch_norm1/running_mean"], base["weights/batch_norm1/running_mean"])
        # Means that begin here begin with what was loaded.
        self.train("again", *self.start_from("base"), *still, "--set", "train.ema=0.5")
        self.assertEqual(self.arrays("again")["ema/conv1/weight"], base["ema/conv1/weight"])

    def test_a_run_that_goes_on_does_not_look(self):
        self.train("base")
        options = [*self.start_from("base"), *FREEZE, *HEAD, "--set", "train.lr.decay=constant"]
        whole = self.train("whole", *options).events("end")[0]["digest"]
        self.train("half", *options, "--set", "train.steps=10")
        os.rename(self.path("base"), self.path("gone"))
        done = self.train("half", *options)
        self.assertEqual(done.events("end")[0]["digest"], whole)
        self.assertEqual(done.events("init"), [])
        with open(self.path("half", "log.jsonl")) as f:
            self.assertEqual(sum(json.loads(line)["event"] == "init" for line in f), 1)

    def test_relative_to_the_config(self):
        config = self.make_small()
        self.train("base", config=config)
        with open(config, "a") as f:
            f.write("  init_from: {checkpoint: base}\n")
        done = self.run_it("train", config, "--run-dir", self.path("next"), "--json", env={"PWD": "/"})
        self.check_code(done, 0)
        self.assertEqual(done.events("init")[0]["loaded"], 4)
        # The resolved config runs from anywhere.
        done = self.run_it("train", self.path("next", "config.yaml"), "--run-dir", self.path("third"), "--json")
        self.check_code(done, 0)
        self.assertEqual(done.events("init")[0]["loaded"], 4)

    def test_errors(self):
        config = self.make_small()
        self.train("base", config=config)
        base = self.start_from("base")
        strict = ["--set", "train.init_from.strict=true"]
        self.train("mlp", config=os.path.join(SOURCE, "configs", "digits-mlp.yaml"))
        for options, *parts in (
            (self.start_from("nowhere"), "train.init_from: ", "nowhere", "No such file"),
            (self.start_from("run.yaml"), "train.init_from: ", "no checkpoint"),
            ([*base, "--set", "train.init_from.match=conv*"], "no parameter of this model is called like \"conv*\" (train.init_from.match); the first is linear1.weight"),
            ([*base, "--set", "train.init_from.rename=[{from: '', to: x.}]"], "it has x.linear1.bias, x.linear1.weight, x.linear2.bias, ..., and this model linear1.weight, linear1.bias, linear2.weight, ..."),
            ([*base, "--set", "train.init_from.rename=[{from: linear1, to: linear2}]"], "weights/linear1/bias and weights/linear2/bias would both be called linear2.bias"),
            ([*base, *strict, "--set", "model.0={linear: 17}"], "3 of this model's parameters are not in it in their shapes, the first is linear1.weight (train.init_from.strict)"),
            ([*base, "--set", "train.init_from.rename=linear1"], "train.init_from.rename: expected a list of maps"),
            ([*base, "--set", "train.init_from.rename=[linear1]"], "train.init_from.rename: expected a map"),
            ([*base, "--set", "train.init_from.rename=[{from: a}]"], "lacks \"to\""),
            (["--set", "train.init_from.rename=[{from: a, to: b}]"], "given without train.init_from.checkpoint"),
            (strict, "given without train.init_from.checkpoint"),
            (["--set", "train.init_from.checkpoint=''"], "train.init_from.checkpoint", "the path is empty"),
        ):
            with self.subTest(parts[0]):
                done = self.run_it("train", config, "--run-dir", self.path("fails"), *options, env={"LOCKSTEP_LOG": "error"})
                self.check_code(done, lockstep.INPUT)
                self.check_one_line(done, *parts)
                self.assertFalse(self.files("fails/checkpoints"))


if __name__ == "__main__":
    unittest.main()
