"""Runs on a GPU: on the stand-in of the CUDA module, or, with LOCKSTEP_TEST_GPU=1, on the module itself. The same bits over ranks, through kill and resume,
in each precision; losses beside the CPU's; what goes wrong on a device ends all ranks."""

import json
import os
import re
import shutil
import struct
import subprocess
import unittest

import lockstep

MODULE = os.environ.get("LOCKSTEP_CUDA_MODULE", "")
STANDIN_MPI = os.environ.get("LOCKSTEP_STANDIN_MPI", "")
REAL = os.environ.get("LOCKSTEP_TEST_GPU", "") == "1"

HEAD = """run: {name: gpu, seed: 7, device: cuda}
data: {train: train.h5, input: %s, target: %s%s}
"""
TRAIN = """train: {objective: %s, batch: 24, microbatches: 4, epochs: 3, optimizer: adamw, lr: %s, weight_decay: 0.01%s}
checkpoint: {every: 2 steps, keep: 9}
"""

MODELS = {
    "words": HEAD % ("ids", "y", "") + """model:
  - embedding: {size: 17, units: 8}
  - flatten
  - linear: {units: 3}
""" + TRAIN % ("classify", "0.01", ""),
    "mlp": HEAD % ("x", "y", "") + """model:
  - linear: {units: 32}
  - gelu
  - dropout: 0.2
  - linear: {units: 3}
""" + TRAIN % ("classify", "0.01", ", clip_norm: 1"),
    "cnn": HEAD % ("image", "y", "") + """model:
  - conv: {filters: 8, kernel: 3, pad: same}
  - batch_norm
  - relu
  - max_pool: 2
  - residual:
      - conv: {filters: 8, kernel: 3, pad: same}
      - batch_norm
      - relu
  - global_pool
  - linear: {units: 3}
""" + TRAIN % ("classify", "0.01", ", ema: 0.9"),
    "lstm": HEAD % ("tokens", "tokens", ", order: streams, sequence: {length: 12}") + """model:
  - embedding: {size: 17, units: 16}
  - lstm: {units: 24, carry: true}
  - linear: {units: 17}
""" + TRAIN % ("language_model", "0.01", ""),
    "both_ways": HEAD % ("tokens", "y", "") + """model:
  - embedding: {size: 17, units: 16}
  - gru: {units: 12, bidirectional: true}
  - rnn: {units: 20}
  - flatten
  - linear: {units: 3}
""" + (TRAIN % ("classify", "0.01", "")).replace("adamw", "muon"),
    "turned": HEAD % ("tokens", "tokens", ", sequence: {length: 16}") + """model:
  - embedding: {size: 17, units: 32}
  - positions: {kind: sinusoidal}
  - residual: [layer_norm, {attention: {heads: 4, causal: true, rotary: true}}]
  - linear: {units: 17}
""" + TRAIN % ("language_model", "0.003", ""),
    "gan": HEAD.replace(", target: %s", "") % ("image", "") + """model:
  generator: [{linear: {units: 64, bias: false}}, batch_norm, relu, {reshape: [1, 8, 8]}, {conv: {filters: 1, kernel: 3, pad: same}}, tanh]
  discriminator: [{conv: {filters: 4, kernel: 3, pad: same}}, {leaky_relu: 0.2}, flatten, {linear: 1}]
""" + TRAIN % ("gan", "0.001", ", gan: {latent: 8}, ema: 0.9"),
    "gpt": HEAD % ("tokens", "tokens", ", sequence: {length: 16}") + """model:
  - embedding: {size: 17, units: 32}
  - positions
  - repeat:
      times: 2
      layers:
        - residual: [layer_norm, {attention: {heads: 4, causal: true}}, {dropout: 0.1}]
        - residual: [layer_norm, {linear: 64}, {gelu: tanh}, {linear: 32}, {dropout: 0.1}]
  - layer_norm
  - linear: {units: 17, bias: false}
""" + TRAIN % ("language_model", "0.003", ", clip_norm: 1"),
}


NETWORKS = ["mlp", "cnn", "lstm", "gpt"]


@unittest.skipIf(MODULE == "", "no CUDA module to test")
class Gpu(lockstep.Case):
    def setUp(self):
        super().setUp()
        self.make_h5("train.h5", "x=float32[90,12]:rand", "image=float32[90,1,8,8]:rand", "y=int64[90]:mod3", "tokens=int64[1300]:mod17")

    def env(self, **more):
        return dict({"LOCKSTEP_CUDA_MODULE": MODULE, "STANDIN_AHEAD": "2"}, **more)

    def train(self, model, ranks=0, name="run", *words, mpi=False, **env):
        self.write("run.yaml", MODELS[model])
        args = ["train", "run.yaml", "--json", "--run-dir", name, *words]
        if ranks > 1 or mpi:
            return self.launch(ranks, *args, env=self.env(**env), timeout=240)
        return self.run_it(*args, env=self.env(**env), timeout=240)

    def events(self, result, kind):
        return [e for e in map(json.loads, result.out.splitlines()) if e["event"] == kind]

    def digest(self, result):
        self.check_code(result, lockstep.OK)
        return self.events(result, "end")[-1]["digest"]

    def losses(self, result):
        self.check_code(result, lockstep.OK)
        return [e["loss"] for e in self.events(result, "step")]


class Digest(Gpu):
    def test_any_number_of_ranks(self):
        for model in NETWORKS:
            for precision in ["fp32", "bf16"]:
                words = ["--set", "train.precision=%s" % precision, "--set", "train.log_every=1 step"]
                with self.subTest(model=model, precision=precision):
                    alone = self.train(model, 1, "%s-%s-1" % (model, precision), *words)
                    for ranks in [2, 4] if precision == "fp32" else [3]:
                        many = self.train(model, ranks, "%s-%s-%d" % (model, precision, ranks), *words)
                        self.assertEqual(self.digest(many), self.digest(alone), str(many))
                        self.assertEqual(self.losses(many), self.losses(alone))

    def test_stopped_and_resumed_elsewhere(self):
        for model in ["cnn", "lstm"]:
            with self.subTest(model):
                whole = self.train(model, 1, model + "-whole")
                self.check_code(self.train(model, 3, model + "-cut", "--set", "train.steps=4"), lockstep.OK)
                rest = self.train(model, 2, model + "-cut", "--set", "train.steps=%d" % self.events(whole, "end")[-1]["step"])
                self.assertEqual(self.digest(rest), self.digest(whole), str(rest))

    def test_neither_sharding_nor_buckets_nor_transport(self):
        alone = self.digest(self.train("mlp", 1, "alone"))
        for i, key in enumerate(["train.shard_optimizer=false", "train.bucket_bytes=1024", "run.transport=mpi"]):
            self.assertEqual(self.digest(self.train("mlp", 2, "other-%d" % i, "--set", key)), alone, key)

    @unittest.skipIf(STANDIN_MPI == "", "no MPI that takes the device's memory")
    def test_device_memory_through_mpi(self):
        alone = self.digest(self.train("cnn", 1, "alone", "--set", "run.transport=mpi"))
        for ranks in [1, 3]:
            many = self.train("cnn", ranks, "direct-%d" % ranks, "--set", "run.transport=mpi", mpi=True, LD_PRELOAD=STANDIN_MPI)
            self.assertEqual(self.digest(many), alone, str(many))

    @unittest.skipIf(STANDIN_MPI == "", "no MPI that takes the device's memory")
    def test_header_says_what_gradients_travel_over(self):
        self.write("run.yaml", MODELS["mlp"])
        direct, through = "2 ranks (MPI, device memory directly)", "2 ranks (MPI through pinned host memory)"
        for way, env in [(through, {}), (direct, {"LD_PRELOAD": STANDIN_MPI}), (through, {"LD_PRELOAD": STANDIN_MPI, "LOCKSTEP_MPI_CUDA": "0"}),
                         ("2 ranks (NCCL)", {"STANDIN_DEVICES": "2"})]:
            result = self.launch(2, "train", "run.yaml", "--resume", "never", "--run-dir", "run-%d" % len(env), "--set", "train.steps=1", env=self.env(**env))
            self.check_code(result, lockstep.OK)
            self.assertIn(way, result.err)
            shutil.rmtree(self.path("run-%d" % len(env)))
        result = self.train("mlp", 2, "run", LOCKSTEP_MPI_CUDA="yes")
        self.check_code(result, lockstep.INPUT)
        self.assertIn('LOCKSTEP_MPI_CUDA is "yes" in the environment', result.err)

    def test_doctor_says_what_gradients_travel_over(self):
        for wish, takes, way in [("1", True, "MPI, device memory directly"), ("0", False, "MPI through pinned host memory"), ("x", None, "as it says in the run")]:
            found = self.run_it("doctor", "--json", env=self.env(LOCKSTEP_MPI_CUDA=wish)).events()[0]
            self.assertEqual(found["mpi_takes_cuda"], takes)
            self.assertTrue(found["gradients"].endswith(way), found["gradients"])
        found = self.run_it("doctor", env=self.env())
        self.assertRegex(found.out, r"\ngradients +(NCCL where each rank has a GPU of its own, else )?MPI")

    def test_norms_take_the_sums_in_front_of_them(self):
        # Four sums, each with a norm behind it. With less memory they are operations of their own: the same bits.
        for precision in ["fp32", "bf16"]:
            words = ["--set", "train.precision=%s" % precision]
            self.write("run.yaml", MODELS["gpt"])

            def plan(*more):
                result = self.run_it("plan", "run.yaml", "--json", *words, *more, env=self.env())
                self.check_code(result, lockstep.OK)
                plan = json.loads(result.out)
                return plan, [o["pass"] + " " + o["op"] for o in plan["operations"]]

            whole, operations = plan()
            self.assertEqual(operations.count("forward add+layer_norm"), 4)
            self.assertEqual([o for o in operations if o.endswith(" add")], [])
            less = ["--set", "train.activation_memory=%d" % (whole["activation_bytes"] * 4 // 5)]
            short, operations = plan(*less)
            self.assertGreater(short["again"], 0)
            self.assertEqual([operations.count("forward " + o) for o in ["add", "layer_norm", "add+layer_norm"]], [4, 5, 0])
            one = self.train("gpt", 1, precision + "-whole", *words)
            self.assertEqual(self.digest(self.train("gpt", 1, precision + "-short", *words, *less)), self.digest(one))

    def test_nccl(self):
        alone = {model: self.digest(self.train(model, 1, model + "-alone")) for model in ["mlp", "gpt"]}
        one = self.train("mlp", 1, "nccl-1", "--set", "run.transport=nccl", mpi=True)
        self.assertEqual(self.digest(one), alone["mlp"])
        gpus = len(self.run_it("doctor", "--json", env=self.env()).events()[0]["gpus"]) if REAL else 4
        for model in alone:
            for ranks in range(2, min(gpus, 4) + 1):
                many = self.train(model, ranks, "%s-nccl-%d" % (model, ranks), "--set", "run.transport=nccl", STANDIN_DEVICES="4")
                self.assertEqual(self.digest(many), alone[model], str(many))

    def test_a_shared_gpu_is_not_for_nccl(self):
        result = self.train("mlp", 2, "run", "--set", "run.transport=nccl")
        self.check_code(result, lockstep.INPUT)
        self.assertIn("NCCL takes one rank a GPU", result.err)

    def test_fp16_scales_its_loss(self):
        alone = self.train("mlp", 1, "fp16-1", "--set", "train.precision=fp16")
        self.assertEqual(self.digest(self.train("mlp", 2, "fp16-2", "--set", "train.precision=fp16")), self.digest(alone))

    def test_weights_rounded_at_random(self):
        for model, precision in [("cnn", "bf16"), ("lstm", "bf16"), ("mlp", "fp16")]:
            with self.subTest(model):
                words = ["--set", "train.precision=" + precision, "--set", "train.rounding=stochastic", "--set", "train.log_every=1 step"]
                alone = self.train(model, 1, model + "-1", *words)
                many = self.train(model, 3, model + "-3", *words)
                self.assertEqual(self.digest(many), self.digest(alone), str(many))
                self.assertEqual(self.losses(many), self.losses(alone))
                self.check_code(self.train(model, 3, model + "-cut", *words, "--set", "train.steps=3"), lockstep.OK)
                rest = self.train(model, 2, model + "-cut", *words, "--set", "train.steps=%d" % self.events(alone, "end")[-1]["step"])
                self.assertEqual(self.digest(rest), self.digest(alone), str(rest))
                nearest = self.train(model, 1, model + "-nearest", *words, "--set", "train.rounding=nearest")
                self.assertNotEqual(self.digest(nearest), self.digest(alone))
                self.assertNotEqual(self.digest(self.train(model, 1, model + "-seed", *words, "--set", "run.seed=8")), self.digest(alone))
                for a, b in zip(self.losses(alone), self.losses(nearest), strict=True):
                    self.assertLess(abs(a - b), 2e-2 * b, "%s and %s" % (alone, nearest))


class Losses(Gpu):
    def test_beside_the_cpu(self):
        for model in NETWORKS:
            with self.subTest(model):
                words = ["--set", "train.log_every=1 step"]
                gpu = self.losses(self.train(model, 1, model + "-gpu", *words))
                cpu = self.losses(self.train(model, 1, model + "-cpu", *words, "--set", "run.device=cpu"))
                bf16 = self.losses(self.train(model, 1, model + "-bf16", *words, "--set", "train.precision=bf16"))
                self.assertGreater(len(gpu), 8)
                self.assertEqual(len(gpu), len(cpu))
                for a, b, c in zip(gpu, cpu, bf16):
                    self.assertLess(abs(a - b), 2e-4 * b, "%s: %s and %s" % (model, gpu, cpu))
                    self.assertLess(abs(c - b), 2e-2 * b, "%s: %s and %s" % (model, bf16, cpu))

    def test_convolutions_with_and_without_cudnn(self):
        words = ["--set", "train.log_every=1 step"]
        through, own = (self.losses(self.train("cnn", 1, "cudnn-" + wish, *words, LOCKSTEP_CUDNN=wish)) for wish in "10")
        for a, b in zip(through, own, strict=True):
            self.assertLess(abs(a - b), 2e-4 * b, "%s and %s" % (through, own))

    def test_other_recurrent_layers_and_muon(self):
        self.make_h5("train.h5", "tokens=int64[90,9]:mod17", "y=int64[90]:mod3")
        words = ["--set", "train.log_every=1 step"]
        one = self.train("both_ways", 1, "one", *words)
        cpu = self.losses(self.train("both_ways", 1, "cpu", *words, "--set", "run.device=cpu"))
        self.assertEqual(self.digest(self.train("both_ways", 3, "three")), self.digest(one))
        for a, b in zip(self.losses(one), cpu, strict=True):
            self.assertLess(abs(a - b), 2e-4 * b, "%s and %s" % (one.out, cpu))

    def test_evaluates_and_predicts(self):
        self.make_h5("valid.h5", "x=float32[20,12]:rand", "image=float32[20,1,8,8]:rand", "y=int64[20]:mod3", "tokens=int64[300]:mod17")
        valid = ["--set", "data.valid=valid.h5"]
        trained = self.train("cnn", 1, "run", *valid)
        evals = self.events(trained, "eval")
        again = self.run_it("eval", "run.yaml", "--json", "--run-dir", "run", *valid, env=self.env())
        self.check_code(again, lockstep.OK)
        self.assertEqual(self.events(again, "eval")[-1]["loss"], evals[-1]["loss"])
        for device in ["cuda", "cpu"]:
            out = self.run_it("predict", "run.yaml", "--run-dir", "run", "--from", "run", "--out", device + ".h5", *valid, "--set", "run.device=" + device, env=self.env())
            self.check_code(out, lockstep.OK)


class Memory(Gpu):
    """What `lockstep plan` says that a run will take of the GPU, against what the stand-in counts."""

    def setUp(self):
        if REAL:
            self.skipTest("the stand-in counts")
        super().setUp()
        self.make_h5("valid.h5", "x=float32[20,12]:rand", "image=float32[20,1,8,8]:rand", "y=int64[20]:mod3", "tokens=int64[300]:mod17")

    def go(self, ranks, *args, **env):
        return self.launch(ranks, *args, env=self.env(**env)) if ranks > 1 else self.run_it(*args, env=self.env(**env))

    def plan(self, model, ranks, *words, **env):
        self.write("run.yaml", MODELS[model])
        result = self.go(ranks, "plan", "run.yaml", "--json", *words, **env)
        self.check_code(result, lockstep.OK)
        return json.loads(result.out)

    def most(self, pool):
        """Bytes of device 0 that were taken at most, by all processes together; none is now."""
        with open(self.path(pool), "rb") as f:
            now, most = struct.unpack("=qq", f.read(16))
        self.assertEqual(now, 0)
        return most

    def check_plan(self, name, model, ranks, words=(), **env):
        """The plan's device; what a run takes is just that, and one byte less is too little."""
        with self.subTest(name):
            words = ("--set", "train.steps=2") + tuple(words)
            memory = self.plan(model, ranks, *words, STANDIN_POOL=self.path(name + ".plan"), **env)["memory"]
            d = memory["device"]
            parts = [k for k in memory if k.endswith("_bytes") and k in d and k != "total_bytes"]
            self.assertEqual(d["total_bytes"], sum(d[k] for k in parts))
            said = d["memory_bytes"] - d["free_bytes"] + d["wanted_bytes"]
            run = self.go(ranks, "train", "run.yaml", "--json", "--run-dir", name, *words, STANDIN_POOL=self.path(name + ".pool"), STANDIN_BYTES=str(said), **env)
            self.check_code(run, lockstep.OK)
            self.assertEqual(self.most(name + ".pool"), said)
            less = self.go(ranks, "train", "run.yaml", "--run-dir", name + "-less", *words, STANDIN_POOL=self.path(name + ".less"), STANDIN_BYTES=str(said - 1), **env)
            self.check_code(less, lockstep.INPUT)
            self.check_one_line(less, "would not fit on GPU 0 (stand-in on the host): %d rank" % d["ranks"], "(%d bytes), " % d["wanted_bytes"], "(%d) of " % (d["free_bytes"] - d["memory_bytes"] + said - 1), " takes: activations and gradients ", "raise train.microbatches")
            self.assertFalse(os.path.exists(self.path(name + "-less")))
            return d

    def test_a_run_takes_what_the_plan_says(self):
        valid = ("--set", "data.valid=valid.h5")
        for model, words in {
            "mlp": (), "cnn": valid, "lstm": valid, "turned": (), "gan": (),
            "gpt": valid + ("--set", "train.precision=bf16"), "both_ways": ("--set", "train.ema=0.9"),
        }.items():
            if model == "both_ways":
                self.make_h5("train.h5", "tokens=int64[90,9]:mod17", "y=int64[90]:mod3")
            self.check_plan(model, model, 1, words)

    def test_ranks_on_one_gpu_count_together(self):
        alone = self.check_plan("alone", "cnn", 1, ("--set", "data.valid=valid.h5"))
        for name, model, ranks, words in [("two", "cnn", 2, ("--set", "data.valid=valid.h5")), ("three", "gan", 3, ()), ("whole", "mlp", 2, ("--set", "train.shard_optimizer=false"))]:
            self.assertEqual(self.check_plan(name, model, ranks, words)["ranks"], ranks)
        two = self.plan("cnn", 2, "--set", "data.valid=valid.h5")["memory"]["device"]
        self.assertLess(two["optimizer_bytes"], 0.6 * alone["optimizer_bytes"])
        self.assertGreater(two["wanted_bytes"], two["total_bytes"])
        # A GPU each: nobody to count with.
        self.assertEqual(self.check_plan("own", "cnn", 2, STANDIN_DEVICES="2")["ranks"], 1)

    def test_a_rank_of_many(self):
        alone, four = (self.plan("cnn", 1, *words)["memory"] for words in [(), ("--ranks", "4")])
        self.assertEqual((four["ranks"], four["device"]["ranks"]), (4, 1))
        self.assertLess(four["device"]["microbatch_bytes"], alone["device"]["microbatch_bytes"] / 3)
        self.assertEqual(four["device"]["wanted_bytes"], four["device"]["total_bytes"])

    def test_evaluation_and_predictions_take_what_is_asked_for(self):
        valid = ["--set", "data.valid=valid.h5", "--set", "train.precision=bf16"]
        self.check_code(self.train("cnn", 1, "run", *valid), lockstep.OK)
        for command in [["eval"], ["predict", "--out", "p.h5"]]:
            how = [command[0], "run.yaml", "--from", "run", *command[1:], *valid]
            less = self.run_it(*how, env=self.env(STANDIN_BYTES=str((32 << 20) + 256)))
            self.check_code(less, lockstep.INPUT)
            wanted = int(re.search(r"needs .* \((\d+) bytes\), 256 B \(256\) of ", less.err).group(1))
            pool = command[0] + ".pool"
            self.check_code(self.run_it(*how, env=self.env(STANDIN_POOL=self.path(pool))), lockstep.OK)
            self.assertEqual(self.most(pool), (32 << 20) + wanted)

    def test_the_plan_is_the_gpus(self):
        plan = self.plan("cnn", 1)
        self.assertEqual(plan["backend"], "cuda")
        text = self.run_it("plan", "run.yaml", env=self.env()).out
        for part in ["gpu on cuda: ", "memory of GPU 0 (stand-in on the host)", "running mean of weights", "free there", "taken already", "memory of the host"]:
            self.assertIn(part, text)
        narrow = self.plan("gpt", 1, "--set", "train.precision=bf16")["memory"]["device"]
        self.assertLess(narrow["arena_bytes"], self.plan("gpt", 1)["memory"]["device"]["arena_bytes"])

    def test_the_plan_without_a_gpu(self):
        self.write("run.yaml", MODELS["mlp"])
        insists = self.run_it("plan", "run.yaml", env=self.env(STANDIN_DEVICES="0"))
        self.check_code(insists, lockstep.INPUT)
        self.check_one_line(insists, "run.device is cuda, but no GPU can be used")
        auto = self.plan("mlp", 1, "--set", "run.device=auto", STANDIN_DEVICES="0")
        self.assertEqual(auto["backend"], "cpu")
        self.assertNotIn("device", auto["memory"])
        text = self.run_it("plan", "run.yaml", "--set", "run.device=auto", env=self.env(STANDIN_DEVICES="0"))
        self.assertIn("not on a GPU: no GPU can be used", text.out)


class Trouble(Gpu):
    def test_bad_data_names_layer_and_sample(self):
        self.make_h5("train.h5", "ids=int64[90,6]:mod19", "y=int64[90]:mod3")
        for ranks in [1, 2]:
            result = self.train("words", ranks)
            self.check_code(result, lockstep.FAILED)
            self.assertRegex(result.err, r"layer embedding1: sample \d+: id 1[78] is outside \[0, 17\)")

    def test_out_of_memory_before_the_first_step(self):
        if REAL:
            self.skipTest("a real GPU has its own size")
        # The prediction says that it fits; an allocation fails all the same, as where another program was quicker.
        result = self.train("mlp", 1, "run", STANDIN_FAIL="cudaMalloc:9")
        self.check_code(result, lockstep.INPUT)
        self.assertRegex(result.err, r"\d+ bytes are wanted, GPU 0 has \d+ of \d+ left")

    def test_a_failing_kernel_ends_all_ranks(self):
        if REAL:
            self.skipTest("a real GPU does not fail on request")
        for ranks in [1, 2]:
            result = self.train("mlp", ranks, "run-%d" % ranks, STANDIN_FAIL="cudaGraphLaunch:40:719")
            self.check_code(result, lockstep.FAILED)
            self.assertIn("GPU 0", result.err)
            self.assertIn("cudaErrorLaunchFailure", result.err)
            resumed = self.train("mlp", ranks, "run-%d" % ranks)
            self.assertEqual(self.digest(resumed), self.digest(self.train("mlp", 1, "whole-%d" % ranks)))

    def test_cudnn_on_some_ranks_only(self):
        self.write("run.yaml", MODELS["mlp"])
        each = 'test "$OMPI_COMM_WORLD_RANK" = 0 || export LOCKSTEP_CUDNN=0; exec "$0" "$@"'
        run = subprocess.run(["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "2", "sh", "-c", each, lockstep.BIN, "train", "run.yaml", "--run-dir", "run"],
                             cwd=self.dir, env=self.environment(self.env(), True), text=True, capture_output=True, timeout=120)
        self.assertEqual(run.returncode, lockstep.INPUT, run.stderr)
        self.assertRegex(run.stderr, r"rank 0 on \S+ computes with cuDNN 9\.\d+\.\d+, rank 1 on \S+ without cuDNN, which rounds otherwise: .*LOCKSTEP_CUDNN set alike")
        self.assertFalse(os.path.exists(self.path("run")))

    def test_a_lost_gpu_ends_all_ranks(self):
        """From some call on every call of rank 1 fails. Both ranks end, in one line, and the run goes on from the last checkpoint as if nothing had been."""
        if REAL:
            self.skipTest("a real GPU is not lost on request")
        whole = self.digest(self.train("mlp", 1, "whole"))
        nccl, host = ("nccl", {"STANDIN_DEVICES": "2"}), ("mpi", {})
        for k, (way, call, said) in enumerate([
            (host, "cudaGraphLaunch:25", "GPU 0: cudaGraphLaunch: "), (host, "cudaStreamWaitEvent:30", "GPU 0: cudaStreamWaitEvent: "), (host, "cudaEventQuery:1", "GPU 0: "),
            (nccl, "cudaGraphLaunch:25", "GPU 1: cudaGraphLaunch: "), (nccl, "cudaEventRecord:60", "GPU 1: cudaEventRecord: "), (nccl, "cudaStreamQuery:1", "GPU 1: "),
        ]):
            with self.subTest(call=call, transport=way[0]):
                name = "lost-%d" % k
                words = ["--set", "run.transport=" + way[0]]
                # How often a rank asks depends on how long it waits, so the count begins with a call that does not.
                late = {"STANDIN_FAIL_AFTER": "cudaGraphLaunch:25"} if "Query" in call else {}
                result = self.train("mlp", 2, name, *words, STANDIN_FAIL=call + ":214", STANDIN_FAIL_RANK="1", STANDIN_FAIL_LOSES="1", **late, **way[1])
                self.check_code(result, lockstep.FAILED)
                lines = [line for line in result.err.splitlines() if "cudaErrorECCUncorrectable)" in line]
                self.assertEqual(len(lines), 1, str(result))
                self.assertRegex(lines[0], "^lockstep: rank 1 on [^ ]+ failed in phase .*" + said)
                self.check_nothing_left(name)
                self.assertGreater(len(self.events(result, "checkpoint")), 0, "lost too early to say anything: " + str(result))
                self.check_code(self.run_it("checkpoint", "verify", name), lockstep.OK)
                self.assertEqual(self.digest(self.train("mlp", 2, name, *words, **way[1])), whole)

    def test_a_failing_kernel_is_found_in_its_layer(self):
        if REAL:
            self.skipTest("a real GPU does not fail on request")
        result = self.train("mlp", 2, "run", STANDIN_FAIL="launch:10:719", STANDIN_FAIL_RANK="1", LOCKSTEP_CUDA_WAIT="1")
        self.check_code(result, lockstep.FAILED)
        self.assertRegex(result.err, r"lockstep: rank 1 on [^ ]+ failed in phase \w+ at step \d+: layer \w+: GPU 0: .*cudaErrorLaunchFailure")

    def test_without_a_device(self):
        if REAL:
            self.skipTest("there is a device")
        result = self.train("mlp", 1, "run", STANDIN_DEVICES="0")
        self.check_code(result, lockstep.INPUT)
        self.check_one_line(result, "run.device is cuda, but no GPU can be used")
        result = self.run_it("train", "run.yaml", "--run-dir", "run", "--set", "run.device=auto", env=self.env(STANDIN_DEVICES="0"))
        self.check_code(result, lockstep.OK)
        self.assertEqual(len(re.findall("training on the CPU", result.err)), 1, str(result))


if __name__ == "__main__":
    unittest.main()
