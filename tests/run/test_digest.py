"""The promise: the same config and seed give the same bits, whatever the ranks, buckets, readers, threads and sharding."""
import json
import os
import unittest

import lockstep

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CONFIG = os.path.join(SOURCE, "configs", "digits-cnn.yaml")
# 1437 samples in batches of 64 are 23 steps an epoch, the last one short; 30 steps go past an epoch's end and an evaluation.
STEPS = ["--set", "train.steps=30", "--set", "train.log_every=1 steps", "--set", "train.lr.warmup=5"]
TIMES = {"samples_per_s", "data_wait_s", "comm_wait_s", "seconds"}


def log_lines(run_dir):
    """Every event of the log, without the times."""
    with open(os.path.join(run_dir, "log.jsonl")) as f:
        return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in f]


class Digest(lockstep.Case):
    def train(self, name, ranks, *options, config=CONFIG, steps=STEPS):
        run_dir = os.path.join(self.dir, name)
        args = ["train", config, "--run-dir", run_dir, "--json", *steps, *options]
        if ranks > 1:
            args = ["launch", "-n", str(ranks), *args]
        done = self.run_it(*args, timeout=120)
        self.check_code(done, 0)
        return log_lines(run_dir)

    def same(self, want, got, what):
        self.assertEqual(len(want), len(got), what)
        for a, b in zip(want, got):
            self.assertEqual(a, b, what)
        self.assertEqual(want[-1]["event"], "end")
        self.assertRegex(want[-1]["digest"], "^[0-9a-f]{32}$")

    def test_any_number_of_ranks(self):
        one = self.train("n1", 1)
        self.assertEqual(sum(e["event"] == "step" for e in one), 30)
        for n in range(2, 9):
            self.same(one, self.train(f"n{n}", n), f"{n} ranks")

    def test_buckets_readers_threads_sharding(self):
        one = self.train("one", 1)
        for i, (ranks, options) in enumerate([
            (1, ["--set", "run.threads=2"]),
            (3, ["--set", "run.threads=2"]),
            (1, ["--set", "data.readers=4"]),
            (2, ["--set", "data.readers=4", "--set", "data.prefetch=1"]),
            (3, ["--set", "train.bucket_bytes=1024"]),
            (4, ["--set", "train.bucket_bytes=100000000"]),
            (3, ["--set", "train.shard_optimizer=false"]),
        ]):
            self.same(one, self.train(f"v{i}", ranks, *options), f"{ranks} ranks with {options}")

    # One config of each family of networks, tiny, with all that is random in it: augmentation, mixing, dropout, noise, latent draws.
    FAMILIES = {
        "cnn": """
data: {train: pictures.h5, valid: pictures.h5, augment: [crop: 1, flip, rotate: 10, noise: 0.1, {cutout: 2}], mix: {mixup: 0.4, cutmix: 1}}
model:
  - conv: {filters: 6, kernel: 3, pad: same}
  - batch_norm
  - relu
  - max_pool: 2
  - spatial_dropout: 0.1
  - flatten
  - dropout: 0.2
  - linear: 5
train: {batch: 32, steps: 8, ema: 0.9, clip_norm: 1, lr: 0.01, eval_every: 4 steps, log_every: 1 steps}
""",
        "lstm": """
data: {train: ids.h5, valid: ids.h5, input: ids, target: ids, sequence: {length: 12, stride: 5}}
model:
  - embedding: {size: 11, units: 6}
  - lstm: {units: 7, layers: 2, dropout: 0.2}
  - gru: {units: 5, bidirectional: true}
  - linear: 11
train: {objective: language_model, batch: 32, steps: 8, clip_norm: 1, lr: 0.01, eval_every: 4 steps, log_every: 1 steps}
""",
        "transformer": """
data: {synthetic: {input: [16], classes: 11, vocabulary: 11, samples: 100}}
model:
  - embedding: {size: 11, units: 16}
  - positions
  - repeat:
      times: 2
      layers:
        - residual: [layer_norm, {attention: {heads: 4, kv_heads: 2, causal: true, dropout: 0.1}}, {dropout: 0.1}]
        - residual: [layer_norm, {linear: 32}, gelu, {linear: 16}, {dropout: 0.1}, {drop_path: 0.2}]
  - linear: 11
train: {objective: language_model, batch: 32, steps: 8, clip_norm: 1, lr: 0.01, log_every: 1 steps}
""",
        "gan": """
data: {train: pictures.h5, valid: pictures.h5}
model:
  generator: [{linear: 36}, batch_norm, relu, {reshape: [4, 3, 3]}, {upsample: 2}, {conv: {filters: 3, kernel: 3, pad: same}}, batch_norm, relu, {conv: {filters: 1, kernel: 3, pad: same}}, tanh]
  discriminator: [{conv: {filters: 4, kernel: 3, stride: 2, pad: 1}}, leaky_relu: 0.2, flatten, dropout: 0.2, {linear: 1}]
train: {objective: gan, gan: {latent: 5, generator_every: 2}, optimizer: adam, beta1: 0.5, ema: 0.9, batch: 32, steps: 8, lr: 0.01, eval_every: 4 steps, log_every: 1 steps}
""",
        "wasserstein": """
data: {train: pictures.h5, valid: pictures.h5}
model:
  generator: [{linear: 36}, batch_norm, relu, {linear: 36}, sigmoid, {reshape: [1, 6, 6]}]
  discriminator:
    [{conv: {filters: 4, kernel: 3, stride: 2, pad: 1, bias: false}}, spectral_norm, leaky_relu: 0.2, flatten, {linear: {units: 1, bias: false}}, spectral_norm]
train: {objective: gan, gan: {loss: wasserstein, latent: 5, generator_every: 3}, optimizer: rmsprop, clip_norm: 1, batch: 32, steps: 8, lr: 0.01, eval_every: 4 steps, log_every: 1 steps}
""",
        "vae": """
data: {train: pictures.h5, valid: pictures.h5}
model:
  encoder: [flatten, {linear: 24}, relu, {gaussian: 4}]
  decoder: [{linear: 24}, relu, {linear: 36}]
train: {objective: vae, loss: bce, batch: 32, steps: 8, clip_norm: 1, lr: 0.01, eval_every: 4 steps, log_every: 1 steps}
""",
    }

    def test_every_family_of_networks(self):
        # 100 samples (98 windows): the fourth step of an epoch has 4 (2), so that most of its eight microbatches are short or empty.
        self.make_h5("pictures.h5", "image=float32[100,1,6,6]:rand", "label=int64[100]:mod5")
        self.make_h5("ids.h5", "ids=int64[500]:mod11")
        for name, text in self.FAMILIES.items():
            config = self.write(f"{name}.yaml", text)
            one = self.train(f"{name}1", 1, config=config, steps=[])
            self.assertEqual(sum(e["event"] == "step" for e in one), 8)
            self.assertEqual(sum(e["event"] == "eval" for e in one), 0 if name == "transformer" else 2)
            for ranks, threads in ((1, 2), (3, 1), (3, 2), (8, 1)):
                with self.subTest(f"{name}, {ranks} ranks of {threads} threads"):
                    other = self.train(f"{name}{ranks}{threads}", ranks, "--set", f"run.threads={threads}", config=config, steps=[])
                    self.same(one, other, f"{name}, {ranks} ranks of {threads} threads")
            with self.subTest(f"{name}, resumed in an epoch"):
                self.train(f"{name}resumed", 3, "--set", "train.steps=5", config=config, steps=[])
                log = self.train(f"{name}resumed", 2, config=config, steps=[])
                self.assertEqual(log[-1]["digest"], one[-1]["digest"])

    def test_twelve_microbatches(self):
        m12 = ["--set", "train.microbatches=12", "--set", "train.batch=60"]
        one = self.train("m12n1", 1, *m12)
        for n in (5, 12):
            self.same(one, self.train(f"m12n{n}", n, *m12), f"{n} ranks")

    def test_sgd_and_regression_of_the_order(self):
        sgd = ["--set", "train.optimizer=sgd", "--set", "train.lr.peak=0.05", "--set", "train.nesterov=true", "--set", "train.weight_decay=0.001"]
        config = os.path.join(SOURCE, "configs", "digits-mlp.yaml")
        one = self.train("sgd1", 1, *sgd, config=config)
        self.same(one, self.train("sgd3", 3, *sgd, "--set", "run.threads=2", config=config), "3 ranks, SGD")

    def test_streams_of_windows_with_a_field_beside_them(self):
        config = os.path.join(self.dir, "series.yaml")
        with open(config, "w") as f:
            f.write(f"""
data:
  train: {SOURCE}/data/digits/train-*.h5
  valid: {SOURCE}/data/digits/valid-*.h5
  target: image
  fields: label
  order: streams
  sequence: {{length: 4, stride: 2, ahead: 4, target_length: 1}}
model: [flatten, {{linear: 64}}]
train: {{objective: regress, batch: 32, epochs: 2, log_every: 1 steps, lr: 1e-4}}
""")
        one = self.train("s1", 1, config=config, steps=[])
        self.assertEqual(sum(e["event"] == "eval" for e in one), 2)
        self.same(one, self.train("s3", 3, "--set", "data.readers=3", config=config, steps=[]), "3 ranks, streams")

    def test_optimizers(self):
        """lars, lamb and muon take whole parameters, and are not sharded."""
        config = os.path.join(SOURCE, "configs", "digits-mlp.yaml")
        for name in ("adam", "rmsprop", "adagrad", "lion", "lars", "lamb", "muon"):
            with self.subTest(name):
                options = ["--set", f"train.optimizer={name}", "--set", "train.weight_decay=0.01", "--set", "train.clip_norm=1", "--set", "train.steps=12"]
                one = self.train(f"{name}1", 1, *options, config=config)
                self.same(one, self.train(f"{name}3", 3, *options, "--set", "run.threads=2", config=config), f"3 ranks, {name}")

    def test_normalized_by_the_training_data(self):
        """Means and deviations are those of rank 0, go with the checkpoint, and are enough to evaluate by."""
        normal = ["--set", "data.normalize=all"]
        one = self.train("norm1", 1, *normal)
        self.assertNotEqual(one[-1]["digest"], self.train("plain", 1)[-1]["digest"])
        self.same(one, self.train("norm3", 3, *normal), "3 ranks, normalized")
        want = [e for e in one if e["event"] == "eval"][-1]["loss"]
        nowhere = ["--set", "data.train=/nowhere/*.h5", "--run-dir", os.path.join(self.dir, "norm1"), "--json"]
        done = self.run_it("eval", CONFIG, *normal, *nowhere)
        self.check_code(done, 0)
        self.assertEqual(json.loads(done.out.splitlines()[-1])["loss"], want)
        self.assertIn("data.normalize is none, but the checkpoint was made with it", self.run_it("eval", CONFIG, *nowhere).err)

    def test_mixed(self):
        """Partners are rows of the same microbatch, so mixtures do not depend on the ranks either."""
        mix = ["--set", "data.mix={mixup: 0.4, cutmix: 1}"]
        one = self.train("mix1", 1, *mix)
        self.assertNotEqual(one[-1]["digest"], self.train("plain", 1)[-1]["digest"])
        self.same(one, self.train("mix3", 3, "--set", "data.readers=4", *mix), "3 ranks, mixed")

    def test_augmented(self):
        """Crops, noise and covered squares belong to sample and epoch, whoever reads them."""
        augment = ["--set", "data.augment=[crop: 1, rotate: 10, noise: 0.1, {cutout: {size: 2}}]", "--set", "data.mean=0.3"]
        one = self.train("aug1", 1, *augment)
        self.assertNotEqual(one[-1]["digest"], self.train("plain", 1)[-1]["digest"])
        self.same(one, self.train("aug3", 3, "--set", "data.readers=4", *augment), "3 ranks, augmented")

    def test_running_mean_of_the_weights(self):
        """Kept in slices or whole, evaluated in the place of the weights, by eval as well."""
        ema = ["--set", "train.ema=0.95", "--set", "train.eval_every=10 steps"]
        one = self.train("ema1", 1, *ema)
        plain = self.train("noema", 1, "--set", "train.eval_every=10 steps")
        losses = [[e["loss"] for e in log if e["event"] == kind] for log in (one, plain) for kind in ("step", "eval")]
        self.assertEqual(losses[0], losses[2], "the weights themselves do not see their mean")
        self.assertEqual(len(losses[1]), 3)
        self.assertNotEqual(losses[1], losses[3])
        self.assertNotEqual(one[-1]["digest"], plain[-1]["digest"])
        self.same(one, self.train("ema3", 3, "--set", "run.threads=2", *ema), "3 ranks, running mean")
        self.same(one, self.train("ema2", 2, "--set", "train.shard_optimizer=false", *ema), "2 ranks, running mean, not sharded")
        muon = self.train("emamuon1", 1, *ema, "--set", "train.optimizer=muon")
        self.same(muon, self.train("emamuon3", 3, *ema, "--set", "train.optimizer=muon"), "3 ranks, running mean, whole parameters")
        done = self.run_it("eval", CONFIG, "--from", os.path.join(self.dir, "ema3"), "--json", *ema)
        self.check_code(done, 0)
        self.assertEqual(json.loads(done.out.splitlines()[-1])["loss"], losses[1][-1])

    def test_groups_and_first_values(self):
        rules = ["--set", "train.groups=[{match: conv1.*, frozen: true}, {match: '*.bias', lr: 2, weight_decay: 0.1}]", "--set", "train.weight_decay=0.01",
                 "--set", "train.init=[{match: 'conv*.weight', kind: orthogonal}, {match: '*.weight', kind: truncated_normal, value: 0.1}]", "--set", "train.ema=0.9", "--set", "train.clip_norm=1"]
        one = self.train("rules1", 1, *rules)
        self.same(one, self.train("rules3", 3, "--set", "run.threads=2", *rules), "3 ranks, rules")
        # A norm that all of the learned range counts in, and nothing before it.
        clipped = [*rules, "--set", "train.clip_norm=1e-3"]
        norms = [[e["grad_norm"] for e in self.train(f"clipped{n}", n, *clipped) if e["event"] == "step"] for n in (1, 3)]
        self.assertEqual(*norms)
        start = self.train("start", 1, *rules, "--set", "train.steps=1")
        self.assertNotEqual(start[-1]["digest"], one[-1]["digest"])
        checkpoints = [os.path.join(self.dir, name, "checkpoints", f"step-{step:08d}") for name, step in (("start", 1), ("rules1", 30))]
        diff = self.run_it("checkpoint", "diff", *checkpoints, "--json")
        self.check_code(diff, 1)
        differ = {a["name"] for a in json.loads(diff.out)["differ"]}
        self.assertIn("weights/conv2/weight", differ)
        self.assertFalse({n for n in differ if n.startswith(("weights/conv1/", "ema/conv1/"))}, "frozen")

    def test_schedules_and_changed_gradients(self):
        """What evaluations decide, and what is done to the gradient, is the same on any number of ranks."""
        config = os.path.join(SOURCE, "configs", "digits-mlp.yaml")
        plateau = ["--set", "train.lr={peak: 0.01, warmup: 2, decay: plateau, patience: 1, threshold: 0.9, factor: 0.5}", "--set", "train.eval_every=4 steps"]
        for name, options in (
            ("plateau", plateau),
            ("one_cycle", ["--set", "train.lr={peak: 0.01, decay: one_cycle}"]),
            ("wsd", ["--set", "train.lr={peak: 0.01, decay: wsd, decay_share: 0.5}"]),
            ("polynomial", ["--set", "train.lr={peak: 0.01, decay: polynomial}"]),
            ("changed", ["--set", "train.clip_value=0.002", "--set", "train.gradient_noise=1e-4", "--set", "train.clip_norm=1"]),
        ):
            with self.subTest(name):
                short = [*options, "--set", "train.steps=24", "--set", "train.log_every=1 steps"]
                one = self.train(f"{name}1", 1, *short, config=config, steps=[])
                self.same(one, self.train(f"{name}3", 3, *short, "--set", "run.threads=2", config=config, steps=[]), f"3 ranks, {name}")
                self.same(one, self.train(f"{name}2", 2, *short, "--set", "train.shard_optimizer=false", config=config, steps=[]), f"2 ranks, {name}")
                rates = [e["lr"] for e in one if e["event"] == "step"]
                self.assertEqual(len(rates), 24)
                if name == "plateau":
                    # No loss is a tenth of the first, so that after it each evaluation halves the rate.
                    self.assertEqual(rates[3:24:4], [0.01, 0.01, 0.005, 0.0025, 0.00125, 0.000625])

    def test_other_seeds_and_microbatches_give_other_bits(self):
        """The comparison above means something: what should change the bits does."""
        one = self.train("a", 1)
        self.assertNotEqual(one[-1]["digest"], self.train("b", 1, "--set", "run.seed=2")[-1]["digest"])
        self.assertNotEqual(one[-1]["digest"], self.train("c", 1, "--set", "train.microbatches=4")[-1]["digest"])


if __name__ == "__main__":
    unittest.main()
