"""Models that make samples, on Fashion-MNIST: what their losses reach, and what a classifier sees in the samples."""
import math
import os
import random
import shutil
import struct
import unittest

import lockstep
import test_learning
import test_predict

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FASHION = test_learning.FASHION
PARTS = {"train": "train", "test": "t10k"}


@unittest.skipUnless(os.path.isdir(FASHION), f"the package dataset-fashion-mnist is not installed ({FASHION})")
class Generative(lockstep.Case):
    dump = test_predict.Predict.dump

    def setUp(self):
        super().setUp()
        names = {part: [os.path.join(FASHION, next(n for n in sorted(os.listdir(FASHION)) if f"{prefix}-{what}" in n)) for what in ("images", "labels")]
                 for part, prefix in PARTS.items()}
        # Where the configs look: as MNIST, and as itself.
        for folder in ("mnist", "fashion-mnist"):
            os.makedirs(self.path("data", folder))
        for part, files in names.items():
            self.check_code(self.run_it("data", "import", "idx", *files, self.path("data", "mnist", part + ".h5")), 0)
            os.link(self.path("data", "mnist", part + ".h5"), self.path("data", "fashion-mnist", part + ".h5"))
        os.makedirs(self.path("configs"))

    def config(self, name):
        return shutil.copy(os.path.join(SOURCE, "configs", name + ".yaml"), self.path("configs"))

    def train(self, name, steps, *options):
        done = self.run_it("train", self.config(name), "--run-dir", self.path(name), "--json", "--set", "run.threads=2", "--set", f"train.steps={steps}", *options, timeout=300)
        self.check_code(done, 0)
        return done.events("eval")[-1]

    def predict(self, name, out, *options):
        done = self.run_it("predict", self.config(name), "--from", self.path(name), "--out", self.path(out), "--json", *options)
        self.check_code(done, 0)
        return done.events("predict")[0]

    def as_pictures(self, name, values):
        """A file of pictures from 0 to 1 that a classifier's config reads as it reads its own data."""
        pixels = bytes(min(255, max(0, round(255 * v))) for v in values)
        n = len(pixels) // 784
        self.write(name + "-images", struct.pack(">IIII", 0x803, n, 28, 28) + pixels)
        self.write(name + "-labels", struct.pack(">II", 0x801, n) + bytes(n))
        self.check_code(self.run_it("data", "import", "idx", self.path(name + "-images"), self.path(name + "-labels"), self.path(name + ".h5")), 0)
        return self.path(name + ".h5")

    def test_vae(self):
        start = self.train("mnist-vae", 1)
        shutil.rmtree(self.path("mnist-vae"))
        end = self.train("mnist-vae", 300)
        # 784 pixels that are each a coin's throw would be 543 nats.
        self.assertGreater(start["loss"], 500)
        self.assertLess(end["loss"], 280)
        self.assertGreater(end["kl_loss"], 5, "the latent vector tells something of the picture")
        self.assertEqual(end["samples"], 10000)

    def score(self, pictures):
        """(inception score, classes seen): e to the mutual information of picture and class as a classifier of real pictures sees it (Salimans et al. 2016),
        1 where it says the same of all pictures, or of none anything, up to 10; and how many of the 10 classes at least one in 50 is taken for."""
        event = self.predict("fashion-cnn", "classes.h5", "--set", f"data.valid={pictures}")
        values = self.dump(self.path("classes.h5"), "prediction")
        shares = []
        for i in range(0, len(values), 10):
            e = [math.exp(v - max(values[i:i + 10])) for v in values[i:i + 10]]
            shares.append([v / sum(e) for v in e])
        n = len(shares)
        mean = [sum(s[k] for s in shares) / n for k in range(10)]
        return math.exp(sum(p * math.log(p / m) for s in shares for p, m in zip(s, mean) if p > 0) / n), sum(c >= 0.02 for c in event["classes"])

    def test_gan(self):
        """What a classifier of real pictures sees in the samples lies between what it sees in noise and in real pictures."""
        self.train("fashion-cnn", 400)
        random.seed(1)
        noise = self.score(self.as_pictures("noise", [random.random() for _ in range(256 * 784)]))
        self.train("mnist-dcgan", 400)
        self.assertEqual(self.predict("mnist-dcgan", "samples.h5", "--samples", "256", "--grid", "grid.png")["samples"], 256)
        values = self.dump(self.path("samples.h5"), "prediction")
        self.assertEqual(len(values), 256 * 784)
        self.assertLessEqual(max(map(abs, values)), 1)
        made = self.score(self.as_pictures("made", [(v + 1) / 2 for v in values]))
        real = self.score(self.path("data", "fashion-mnist", "test.h5"))
        self.assertLess(noise[0], 1.3)
        self.assertGreater(made[0], 1.6)
        self.assertGreater(real[0], made[0])
        self.assertGreaterEqual(made[1], 6)
        self.assertEqual(real[1], 10)


if __name__ == "__main__":
    unittest.main()
