"""lockstep predict: what it writes, in which order, at any number of ranks; samples from noise; the pictures; what it refuses."""
import json
import math
import os
import re
import shutil
import struct
import subprocess
import unittest
import zlib

import lockstep

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CONFIG = os.path.join(SOURCE, "configs", "digits-cnn.yaml")


def read_png(path):
    """(width, height, channels, rows of bytes) of an 8-bit PNG."""
    with open(path, "rb") as f:
        data = f.read()
    at, idat, head = 8, b"", None
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        head = body if kind == b"IHDR" else head
        idat += body if kind == b"IDAT" else b""
        at += 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", head[:10])
    channels = {0: 1, 2: 3}[colour]
    raw, rows, n = zlib.decompress(idat), [], width * channels
    for y in range(height):
        how, line = raw[y * (n + 1)], bytearray(raw[y * (n + 1) + 1:(y + 1) * (n + 1)])
        for x in range(n):
            a = line[x - channels] if x >= channels else 0
            b = rows[y - 1][x] if y > 0 else 0
            c = rows[y - 1][x - channels] if y > 0 and x >= channels else 0
            p = a + b - c
            paeth = min((a, b, c), key=lambda v: abs(p - v))
            line[x] = (line[x] + [0, a, b, (a + b) // 2, paeth][how]) & 255
        rows.append(line)
    return width, height, channels, rows


class Predict(lockstep.Case):
    def dump(self, path, field):
        """Values of a field, flat, as h5dump tells them."""
        try:
            done = subprocess.run(["h5dump", "-y", "-w", "1", "-m", "%.9g", "-d", field, path], check=True, capture_output=True, text=True)
        except FileNotFoundError:
            self.skipTest("h5dump is not installed (package hdf5-tools)")
        return [float(v) for v in re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", done.stdout.split("DATA {")[1].split("}")[0])]

    def trained(self, config=CONFIG, *options):
        run_dir = self.path("run")
        self.check_code(self.run_it("train", config, "--run-dir", run_dir, "--set", "train.epochs=2", *options, timeout=120), 0)
        return run_dir

    def predict(self, name, *options, ranks=1, config=CONFIG):
        args = ["predict", config, "--from", self.path("run"), "--out", self.path(name), "--json", *options]
        done = self.run_it(*(["launch", "-n", str(ranks)] if ranks > 1 else []), *args)
        self.check_code(done, 0)
        return done.events("predict")[0]

    def test_classes(self):
        self.trained(CONFIG)
        nowhere = ["--set", "data.train=/nowhere/*.h5"]
        event = self.predict("one.h5", *nowhere)
        self.assertEqual((event["samples"], event["path"]), (360, self.path("one.h5")))
        labels, values = self.dump(self.path("one.h5"), "label"), self.dump(self.path("one.h5"), "prediction")
        truth = self.dump(os.path.join(SOURCE, "data/digits/valid-000.h5"), "label")
        self.assertEqual((len(labels), len(values), len(truth)), (360, 3600, 360))
        right = sum(a == b for a, b in zip(labels, truth)) / 360
        evaluated = self.run_it("eval", CONFIG, "--from", self.path("run"), "--json", *nowhere).events("eval")[0]
        self.assertAlmostEqual(right, evaluated["accuracy"], 12)
        self.assertGreater(right, 0.5)
        rows = [values[10 * i:10 * i + 10] for i in range(360)]
        self.assertEqual([row.index(max(row)) for row in rows], labels)
        confidence = sum(1 / sum(math.exp(v - max(row)) for v in row) for row in rows) / 360
        self.assertAlmostEqual(event["confidence"], confidence, 6)
        self.assertEqual(event["classes"], [labels.count(k) / 360 for k in range(10)])
        loss = sum(math.log(sum(math.exp(v) for v in row)) - row[int(t)] for row, t in zip(rows, truth)) / 360
        self.assertAlmostEqual(loss, evaluated["loss"], 5)
        # The same file from any number of ranks; of some samples, the first.
        with open(self.path("one.h5"), "rb") as f:
            one = f.read()
        for ranks in (3, 8):
            self.predict("many.h5", ranks=ranks)
            with open(self.path("many.h5"), "rb") as f:
                self.assertEqual(f.read(), one, f"{ranks} ranks")
        self.assertEqual(self.predict("some.h5", "--samples", "70", ranks=2)["samples"], 70)
        self.assertEqual(self.dump(self.path("some.h5"), "prediction"), values[:700])
        self.assertEqual(self.predict("all.h5", "--samples", "1000")["samples"], 360)
        done = self.run_it("predict", CONFIG, "--from", self.path("run"), "--out", self.path("one.h5"))
        self.check_code(done, 0)
        self.assertRegex(done.out, r"^360 predictions in .*one.h5, confidence \d+\.\d\d %\n$")
        self.check_nothing_left(".")

    def test_running_means_predict(self):
        ema = ["--set", "train.ema=0.95"]
        self.trained(CONFIG, *ema)
        values = [self.dump(self.path(n), "prediction") for n in ("mean.h5", "plain.h5") if self.predict(n, *(ema if n == "mean.h5" else []))]
        self.assertNotEqual(*values)

    PICTURES = """\
data: {train: p.h5, valid: p.h5, input: x, target: x}
model: [flatten, {linear: {units: %d, bias: false}}%s]
train: {objective: regress, batch: 16, microbatches: 4, epochs: 1, lr: 1e-9}
"""

    def test_pictures_in_a_grid(self):
        self.make_h5("p.h5", "x=float32[70,3,4,5]:rand")
        config = self.write("run.yaml", self.PICTURES % (60, ", {reshape: [3, 4, 5]}"))
        self.trained(config)
        event = self.predict("p.h5.out", "--grid", self.path("g.png"), ranks=2, config=config)
        self.assertNotIn("classes", event)
        values = self.dump(self.path("p.h5.out"), "prediction")
        width, height, channels, rows = read_png(self.path("g.png"))
        self.assertEqual((width, height, channels), (8 * 6 - 1, 8 * 5 - 1, 3))
        shown = values[:64 * 60]
        low, top = min(shown), max(shown)
        self.assertLess(low, 0)
        for i in (0, 7, 8, 63):
            for c, y, x in ((0, 0, 0), (1, 2, 3), (2, 3, 4)):
                v = values[i * 60 + (c * 4 + y) * 5 + x]
                is_ = rows[i // 8 * 5 + y][(i % 8 * 6 + x) * 3 + c]
                self.assertLessEqual(abs(255 * (v - low) / (top - low) - is_), 0.51)
        self.assertEqual([rows[4][x] for x in range(3 * width)], [0] * 3 * width)  # between the lines
        # Flat squares of values from 0 to 1 stand as they are.
        self.make_h5("p.h5", "x=float32[20,16]:rand")
        config = self.write("run.yaml", self.PICTURES % (16, ", sigmoid"))
        os.rename(self.path("run"), self.path("before"))
        self.trained(config)
        self.predict("p.h5.out", "--grid", self.path("g.png"), "--samples", "9", config=config)
        values = self.dump(self.path("p.h5.out"), "prediction")
        width, height, channels, rows = read_png(self.path("g.png"))
        self.assertEqual((width, height, channels), (8 * 5 - 1, 2 * 5 - 1, 1))
        self.assertLessEqual(abs(255 * values[8 * 16 + 6] - rows[5 + 1][2]), 0.51)

    MADE_UP = """\
data: {train: p.h5, valid: p.h5}
model: %s
train: {%s, batch: 16, microbatches: 4, epochs: 2, lr: 0.01}
"""
    VAE = """
  encoder: [flatten, {linear: 12}, relu, {gaussian: 3}]
  decoder: [{linear: 12}, relu, {linear: 20}]"""
    GAN = """
  generator: [{linear: 40}, batch_norm, relu, {linear: 20}, tanh, {reshape: [1, 4, 5]}]
  discriminator: [flatten, {linear: 8}, leaky_relu, {linear: 1}]"""

    def test_samples_from_noise(self):
        """Of a vae and a gan: sample k is the same, whatever the number of samples, ranks and, but for rounding, of the rows that go with it."""
        self.make_h5("p.h5", "image=float32[48,1,4,5]:rand")
        for kind, model, train in (("vae", self.VAE, "objective: vae, loss: bce"), ("gan", self.GAN, "objective: gan, gan: {latent: 3}")):
            with self.subTest(kind):
                config = self.write("run.yaml", self.MADE_UP % (model, train))
                if os.path.exists(self.path("run")):
                    os.rename(self.path("run"), self.path("before"))
                self.trained(config)
                event = self.predict("a.h5", "--grid", self.path("g.png"), config=config)
                self.assertEqual(event["samples"], 64)
                self.assertNotIn("classes", event)
                values = self.dump(self.path("a.h5"), "prediction")
                self.assertEqual(len(values), 64 * 20)
                rows = {tuple(values[20 * i:20 * i + 20]) for i in range(64)}
                self.assertEqual(len(rows), 64, "each sample is another")
                for samples, ranks in ((70, 1), (70, 4), (5, 3)):
                    self.assertEqual(self.predict("b.h5", "--samples", str(samples), ranks=ranks, config=config)["samples"], samples)
                    some = self.dump(self.path("b.h5"), "prediction")
                    self.assertEqual(len(some), samples * 20)
                    n = min(samples, 64) * 20
                    self.assertEqual(some[:n], values[:n], f"{samples} samples, {ranks} ranks")
                # Statistics of the rows beside it would make a sample another one.
                self.predict("c.h5", "--set", "train.batch=4", "--set", "train.microbatches=1", config=config)
                for a, b in zip(self.dump(self.path("c.h5"), "prediction"), values):
                    self.assertAlmostEqual(a, b, 5)
                width, height, channels, lines = read_png(self.path("g.png"))
                self.assertEqual((width, height, channels), (8 * 6 - 1, 8 * 5 - 1, 1))
                shown = [1 / (1 + math.exp(-v)) for v in values] if kind == "vae" else values
                low, top = (0, 1) if kind == "vae" else (min(values), max(values))
                for i in (0, 7, 8, 63):
                    for y, x in ((0, 0), (1, 2), (3, 4)):
                        v = shown[i * 20 + y * 5 + x]
                        self.assertLessEqual(abs(255 * (v - low) / (top - low) - lines[i // 8 * 5 + y][i % 8 * 6 + x]), 0.51)

    def test_a_vae_of_one_list_predicts_its_input(self):
        self.make_h5("p.h5", "image=float32[48,1,4,5]:rand")
        config = self.write("run.yaml", self.MADE_UP % ("[flatten, {gaussian: 3}, {linear: 20}]", "objective: vae, loss: bce"))
        self.trained(config)
        self.assertEqual(self.predict("a.h5", config=config)["samples"], 48)

    def test_what_is_to_be_predicted_need_not_be_known(self):
        """Data without the target field gives the same predictions as with it; what lies in it is not looked at."""
        self.make_h5("p.h5", "x=float32[70,6]:rand", "y=int64[70]:mod3", "z=float32[70,2]:rand", "s=int64[70,6]:mod3", "t=int64[70,1,6]:mod3")
        self.make_h5("x.h5", "x=float32[70,6]:rand")
        self.make_h5("wrong.h5", "x=float32[70,6]:rand", "y=float32[70,5]:rand", "z=float32[70,9]:rand", "s=int64[70]:rand", "t=int64[70,6]:rand")
        for objective, target, model in (("classify", "y", "[{linear: 3}]"), ("classify, loss: hinge", "y", "[{linear: 3}]"), ("regress", "z", "[{linear: 2}]"),
                                         ("multilabel", "z", "[{linear: 2}]"), ("sequence_label", "s", "[{linear: 18}, {reshape: [6, 3]}]"),
                                         ("segment", "t", "[{linear: 18}, {reshape: [3, 1, 6]}]")):
            with self.subTest(objective):
                shutil.rmtree(self.path("run"), ignore_errors=True)
                config = self.write("run.yaml", f"data: {{train: p.h5, valid: p.h5, input: x, target: {target}}}\nmodel: {model}\n"
                                                f"train: {{objective: {objective}, batch: 16, microbatches: 4, epochs: 1, lr: 0.1}}\n")
                self.trained(config)
                self.predict("with.h5", config=config)
                values = self.dump(self.path("with.h5"), "prediction")
                self.assertGreater(len(set(values)), 50)
                for data in ("x.h5", "wrong.h5"):
                    self.predict("without.h5", "--set", f"data.valid={data}", ranks=2, config=config)
                    self.assertEqual(self.dump(self.path("without.h5"), "prediction"), values, data)
                done = self.run_it("eval", config, "--from", self.path("run"), "--set", "data.valid=x.h5")
                self.check_code(done, lockstep.INPUT)
                self.check_one_line(done, f'"{target}"')

    def test_the_end_of_a_series_is_forecast(self):
        """Windows whose target lies beyond the end of the series are predicted, too: they are what a forecast is made for."""
        self.make_h5("p.h5", "x=float32[40,2]:rand")
        self.make_h5("known.h5", "x=float32[40,2]:rand")
        config = self.write("run.yaml", """\
data: {train: p.h5, valid: known.h5, input: x, target: x, sequence: {length: 8, stride: 1, ahead: 8, target_length: 4}}
model: [flatten, {linear: 8}, {reshape: [4, 2]}]
train: {objective: regress, batch: 8, microbatches: 4, epochs: 1, lr: 0.01}
""")
        self.trained(config)
        evaluated = self.run_it("eval", config, "--from", self.path("run"), "--json").events("eval")[0]
        self.assertEqual(evaluated["samples"], 40 - 8 - 4 + 1)
        self.assertEqual(self.predict("a.h5", config=config)["samples"], 40 - 8 + 1)

    def test_streams(self):
        self.make_h5("p.h5", "x=float32[70,4,4]:rand")
        config = self.write("run.yaml", self.PICTURES % (16, ""))
        same = ["--set", "data.target=x"]
        self.trained(config, *same)
        self.predict("a.h5", config=config)
        # 16 streams of 4: the last 6 samples are left out, the others stand in their order.
        event = self.predict("b.h5", "--set", "data.order=streams", ranks=2, config=config)
        self.assertEqual(event["samples"], 64)
        self.assertEqual(self.dump(self.path("b.h5"), "prediction"), self.dump(self.path("a.h5"), "prediction")[:64 * 16])

    def test_errors(self):
        self.trained(CONFIG)
        for options, *parts in (
            (["--out", "/nowhere/p.h5"], "/nowhere/p.h5: create: No such file"),
            (["--out", "p.h5", "--grid", "g.png"], "--grid: predictions are [10] of classes, no pictures"),
            (["--out", "p.h5", "--from", "/nowhere"], "/nowhere"),
            (["--out", "p.h5", "--samples", "0"], "--samples"),
            ([], "--out"),
        ):
            with self.subTest(parts[0]):
                done = self.run_it("predict", CONFIG, "--run-dir", self.path("run"), *options)
                self.check_code(done, lockstep.INPUT)
                self.check_one_line(done, *parts)
                self.assertEqual([n for n in os.listdir(self.dir) if "p.h5" in n or "g.png" in n], [])
        done = self.run_it("launch", "-n", "2", "predict", CONFIG, "--run-dir", self.path("run"), "--out", "p.h5", "--grid", "/nowhere/g.png", "--set",
                           "data.valid=/nowhere.h5")
        self.check_code(done, lockstep.INPUT)


if __name__ == "__main__":
    unittest.main()
