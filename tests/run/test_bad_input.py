"""Wrong input ends a run before its first step: exit code 2, and one line that says where and what."""

import gzip
import os
import struct
import unittest

import lockstep

CONFIG = lockstep.CONFIG


class BadInput(lockstep.Case):
    def setUp(self):
        super().setUp()
        self.make_small()

    def check(self, result, *parts):
        self.check_code(result, lockstep.INPUT)
        self.assertEqual(result.out, "", str(result))
        self.check_one_line(result, *parts)
        for path in self.files("."):
            self.assertNotIn(os.path.basename(path), ("log.jsonl", "LATEST"), "the run has begun: %s" % result)

    def train(self, *words, config=None, **how):
        if config is not None:
            self.write("run.yaml", config)
        return self.run_it("train", "run.yaml", "--json", *words, **how)


class Config(BadInput):
    def change(self, old, new, *parts):
        self.assertIn(old, CONFIG)
        with self.subTest(new):
            self.check(self.train(config=CONFIG.replace(old, new)), *parts)

    def test_unknown_key(self):
        self.change("epochs: 2", "epoch: 2", "run.yaml:13:3", '"epoch"', 'did you mean "epochs"?')
        self.change("data:", "dta:", "run.yaml:2:1", '"dta"', 'did you mean "data"?')
        self.change("{units: 16}", "{unit: 16}", "run.yaml:7:14", '"unit"', 'did you mean "units"?')
        self.change("- relu", "- rleu", "run.yaml:8:5", "rleu", 'did you mean "relu"?')

    def test_wrong_type(self):
        self.change("batch: 16", "batch: many", "run.yaml:11:10", "train.batch", "whole number", '"many"')
        self.change("batch: 16", "batch: 1.5", "run.yaml:11:10", "whole number")
        self.change("batch: 16", "batch: [16]", "run.yaml:11:10", "list")
        self.change("seed: 1}", "seed: {a: 1}}", "run.yaml:1:26", "run.seed", "map")
        self.change("lr: 0.01", "lr: fast", "run.yaml:14:7", "lr", "number", '"fast"')

    def test_out_of_range(self):
        self.change("epochs: 2", "epochs: 0", "run.yaml:13:11", "train.epochs", "0 is out of range")
        self.change("lr: 0.01", "lr: -1", "run.yaml:14:7", "-1 is out of range")
        self.change("{units: 16}", "{units: 0}", "run.yaml:7:21", "out of range")
        self.change("lr: 0.01", "lr: 0.01\n  optimizer: adamx", "run.yaml:15:14", "adamx", 'did you mean "adamw"?')

    def test_missing(self):
        self.change("  batch: 16\n", "", "run.yaml:", '"train"', '"batch"')

    def test_not_yaml(self):
        self.change("model:", "model: [", "run.yaml:")
        self.change("epochs: 2", "epochs: 2\n  epochs: 3", "run.yaml:14:3", "epochs")

    def test_batch_and_microbatches(self):
        self.change("microbatches: 4", "microbatches: 3", "run.yaml:11:10", "train.batch: 16 is not a multiple of train.microbatches, 3")

    def test_no_config(self):
        self.check(self.run_it("train", "none.yaml"), "none.yaml", "No such file")
        self.check(self.run_it("train", "."), ".")

    def test_set(self):
        self.check(self.train("--set", "train.epohcs=2"), "--set", "epohcs", 'did you mean "epochs"?')
        self.check(self.train("--set", "train.epochs"), "train.epochs")
        self.check(self.train("--set", "train.epochs=x"), "--set train.epochs", '"x"')

    def test_data_that_does_not_fit_what_is_asked_of_it(self):
        for options, parts in [
            (["data.order=streams", "train.batch=2000"], ["data.order is streams", "2000 samples of train.batch"]),
            (["data.normalize=channel"], ["train.h5", "channels are those of [channels,height,width]"]),
            (["data.augment=[saturation]"], ["saturation", "pictures of three colours"]),
            (["data.augment=[wiggle]"], ["data.augment", 'unknown step "wiggle"']),
            (["data.sequence.length=5000"], ["train.h5", "fewer than one window takes"]),
            (["data.sequence={length: 2, columns: 99}", "data.target=x"], ["train.h5", "no column 99, it has 4"]),
            (["data.fields=nothing"], ["train.h5", '"nothing"']),
            (["data.mix.mixup=1", "train.objective=regress"], ["data.mix.mixup"]),
        ]:
            with self.subTest(options):
                self.check(self.train(*[w for o in options for w in ("--set", o)], config=CONFIG), *parts)

    def test_more_ranks_than_microbatches(self):
        self.check(self.launch(5, "train", "run.yaml", "--json"), "train.microbatches", "4", "5 ranks")

    def test_each_rank_sees_it_one_line_says_it(self):
        self.write("run.yaml", CONFIG.replace("epochs", "epoch"))
        self.check(self.launch(3, "train", "run.yaml", "--json"), "run.yaml:13:3", 'did you mean "epochs"?')

    def test_shapes(self):
        """The model does not fit the data."""
        config = CONFIG.replace("model:\n", "model:\n  - conv: {filters: 2, kernel: 3}\n")
        self.check(self.train(config=config), "run.yaml:7:5", "conv")

    def test_rules_and_watching(self):
        self.check(self.train("--set", "train.groups=[{match: conv7.*, lr: 2}]"), "train.groups", 'no parameter is called like "conv7.*"')
        self.check(self.launch(2, "train", "run.yaml", "--json", "--set", "train.init=[{match: '*.bias', kind: he_normal}]"), "train.init", '"*.bias"')
        self.check(self.train("--set", "train.early_stop.patience=2"), "train.early_stop.patience", "needs evaluations")
        watch = ["--set", "data.valid=train.h5", "--set", "data.target=x", "--set", "train.objective=regress", "--set", "model.2.linear.units=4"]
        self.check(self.train(*watch, "--set", "train.early_stop={patience: 2, metric: accuracy}"), "train.early_stop.metric", "accuracy", "loss")
        self.check(self.train(*watch, "--set", "checkpoint.best=2", "--set", "checkpoint.best_metric=accuracy"), "checkpoint.best_metric", "accuracy", "loss")

    def test_device(self):
        # There is no GPU where the tests run: no module, or no driver.
        self.check(self.train("--set", "run.device=cuda"), "run.device is cuda, but")
        self.check(self.train("--set", "train.precision=bf16", "--set", "run.device=cpu"), "train.precision is bf16", "fp32")
        rounding = ["--set", "train.rounding=stochastic"]
        self.check(self.train(*rounding), "train.rounding", "train.precision is fp32: set that to bf16 or fp16, on a GPU")
        self.check(self.train(*rounding, "--set", "train.precision=bf16", "--set", "run.device=cpu"), "train.precision is bf16", "fp32")
        self.check(self.train("--set", "run.device=cuda", env={"LOCKSTEP_CUDA_MODULE": "/nowhere.so"}), "run.device is cuda, but the CUDA module cannot be loaded: /nowhere.so")


class Data(BadInput):
    def test_missing_file(self):
        os.unlink(self.path("train.h5"))
        self.check(self.train(), "train.h5", "No such file")
        self.check(self.train("--set", "data.train=nothing-*.h5"), "nothing-*.h5")

    def test_missing_field(self):
        self.check(self.train("--set", "data.input=pixels"), "train.h5", '"pixels"', "x", "y")

    def test_wrong_rank(self):
        self.make_h5("train.h5", "x=float32[64,4]:rand", "y=int64[64,2]:mod3")
        self.check(self.train(), "train.h5", '"y"', "rank 2")

    def test_wrong_type(self):
        self.make_h5("train.h5", "x=float32[64,4]:rand", "y=float32[64]:mod3")
        self.check(self.train(), "train.h5", '"y"', "float32")

    def test_labels_out_of_range(self):
        self.make_h5("train.h5", "x=float32[64,4]:rand", "y=int64[64]:mod4")
        self.check(self.train(), "train.h5", '"y"', "sample 3", "class 3")
        # Also in the validation data, and on ranks.
        self.make_h5("train.h5", "x=float32[64,4]:rand", "y=int64[64]:mod3")
        self.make_h5("valid.h5", "x=float32[8,4]:rand", "y=int64[8]:mod8")
        self.check(self.train("--set", "data.valid=valid.h5"), "valid.h5", '"y"', "class 7")
        self.check(self.launch(2, "train", "run.yaml", "--json", "--set", "data.valid=valid.h5"), "valid.h5", '"y"', "class 7")

    def test_no_samples(self):
        self.make_h5("train.h5", "x=float32[0,4]:rand", "y=int64[0]:mod3")
        self.check(self.train(), "train.h5", "sample")

    def test_different_lengths(self):
        self.make_h5("train.h5", "x=float32[64,4]:rand", "y=int64[63]:mod3")
        self.check(self.train(), "train.h5", "64", "63")

    def test_shards_that_differ(self):
        self.make_h5("more.h5", "x=float32[64,5]:rand", "y=int64[64]:mod3")
        self.check(self.train("--set", "data.train=[train.h5, more.h5]"), "more.h5", '"x"')

    def test_validation_of_another_shape(self):
        self.make_h5("valid.h5", "x=float32[64,5]:rand", "y=int64[64]:mod3")
        self.check(self.train("--set", "data.valid=valid.h5"), "valid.h5", '"x"', "shape")

    def test_not_hdf5(self):
        self.write("train.h5", "x,y\n1,2\n")
        self.check(self.train(), "train.h5", "not an HDF5 file")

    def test_cut_off(self):
        size = os.path.getsize(self.path("train.h5"))
        with open(self.path("train.h5"), "r+b") as f:
            f.truncate(size // 2)
        self.check(self.train(), "train.h5")


class RunDirectory(BadInput):
    def test_not_writable(self):
        """A path below a file: nobody can write there, whatever the user."""
        self.write("file", "x")
        self.check(self.train("--run-dir", "file/run"), "file")
        self.check(self.launch(2, "train", "run.yaml", "--json", "--run-dir", "file/run"), "file")

    def test_checkpoint_of_another_model(self):
        self.check_code(self.run_it("train", "run.yaml", "--quiet", "--run-dir", "first"), lockstep.OK)
        wider = ["--run-dir", "second", "--resume", "first/checkpoints/step-00000008"]
        self.write("run.yaml", CONFIG.replace("units: 16", "units: 17"))
        result = self.run_it("train", "run.yaml", "--json", *wider)
        self.check_code(result, lockstep.INPUT)
        self.check_one_line(result, "step-00000008", "made by another model", "linear1/")
        on_ranks = self.launch(2, "train", "run.yaml", "--json", *wider)
        self.check_code(on_ranks, lockstep.INPUT)
        self.check_one_line(on_ranks, "made by another model")
        evaluated = self.run_it("eval", "run.yaml", "--from", "first", "--set", "data.valid=train.h5")
        self.check_code(evaluated, lockstep.INPUT)
        self.check_one_line(evaluated, "made by another model")

    def test_no_checkpoint(self):
        self.check(self.run_it("eval", "run.yaml", "--set", "data.valid=train.h5"), "runs/small", "no checkpoint")
        self.check(self.train("--resume", "nowhere"), "nowhere")
        self.check(self.run_it("digest", "nowhere"), "nowhere")

    def test_resume_never_over_an_earlier_run(self):
        self.check_code(self.run_it("train", "run.yaml", "--quiet"), lockstep.OK)
        result = self.run_it("train", "run.yaml", "--json", "--resume", "never")
        self.check_code(result, lockstep.INPUT)
        self.check_one_line(result, "runs/small", "--run-dir")


def idx(magic, dims, data):
    return struct.pack(">I%dI" % len(dims), magic, *dims) + data


class Import(BadInput):
    def check_import(self, words, *parts):
        result = self.run_it("data", "import", *words)
        self.check_code(result, lockstep.INPUT)
        self.check_one_line(result, *parts)
        self.assertFalse(os.path.exists(self.path("out.h5")))
        self.check_nothing_left(".")

    def test_idx(self):
        images, labels = idx(0x803, (10, 4, 4), bytes(range(160))), idx(0x801, (10,), bytes(10))
        self.write("images", images)
        self.write("labels", labels)
        good = self.run_it("data", "import", "idx", "images", "labels", "good.h5")
        self.check_code(good, lockstep.OK)

        self.write("cut", images[:-1])
        self.check_import(["idx", "cut", "labels", "out.h5"], "cut", "175", "176")
        self.write("cut.gz", gzip.compress(images)[:-20])
        self.check_import(["idx", "cut.gz", "labels", "out.h5"], "cut.gz")
        self.write("magic", b"\x12\x34" + images[2:])
        self.check_import(["idx", "magic", "labels", "out.h5"], "magic", "12340803")
        self.check_import(["idx", "labels", "images", "out.h5"], "labels")
        self.write("fewer", idx(0x801, (9,), bytes(9)))
        self.check_import(["idx", "images", "fewer", "out.h5"], "10", "9")
        self.check_import(["idx", "none", "labels", "out.h5"], "none", "No such file")

    def test_cifar(self):
        self.write("good.bin", bytes(3073))
        self.check_code(self.run_it("data", "import", "cifar", "good.bin", "good.bin", "good.h5"), lockstep.OK)
        self.write("cut.bin", bytes(3000))
        self.check_import(["cifar", "good.bin", "cut.bin", "out.h5"], "cut.bin", "3000", "3073", "3074")
        self.write("label.bin", bytes(3073) + b"\x0a" + bytes(3072))
        self.check_import(["cifar", "label.bin", "out.h5"], "label.bin", "record 1", "label 10")
        self.check_import(["cifar", "good.bin"], "DEST is missing")

    def test_csv(self):
        self.write("good.csv", "1,2,0\n3,4,1\n5,6,2\n")
        self.check_code(self.run_it("data", "import", "csv", "good.csv", "good.h5", "--classes"), lockstep.OK)
        self.write("short.csv", "1,2,0\n3,4\n5,6,2\n")
        self.check_import(["csv", "short.csv", "out.h5"], "short.csv:2", "2", "3")
        self.write("word.csv", "1,2,0\n3,four,1\n")
        self.check_import(["csv", "word.csv", "out.h5"], "word.csv:2", "four")
        self.write("empty.csv", "")
        self.check_import(["csv", "empty.csv", "out.h5"], "empty.csv")
        self.check_import(["csv", "good.csv", "out.h5", "--shape", "2,2"], "shape")

    def test_imported_data_trains(self):
        self.write("all.csv", "".join("%d,%d,%d,%d,%d\n" % (i, i * 7 % 5, i % 2, 1, i % 3) for i in range(64)))
        self.check_code(self.run_it("data", "import", "csv", "all.csv", "train.h5", "--classes", "--input", "x", "--label", "y"), lockstep.OK)
        result = self.train()
        self.check_code(result, lockstep.OK)
        self.assertEqual(result.events("end")[0]["step"], 8)


if __name__ == "__main__":
    unittest.main()
