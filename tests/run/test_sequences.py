"""The ready configs of texts, recordings and sequences learn, on small data that is made here, in a few steps."""
import json
import math
import os
import random
import shutil
import struct
import unittest
import wave

import lockstep

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LINES = ["Who rides so late through night and wind?", "It is the father with his child.", "He holds the boy within his arm,",
         "He clasps him tight, he keeps him warm."]


class Sequences(lockstep.Case):
    def learn(self, name, *sets):
        """Evaluations of a run of configs/NAME.yaml, which finds its data in ../data, and how it ended."""
        os.makedirs(self.path("configs"), exist_ok=True)
        config = shutil.copy(os.path.join(SOURCE, "configs", name + ".yaml"), self.path("configs"))
        done = self.run_it("train", config, "--run-dir", self.path("run"), "--json", *[w for s in sets for w in ("--set", s)], timeout=300)
        self.check_code(done, 0)
        return [json.loads(line) for line in done.out.splitlines() if json.loads(line)["event"] == "eval"]

    def data(self, *words):
        self.check_code(self.run_it("data", *words), 0)

    def folder(self, name):
        os.makedirs(self.path("data", name))
        return self.path("data", name)

    def text(self, name, lines=400):
        """Verses in an order without a rule: within a line nearly all is known, so that a loss far below that of single characters is soon reached."""
        draw = random.Random(1)
        at = self.folder(name)
        source = self.write("input.txt", "".join(draw.choice(LINES) + "\n" for _ in range(lines)))
        self.data("import", "text", source, os.path.join(at, "train.h5"), "--split", "0.8", "--rest", os.path.join(at, "valid.h5"))

    def check_characters(self, name, *sets):
        evals = self.learn(name, "train.log_every=20 steps", "train.eval_every=1 epoch", *sets)
        # By their shares alone, the characters of these lines have an entropy of 2.9.
        self.assertGreater(evals[0]["loss"], evals[-1]["loss"])
        self.assertLess(evals[-1]["loss"], 1.5)

    def test_char_lstm(self):
        self.text("shakespeare")
        self.check_characters("char-lstm", "model.1.lstm.units=64", "train.batch=8", "train.epochs=9", "train.lr.warmup=5")

    def test_char_gru(self):
        self.text("shakespeare")
        self.check_characters("char-gru", "model.1.gru.units=64", "train.batch=8", "train.epochs=6", "train.lr.warmup=5")

    def test_char_gpt(self):
        self.text("shakespeare")
        self.check_characters("char-gpt", "model.3.repeat.times=2", "data.sequence.length=32", "data.sequence.stride=32", "train.batch=16", "train.epochs=3",
                              "train.lr.warmup=5")

    def test_gpt2_124m(self):
        self.text("text", lines=60)
        small = ["model.0.embedding.size=65", "model.0.embedding.units=32", "model.3.repeat.times=2", "model.5.linear.units=65",
                 "model.3.repeat.layers.0.residual.1.attention.heads=4", "model.3.repeat.layers.1.residual.1.linear.units=128",
                 "model.3.repeat.layers.1.residual.3.linear.units=32", "data.sequence.length=16", "train.batch=16", "train.microbatches=8",
                 "train.steps=6", "train.eval_every=3 steps", "train.lr.warmup=2"]
        evals = self.learn("gpt2-124m", *small)
        self.assertLess(evals[-1]["loss"], evals[0]["loss"])
        # At first all ids are about as likely.
        self.assertAlmostEqual(evals[0]["loss"], math.log(65), delta=0.3)

    def test_gpt2_124m_as_large_as_it_is(self):
        config = os.path.join(SOURCE, "configs", "gpt2-124m.yaml")
        made_up = ["data.train=null", "data.valid=null", "data.sequence=null",
                   "data.synthetic={input: [1024], classes: 50257, vocabulary: 50257}"]
        done = self.run_it("plan", config, "--json", *[w for s in made_up for w in ("--set", s)])
        self.check_code(done, 0)
        # wte and wpe, 12 layers of two norms, qkv, out, up and down, and the last norm: what the published checkpoint has.
        layer = 2 * 2 * 768 + 768 * 2304 + 2304 + 768 * 768 + 768 + 768 * 3072 + 3072 + 3072 * 768 + 768
        self.assertEqual(json.loads(done.out)["weights"], 50257 * 768 + 1024 * 768 + 12 * layer + 2 * 768)

    def test_speech_gru(self):
        """Each digit is a tone of its own, with noise, that lasts between a fifth and two fifths of a second."""
        draw = random.Random(2)
        at, recordings = self.folder("fsdd"), self.path("recordings")
        os.makedirs(recordings)
        for digit in range(10):
            for number in range(12):
                n = draw.randrange(1600, 3200)
                tone = [6000 * math.sin(2 * math.pi * (300 + 300 * digit) * t / 8000) + draw.gauss(0, 600) for t in range(n)]
                with wave.open(os.path.join(recordings, f"{digit}_anna_{number}.wav"), "wb") as f:
                    f.setparams((1, 2, 8000, n, "NONE", ""))
                    f.writeframes(struct.pack(f"<{n}h", *map(int, tone)))
        self.data("import", "wav", recordings, os.path.join(at, "train.h5"), "--except", "*_[0-4].wav")
        self.data("import", "wav", recordings, os.path.join(at, "test.h5"), "--match", "*_[0-4].wav")
        evals = self.learn("speech-gru", "model.0.gru.units=32", "train.epochs=12", "train.batch=8", "train.eval_every=4 epochs", "train.lr.warmup=5")
        self.assertEqual(evals[-1]["samples"], 50)
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.9)

    def test_sms_spam(self):
        draw = random.Random(3)
        at = self.folder("sms")
        words = {"ham": "see you at home for dinner then my dear".split(), "spam": "WIN cash NOW txt 80086 FREE prize claim".split()}
        lines = []
        for _ in range(400):
            label = draw.choice(["ham", "spam"])
            lines.append(label + "\t" + " ".join(draw.choice(words[label]) for _ in range(draw.randrange(2, 7))) + "\n")
        source = self.write("messages", "".join(lines))
        self.data("import", "labelled-text", source, os.path.join(at, "train.h5"), "--max-length", "40", "--split", "0.8", "--rest",
                  os.path.join(at, "valid.h5"))
        evals = self.learn("sms-spam", "model.1.gru.units=16", "train.batch=16", "train.epochs=3", "train.lr.warmup=5")
        self.assertEqual(evals[-1]["samples"], 80)
        self.assertGreaterEqual(evals[-1]["accuracy"], 0.95)

    def test_seq2seq_transformer(self):
        at = self.folder("dates")
        self.data("generate", "dates", "--samples", "3000", "--seed", "1", os.path.join(at, "train.h5"), "--split", "0.9", "--rest",
                  os.path.join(at, "valid.h5"))
        evals = self.learn("seq2seq-transformer", "train.batch=32", "train.lr.warmup=20", "train.epochs=2")
        self.assertEqual(evals[-1]["samples"], 300)
        # Without a look at the source, the dashes, the end and a digit of the century are right: about half.
        self.assertGreater(evals[-1]["accuracy"], 0.7)


if __name__ == "__main__":
    unittest.main()
