"""Real data, known answers."""
import glob
import json
import math
import os
import random
import shutil
import unittest

import lockstep

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

MNIST = os.path.join(SOURCE, "..", "shared", "data", "mnist")
FASHION = "/usr/share/datasets/fashion-mnist"


# What makes the configs that are for GPUs small enough for a processor.
FOR_GPUS = {
    "gpt2-124m.yaml": ["train.batch=1", "data.synthetic.input=[32]", "model.2.repeat.times=1", "model.0.embedding.units=64",
                       "model.2.repeat.layers.0.residual.1.attention.heads=4", "model.2.repeat.layers.1.residual.3.linear=64"],
    "resnet50.yaml": ["train.batch=2", "data.synthetic.input=[3,64,64]", "data.synthetic.samples=8"],
}


class Learning(lockstep.Case):
    def learn(self, config, *options, timeout=600):
        run_dir = os.path.join(self.dir, "run")
        done = self.run_it("train", config, "--run-dir", run_dir, "--json", *options, timeout=timeout)
        self.check_code(done, 0)
        events = [json.loads(line) for line in done.out.splitlines()]
        return [e for e in events if e["event"] == "eval"], run_dir

    def import_idx(self, source, dest, train, test):
        os.makedirs(dest)
        for images, labels, out in ((train[0], train[1], "train.h5"), (test[0], test[1], "test.h5")):
            done = self.run_it("data", "import", "idx", os.path.join(source, images), os.path.join(source, labels), os.path.join(dest, out))
            self.check_code(done, 0)

    def config_beside(self, name, data):
        """A copy of a config in a folder whose ../data is ours."""
        folder = os.path.join(self.dir, "configs")
        os.makedirs(folder, exist_ok=True)
        return shutil.copy(os.path.join(SOURCE, "configs", name), folder)

    def test_digits_cnn(self):
        evals, run_dir = self.learn(os.path.join(SOURCE, "configs", "digits-cnn.yaml"), "--set", "run.threads=2")
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.97)
        again = self.run_it("eval", os.path.join(SOURCE, "configs", "digits-cnn.yaml"), "--from", run_dir, "--json")
        self.check_code(again, 0)
        self.assertEqual(json.loads(again.out.splitlines()[-1])["accuracy"], evals[-1]["accuracy"])

    def test_digits_mlp(self):
        evals, _ = self.learn(os.path.join(SOURCE, "configs", "digits-mlp.yaml"))
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.90)

    @unittest.skipUnless(os.path.isdir(MNIST), f"the MNIST files are not at {MNIST}")
    def test_mnist(self):
        names = [("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"), ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")]
        self.import_idx(MNIST, os.path.join(self.dir, "data", "mnist"), *names)
        config = self.config_beside("mnist-cnn.yaml", "mnist")
        evals, _ = self.learn(config, "--set", "run.threads=2")
        self.assertLessEqual(evals[-1]["epoch"], 5)
        self.assertEqual(evals[-1]["samples"], 10000)
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.99)
        config = self.config_beside("mnist-mlp.yaml", "mnist")
        shutil.rmtree(os.path.join(self.dir, "run"))
        evals, _ = self.learn(config, "--set", "run.threads=2", "--set", "train.epochs=1")
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.94)

    @unittest.skipUnless(os.path.isdir(FASHION), f"the package dataset-fashion-mnist is not installed ({FASHION})")
    def test_fashion(self):
        def find(part):
            return os.path.basename(glob.glob(os.path.join(FASHION, f"*{part}*"))[0])
        names = [(find("train-images"), find("train-labels")), (find("t10k-images"), find("t10k-labels"))]
        self.import_idx(FASHION, os.path.join(self.dir, "data", "fashion-mnist"), *names)
        evals, _ = self.learn(self.config_beside("fashion-cnn.yaml", "fashion-mnist"), "--set", "run.threads=2", "--set", "train.epochs=1")
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.80)

    def test_adult(self):
        """The config of the table, on one that the test writes: a category and numbers, whose weighted sum decides, but for one row in twenty."""
        random.seed(1)
        for part, rows in (("train", 3000), ("test", 1000)):
            lines = []
            for _ in range(rows):
                x, kind = [random.gauss(10 * k, k + 1) for k in range(4)], random.choice("abc")
                above = x[0] + (x[1] - 10) / 2 - (x[3] - 30) / 4 + "abc".index(kind) - 1 > 0
                lines.append(",".join([*(f"{v:.4f}" for v in x), kind, "no yes".split()[above != (random.random() < 0.05)]]))
            self.write(part + ".csv", "\n".join(lines) + "\n")
        os.makedirs(self.path("data", "adult"))
        how = [["--one-hot", "auto", "--standardize"], ["--like", self.path("data", "adult", "train.h5")]]
        for part, options in zip(("train", "test"), how):
            self.check_code(self.run_it("data", "import", "csv", self.path(part + ".csv"), self.path("data", "adult", part + ".h5"), "--named-classes", *options), 0)
        evals, _ = self.learn(self.config_beside("adult-tabular.yaml", "adult"))
        self.assertEqual(evals[-1]["samples"], 1000)
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.90)

    def test_forecast(self):
        """The config of the series, on one that the test writes: days and noise. Before it learns, it repeats the last value."""
        random.seed(1)
        rows = [[math.sin(2 * math.pi * (t + 3 * k) / 24) + random.gauss(0, 0.1) for k in range(7)] for t in range(1500)]
        os.makedirs(self.path("data", "etth1"))
        for part, some in (("train", rows[:1000]), ("valid", rows[1000:])):
            self.write(part + ".csv", "\n".join(",".join(f"{v:.6f}" for v in row) for row in some) + "\n")
            out = self.path("data", "etth1", part + ".h5")
            self.check_code(self.run_it("data", "import", "csv", self.path(part + ".csv"), out, "--label-column", "none", "--input", "values"), 0)
        y = [float(f"{row[6]:.6f}") for row in rows[1000:]]
        errors = [(y[t + 96 + i] - y[t + 95]) ** 2 for t in range(len(y) - 119) for i in range(24)]
        config = self.config_beside("etth1-forecast.yaml", "etth1")
        evals, run_dir = self.learn(config, "--set", "train.steps=1", "--set", "train.lr.peak=1e-30")
        self.assertEqual(evals[-1]["samples"], len(y) - 119)
        self.assertAlmostEqual(evals[-1]["loss"], sum(errors) / len(errors), 5)
        shutil.rmtree(run_dir)
        evals, _ = self.learn(config)
        self.assertLess(evals[-1]["loss"], 0.03)

    def test_bench_configs(self):
        for config in sorted(glob.glob(os.path.join(SOURCE, "configs", "bench", "*.yaml"))):
            small = [word for key in FOR_GPUS.get(os.path.basename(config), []) for word in ("--set", key)]
            done = self.run_it("bench", "step", config, "--warmup", "1", "--steps", "2", "--json", *small)
            self.check_code(done, 0)
            row = json.loads(done.out.splitlines()[-1])
            self.assertGreater(row["samples_per_s"], 0)
            self.assertGreater(row["gflops"], 0)
            self.assertLessEqual(row["ms_min"], row["ms_median"])


if __name__ == "__main__":
    unittest.main()
