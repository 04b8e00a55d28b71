"""The ready configs for pictures, shortened: each learns, or at least runs, on data that is here."""
import glob
import os
import random
import re
import shutil
import struct
import unittest
import zlib

import lockstep

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

FASHION = "/usr/share/datasets/fashion-mnist"


def settings(**values):
    """settings(train__batch=4): --set train.batch=4"""
    return [text for key, value in values.items() for text in ("--set", f"{key.replace('__', '.')}={value}")]


def synthetic(shape, classes, samples=8):
    return settings(data__train="null", data__valid="null", data__synthetic__input=shape, data__synthetic__classes=classes,
                    data__synthetic__samples=samples)


def png(width, height, colour, pixels, palette=None):
    """A PNG file of 8 bits a channel; colour is 0 for gray, 2 for RGB, 3 for places in a palette."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    stride = len(pixels) // height
    rows = b"".join(b"\0" + pixels[y * stride:(y + 1) * stride] for y in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)) +
            (chunk(b"PLTE", palette) if palette else b"") + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class Vision(lockstep.Case):
    def config(self, name):
        """A copy of a config in a folder whose ../data and ../runs are the test's."""
        os.makedirs(self.path("configs"), exist_ok=True)
        os.makedirs(self.path("data"), exist_ok=True)
        if not os.path.exists(self.path("data", "digits")):
            os.symlink(os.path.join(SOURCE, "data", "digits"), self.path("data", "digits"))
        return shutil.copy(os.path.join(SOURCE, "configs", f"{name}.yaml"), self.path("configs"))

    def train(self, name, *options, run=None, timeout=300):
        done = self.run_it("train", self.config(name), "--run-dir", self.path("runs", run or name), "--json", *options, timeout=timeout)
        self.check_code(done, 0)
        return done

    def fashion(self, name, train, test):
        """The beginnings of Fashion-MNIST as files of the data folder called `name`."""
        os.makedirs(self.path("data", name))
        for part, file, rows in (("train", "train.h5", train), ("t10k", "test.h5", test)):
            images, labels = (glob.glob(os.path.join(FASHION, f"{part}-{what}*"))[0] for what in ("images", "labels"))
            self.check_code(self.run_it("data", "import", "idx", images, labels, self.path("data", name, file), "--rows", str(rows)), 0)

    def test_xor_perceptron(self):
        os.makedirs(self.path("data", "xor"))
        self.check_code(self.run_it("data", "import", "csv", os.path.join(SOURCE, "data", "xor", "xor.csv"), self.path("data", "xor", "train.h5"),
                                    "--classes"), 0)
        for seed in (1, 2):
            evals = self.train("xor-perceptron", "--set", f"run.seed={seed}", run=f"xor{seed}").events("eval")
            self.assertEqual((evals[-1]["accuracy"], evals[-1]["samples"]), (1.0, 4))
            self.assertLess(evals[-1]["loss"], 0.05)
        line = self.train("xor-perceptron", "--set", "model=[{linear: 2}]", run="line").events("eval")
        self.assertLess(line[-1]["accuracy"], 1, "one layer cannot")

    def test_lenet5_and_transfer(self):
        """Both on the digits of 8 x 8 pixels, which the layers in front of LeNet-5 enlarge."""
        with open(self.config("digits-transfer")) as f:
            enlarge = re.search(r"model:\n  - upsample:.*\n  - pad:.*\n", f.read()).group()
        with open(self.config("mnist-lenet5")) as f:
            text = f.read()
        for old, new in (("model:\n", enlarge), ("mnist/train.h5", "digits/train-*.h5"), ("mnist/test.h5", "digits/valid-*.h5"), ("  mean:", "  scale: 0.0625\n  mean:")):
            self.assertIn(old, text)
            text = text.replace(old, new)
        config = self.write("configs/lenet5.yaml", text)
        done = self.run_it("train", config, "--run-dir", self.path("runs", "mnist-lenet5"), "--json", timeout=300, *settings(
            train__lr__warmup=20, train__ema=0.95, run__threads=2))
        self.check_code(done, 0)
        self.assertGreaterEqual(done.events("eval")[-1]["accuracy"], 0.95)
        done = self.train("digits-transfer")
        self.assertEqual(done.events("init")[0]["loaded"], 12)
        transferred = done.events("eval")[-1]["accuracy"]
        self.assertGreaterEqual(transferred, 0.95)
        none = self.train("digits-transfer", "--set", "train.init_from.checkpoint=null", run="none").events("eval")[-1]["accuracy"]
        self.assertGreater(transferred, none, "the features came from the other run")

    @unittest.skipUnless(os.path.isdir(FASHION), f"the package dataset-fashion-mnist is not installed ({FASHION})")
    def test_autoencoder(self):
        self.fashion("mnist", 5000, 500)
        evals = self.train("mnist-autoencoder", *settings(train__epochs=2, train__batch=32, train__lr__warmup=10)).events("eval")
        self.assertEqual(evals[-1]["samples"], 500)
        self.assertLess(evals[-1]["loss"], 0.045)  # a picture of one gray has 0.125
        self.assertLess(evals[-1]["loss"], evals[0]["loss"])

    def test_unet(self):
        """Disks under noise: a pixel alone says little, its neighbourhood nearly all."""
        for file, rows in (("train.h5", 64), ("valid.h5", 32)):
            os.makedirs(self.path("data", "segments"), exist_ok=True)
            self.make_h5(os.path.join("data", "segments", file), f"image=float32[{rows},1,32,32]:disk", f"mask=uint8[{rows},32,32]:disk")
        evals = self.train("unet", *settings(train__epochs=5, train__lr__warmup=5, run__threads=2)).events("eval")
        self.assertEqual(evals[-1]["samples"], 32)
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.93)
        self.assertLess(evals[0]["accuracy"], evals[-1]["accuracy"])
        pixels = "[{conv: {filters: 16, kernel: 1}}, relu, {conv: {filters: 2, kernel: 1}}]"
        alone = self.train("unet", *settings(model=pixels, train__epochs=50, train__lr__warmup=5), run="alone").events("eval")[-1]["accuracy"]
        self.assertLess(alone, 0.85)

    def test_masks(self):
        """Bright disks whose pictures and masks are PNG files, 255 round the disk, imported in another size."""
        dice = random.Random(1)
        height, width = 40, 48
        for i in range(40):
            y0, x0, radius = dice.uniform(10, 30), dice.uniform(10, 38), dice.uniform(6, 10)
            away = [((y - y0) ** 2 + (x - x0) ** 2) ** 0.5 - radius for y in range(height) for x in range(width)]
            self.write(f"pictures/{i}.png", png(width, height, 2, bytes(v for a in away for v in ((200, 180, 160) if a < 0 else (90, 80, 100)))))
            self.write(f"masks/{i}.png", png(width, height, 3, bytes(255 if abs(a) < 1.5 else int(a < 0) for a in away), palette=bytes(768)))
        os.makedirs(self.path("data", "segments"))
        done = self.run_it("data", "import", "masks", "pictures", "masks", self.path("data", "segments", "train.h5"), "--size", "32,32", "--split", "0.8",
                           "--rest", self.path("data", "segments", "valid.h5"), "--classes", "2", "--ignore", "255")
        self.check_code(done, 0)
        self.assertIn("32 samples, image uint8 [32,3,32,32], mask uint8 [32,32,32]", done.out)
        self.assertTrue(done.out.endswith("classes 0 to 1, 255\n"), done.out)
        evals = self.train("unet", *settings(train__ignore=255, train__epochs=1, train__lr__warmup=1, run__threads=2)).events("eval")
        self.assertEqual(evals[-1]["samples"], 8)
        small = settings(model="[{conv: {filters: 8, kernel: 1}}, relu, {conv: {filters: 2, kernel: 1}}]", train__epochs=40, train__lr__warmup=1,
                         train__lr__peak="1e-2")
        evals = self.train("unet", *small, *settings(train__ignore=255), run="small").events("eval")
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.99)
        refused = self.run_it("train", self.config("unet"), "--run-dir", self.path("runs", "none"), *small)
        self.check_code(refused, lockstep.INPUT)
        self.assertIn("has class 255, but the model tells apart 2 classes (0 to 1)", refused.err)

    def test_vision_transformer(self):
        """Narrower, with patches of 2 x 2 pixels, on the digits."""
        with open(self.config("vit-small")) as f:
            text = f.read()
        for old, new in ((r"kernel: 16, stride: 16", "kernel: 2, stride: 2"), (r"\b384\b", "48"), (r"\b1536\b", "96"), (r"times: 12", "times: 2"),
                         (r"units: 1000", "units: 10"), (r"imagenet/train\.h5", "digits/train-*.h5"), (r"imagenet/valid\.h5", "digits/valid-*.h5"),
                         (r"mean: \[.*", "scale: 0.0625"), (r"  std: .*\n", ""), (r"value: 0.02", "value: 0.06")):
            text, n = re.subn(old, new, text)
            self.assertGreaterEqual(n, 1, old)
        config = self.write("vit.yaml", text.replace("../data", "data"))
        done = self.run_it("train", config, "--run-dir", self.path("run"), "--json", timeout=300, *settings(
            train__epochs=30, train__batch=64, train__microbatches=8, train__lr__peak="3e-3", train__lr__warmup=30, run__threads=2,
            data__augment="null", data__mix__mixup=0))
        self.check_code(done, 0)
        self.assertGreaterEqual(done.events("eval")[-1]["accuracy"], 0.85)

    def test_resnet20(self):
        """On the digits, which are smaller, but pictures."""
        evals = self.train("resnet20-cifar", *settings(
            data__train="../data/digits/train-*.h5", data__valid="../data/digits/valid-*.h5", data__scale=0.0625, data__mean=0, data__std=1,
            data__augment="null", train__batch=64, train__epochs=5, train__lr__warmup=20, run__threads=2)).events("eval")
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.88)

    def test_resnet20_pictures_of_its_size(self):
        """As CIFAR-10's binary version has them, from several files."""
        dice = random.Random(1)
        for name, n in (("data_batch_1.bin", 48), ("data_batch_2.bin", 16), ("test_batch.bin", 32)):
            self.write(name, b"".join(bytes([i % 10]) + dice.randbytes(3072) for i in range(n)))
        os.makedirs(self.path("data", "cifar10"))
        for files, out in ((("data_batch_1.bin", "data_batch_2.bin"), "train.h5"), (("test_batch.bin",), "test.h5")):
            self.check_code(self.run_it("data", "import", "cifar", *files, self.path("data", "cifar10", out)), 0)
        done = self.train("resnet20-cifar", *settings(train__epochs=2, train__batch=32, train__lr__warmup=2))
        self.assertEqual(done.events("end")[0]["step"], 4)
        self.assertEqual(done.events("eval")[-1]["samples"], 32)

    def test_imagenet_sized(self):
        """In its size it is planned; with smaller pictures, it learns eight of them by heart."""
        for name, count in (("alexnet", "61.0 M"), ("vgg11", "132.9 M"), ("resnet18", "11.7 M"), ("resnet50", "25.6 M"), ("vit-small", "22.0 M")):
            with self.subTest(name):
                plan = self.run_it("plan", self.config(name), *synthetic("[3,224,224]", 1000))
                self.check_code(plan, 0)
                self.assertIn(f"{name} on cpu: {count} weights", plan.out)
                done = self.train(name, *synthetic("[3,64,64]", 1000), *settings(
                    train__batch=8, train__microbatches=2, train__epochs=8, train__lr__peak="1e-3" if name == "vit-small" else "3e-3",
                    train__lr__warmup=2, train__log_every="1 step", data__augment="null", data__mix__mixup=0, run__threads=2, checkpoint__every="never"))
                losses = [e["loss"] for e in done.events("step")]
                self.assertEqual(len(losses), 8)
                self.assertLess(losses[-1], 0.85 * losses[0])


if __name__ == "__main__":
    unittest.main()
