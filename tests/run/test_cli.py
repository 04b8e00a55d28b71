"""The command line: help, versions, wrong words, JSON."""

import json
import os
import subprocess
import time
import unittest

import lockstep

# Every subcommand with what stands before and behind its options: the contract that scripts rely on.
COMMANDS = {
    "train": (["CONFIG"], ["--set", "--resume", "--run-dir", "--quiet", "--json"]),
    "eval": (["CONFIG"], ["--set", "--from", "--run-dir", "--json"]),
    "plan": (["CONFIG"], ["--set", "--json"]),
    "launch": (["COMMAND"], ["-n, --ranks", "--hostfile", "--dry-run"]),
    "data import csv": (["SOURCE", "DEST"], ["--delimiter", "--header", "--label-column", "--shape", "--rows"]),
    "data import idx": (["IMAGES", "LABELS", "DEST"], ["--input", "--label", "--rows"]),
    "data import cifar": (["FILES", "DEST"], ["--labels", "--names", "--shard-rows", "--skip", "--rows"]),
    "data import text": (["SOURCE", "DEST"], ["--also", "--level", "--split", "--rest"]),
    "data import labelled-text": (["SOURCE", "DEST"], ["--level", "--max-length", "--split", "--rest", "--seed"]),
    "data import wav": (["SOURCE", "DEST"], ["--label-pattern", "--match", "--except", "--window", "--hop", "--bands", "--max-frames"]),
    "data import images": (["SOURCE", "DEST"], ["--size", "--gray", "--split", "--rest", "--seed"]),
    "data import masks": (["IMAGES", "MASKS", "DEST"],
                          ["--size", "--gray", "--classes", "--ignore", "--list", "--split", "--rest", "--seed", "--shard-rows"]),
    "data generate dates": (["DEST"], ["--samples", "--seed", "--split", "--rest"]),
    "data inspect": (["FILE"], ["--json"]),
    "data verify": (["FILE"], []),
    "digest": (["PATH"], ["--json"]),
    "checkpoint show": (["PATH"], ["--json"]),
    "checkpoint verify": (["PATH"], ["--json"]),
    "checkpoint digest": (["PATH"], ["--json"]),
    "checkpoint diff": (["FIRST", "SECOND"], ["--json"]),
    "predict": (["CONFIG"], ["--from", "--out", "--samples", "--grid", "--set", "--run-dir", "--json"]),
    "bench step": (["CONFIG"], ["--set", "--steps", "--warmup", "--profile", "--json"]),
    "bench products": ([], ["--precision", "--size", "--json"]),
    "bench reduce": ([], ["--bytes", "--iterations", "--json"]),
    "doctor": ([], ["--json"]),
}


class Help(lockstep.Case):
    def test_every_command_lists_its_options(self):
        for command, (positionals, options) in COMMANDS.items():
            with self.subTest(command):
                result = self.run_it(*command.split(), "--help")
                self.check_code(result, lockstep.OK)
                self.assertEqual(result.err, "")
                lines = result.out.splitlines()
                self.assertTrue(lines[0].startswith("usage: lockstep " + command), str(result))
                body = result.out.split("options:")[1]
                for option in options + ["-h, --help"]:
                    self.assertRegex(body, r"(?m)^ +%s\b" % option)
                self.assertEqual(body.count("\n   ") >= len(options), True)
                for word in positionals:
                    self.assertIn(word, lines[0])
                    self.assertRegex(result.out, r"(?m)^  %s " % word)
                self.assertLessEqual(max(len(line) for line in lines[2:]), 100)

    def test_help_word_gives_the_same(self):
        for command in COMMANDS:
            with self.subTest(command):
                self.assertEqual(self.run_it("help", *command.split()).out, self.run_it(*command.split(), "--help").out)

    def test_the_program_lists_every_command(self):
        result = self.run_it("--help")
        self.check_code(result, lockstep.OK)
        for command in COMMANDS:
            self.assertRegex(result.out, r"(?m)^  %s  " % command.split()[0])
        self.assertEqual(self.run_it("help").out, result.out)
        self.assertEqual(self.run_it("-h").out, result.out)

    def test_groups_list_theirs(self):
        for group in ["checkpoint", "bench", "data", "data import", "data generate"]:
            result = self.run_it(*group.split(), "--help")
            self.check_code(result, lockstep.OK)
            self.assertTrue(result.out.startswith("usage: lockstep %s COMMAND ...\n" % group), str(result))
            self.assertEqual(self.run_it("help", *group.split()).out, result.out)
            for command in COMMANDS:
                if command.startswith(group + " "):
                    self.assertRegex(result.out, r"(?m)^  %s  " % command[len(group) + 1:].split()[0])

    def test_help_of_what_the_ranks_run(self):
        self.assertEqual(self.run_it("launch", "-n", "2", "train", "--help").out, self.run_it("train", "--help").out)


class Version(lockstep.Case):
    def test_version(self):
        result = self.run_it("--version")
        self.check_code(result, lockstep.OK)
        self.assertRegex(result.out, r"^lockstep \d+\.\d+\.\d+\n$")
        self.assertEqual(result.err, "")

    @unittest.skipIf(lockstep.SANITIZED, "start-up is another with sanitizers")
    def test_it_is_quick(self):
        best = 9.0
        for _ in range(10):
            start = time.monotonic()
            subprocess.run([lockstep.BIN, "--version"], stdout=subprocess.DEVNULL, check=True)
            best = min(best, time.monotonic() - start)
        self.assertLess(best, 0.05)


class WrongWords(lockstep.Case):
    def check(self, words, *parts):
        with self.subTest(" ".join(words)):
            result = self.run_it(*words)
            self.check_code(result, lockstep.INPUT)
            self.assertEqual(result.out, "")
            self.check_one_line(result, *parts)

    def test_commands(self):
        self.check([], "a command is missing")
        self.check(["trian"], 'unknown command "trian"', 'did you mean "train"?')
        self.check(["checkpont"], 'did you mean "checkpoint"?')
        self.check(["xyzzy"], 'unknown command "xyzzy"', "--help")
        self.check(["checkpoint"], "checkpoint: a command is missing")
        self.check(["checkpoint", "shwo"], 'checkpoint: unknown command "shwo"', 'did you mean "show"?')
        self.check(["data", "import", "svc"], 'data import: unknown command "svc"', 'did you mean "csv"?')
        self.check(["data", "import"], "data import: a command is missing (lockstep data import --help lists them)")
        self.check(["bench", "steps"], 'did you mean "step"?')
        self.check(["help", "trian"], 'did you mean "train"?')

    def test_options(self):
        self.check(["--versoin"], 'did you mean "--version"?')
        self.check(["train", "run.yaml", "--resum", "auto"], 'train: unknown option "--resum"', 'did you mean "--resume"?')
        self.check(["train"], "train: CONFIG is missing")
        self.check(["train", "run.yaml", "--set"], "train: --set needs a value")
        self.check(["train", "run.yaml", "other.yaml"], 'unexpected "other.yaml"')
        self.check(["bench", "step", "run.yaml", "--steps", "many"], "--steps: expected a whole number")
        self.check(["bench", "step", "run.yaml", "--steps", "0"], "out of range")
        self.check(["checkpoint", "diff", "a"], "SECOND is missing")

    def test_launch(self):
        self.check(["launch", "train", "run.yaml"], "--ranks is missing")
        self.check(["launch", "-n", "0", "train", "run.yaml"], "out of range")
        self.check(["launch", "-n", "-3", "train", "run.yaml"], "out of range")
        self.check(["launch", "-n", "two", "train", "run.yaml"], "expected a whole number")
        self.check(["launch", "-n", "2"], "a command for the ranks is missing")
        self.check(["launch", "-n", "2", "trian", "run.yaml"], 'did you mean "train"?')
        self.check(["launch", "-n", "2", "train", "run.yaml", "--jsn"], 'did you mean "--json"?')
        self.check(["launch", "-n", "2", "digest", "run"], '"digest" is nothing for ranks')
        self.check(["launch", "-n", "2", "--hostfile", "no-hosts", "train", "run.yaml"], "no-hosts", "No such file")

    def test_every_option_has_a_near_one(self):
        for command, (_, options) in COMMANDS.items():
            for option in options:
                name = option.split()[-1]
                if len(name) > 5:
                    self.check(command.split() + [name[:-1] + "x"], 'did you mean "%s"?' % name)


class DryRun(lockstep.Case):
    def test_prints_a_command_for_a_shell(self):
        result = self.run_it("launch", "-n", "3", "--dry-run", "train", "my run.yaml", "--set", "run.name=it's")
        self.check_code(result, lockstep.OK)
        self.assertIn("mpirun ", result.out)
        self.assertTrue(result.out.endswith(" -n 3 %s train 'my run.yaml' --set 'run.name=it'\\''s'\n" % lockstep.BIN), result.out)


class Json(lockstep.Case):
    def check(self, *words, code=lockstep.OK):
        result = self.run_it(*words, "--json")
        self.check_code(result, code)
        found = result.events()
        self.assertTrue(found, str(result))
        return found

    def test_doctor(self):
        found = self.check("doctor")
        self.assertEqual(len(found), 1)
        for key in ["lockstep", "host", "cores_allowed", "instructions", "memory_bytes", "launchers", "open_files"]:
            self.assertIn(key, found[0])
        self.assertIn("runs compute on the CPU", self.run_it("doctor").out)
        self.assertIsInstance(found[0]["cuda"], str)

    def test_reports_of_a_run(self):
        self.make_small()
        self.make_h5("valid.h5", "x=float32[20,4]:rand", "y=int64[20]:mod3")
        valid = ["--set", "data.valid=valid.h5"]
        events = self.check("train", "run.yaml", "--set", "train.log_every=1 step", *valid)
        steps = [e for e in events if e["event"] == "step"]
        self.assertEqual([e["step"] for e in steps], list(range(1, 9)))
        for key in ["epoch", "loss", "lr", "samples_per_s", "data_wait_s", "comm_wait_s"]:
            self.assertIn(key, steps[0])
        evals = [e for e in events if e["event"] == "eval"]
        self.assertEqual([e["step"] for e in evals], [4, 8])
        self.assertIn("loss", evals[0])
        end = events[-1]
        self.assertEqual((end["event"], end["step"]), ("end", 8))
        with open(self.path("runs/small/log.jsonl")) as f:
            logged = [json.loads(line) for line in f]
        self.assertEqual([e["loss"] for e in logged if e["event"] == "step"], [e["loss"] for e in steps])

        digest = self.check("digest", "runs/small")[0]
        self.assertEqual((digest["digest"], digest["step"]), (end["digest"], 8))
        self.assertRegex(digest["digest"], r"^[0-9a-f]{32}$")
        self.assertEqual(self.check("checkpoint", "digest", "runs/small/checkpoints/step-00000008")[0]["digest"], end["digest"])
        self.assertTrue(self.run_it("digest", "runs/small").out.startswith(end["digest"]))
        self.assertEqual(self.check("checkpoint", "verify", "runs/small")[0]["good"], True)
        self.check("checkpoint", "show", "runs/small")
        self.check("checkpoint", "diff", "runs/small", "runs/small")
        self.check("checkpoint", "diff", "runs/small/checkpoints/step-00000004", "runs/small", code=lockstep.FAILED)

        evaluated = self.check("eval", "run.yaml", *valid)
        self.assertEqual((evaluated[0]["event"], evaluated[0]["loss"], evaluated[0]["step"]), ("eval", evals[1]["loss"], 8))
        early = self.check("eval", "run.yaml", *valid, "--from", "runs/small/checkpoints/step-00000004")
        self.assertEqual((early[0]["loss"], early[0]["step"]), (evals[0]["loss"], 4))

    def test_plan_and_bench(self):
        self.make_small()
        plan = self.check("plan", "run.yaml")
        self.assertEqual(len(plan), 1)
        self.assertTrue(self.run_it("plan", "run.yaml").out)
        bench = self.check("bench", "step", "run.yaml", "--steps", "5", "--warmup", "1", "--profile")[0]
        for key in ["name", "samples_per_s", "ms_median", "ms_min", "ms_max", "gflops", "threads", "nranks", "profile"]:
            self.assertIn(key, bench)
        self.assertTrue(all("ms" in op and "layer" in op for op in bench["profile"]))
        self.check_code(self.run_it("bench", "step", "run.yaml", "--steps", "5", "--profile"), lockstep.OK)
        reduce = self.check("bench", "reduce", "--bytes", "4096,16384", "--iterations", "3")
        self.assertEqual([(r["name"], r["bytes"]) for r in reduce], [("reduce", 4096), ("allreduce", 4096), ("reduce", 16384), ("allreduce", 16384)])
        for key in ["gb_per_s", "ms_median", "nranks"]:
            self.assertIn(key, reduce[0])
        # Neither leaves anything behind.
        self.assertEqual(sorted(self.files(".")), [self.path("./run.yaml"), self.path("./train.h5")])

    def test_inspect(self):
        self.make_small()
        found = self.check("data", "inspect", "train.h5")
        self.assertEqual(len(found), 1)
        self.assertIn("x", self.run_it("data", "inspect", "train.h5").out)
        missing = self.run_it("data", "inspect", "none.h5", "train.h5")
        self.check_code(missing, lockstep.INPUT)
        self.check_one_line(missing, "none.h5")
        self.assertIn("train.h5", missing.out)

    def test_verify(self):
        self.make_small()
        self.assertIn("64 samples", self.run_it("data", "verify", "train.h5").out)
        with open(self.path("train.h5"), "r+b") as f:
            f.truncate(os.path.getsize(self.path("train.h5")) - 100)
        damaged = self.run_it("data", "verify", "train.h5")
        self.check_code(damaged, lockstep.FAILED)
        self.check_one_line(damaged, "train.h5")

    def test_damage_is_told(self):
        self.make_small()
        self.check_code(self.run_it("train", "run.yaml", "--quiet"), lockstep.OK)
        state = self.path("runs/small/checkpoints/step-00000008/state.h5")
        with open(state, "r+b") as f:
            f.seek(-100, 2)
            f.write(b"\xff" * 50)
        result = self.run_it("checkpoint", "verify", "--json", "runs/small/checkpoints/step-00000008", "runs/small/checkpoints/step-00000004")
        self.check_code(result, lockstep.FAILED)
        self.assertEqual([e["good"] for e in result.events()], [False, True])
        self.check_one_line(result, "step-00000008", "damaged")
        self.check_code(self.run_it("checkpoint", "verify", "nowhere"), lockstep.INPUT)

    def test_nobody_reads(self):
        """A reader that goes ends no command by a signal."""
        run = subprocess.run(["sh", "-c", "%s doctor | true; exit 0" % lockstep.BIN], stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(run.returncode, 0)
        full = subprocess.run(["sh", "-c", "%s doctor > /dev/full" % lockstep.BIN], stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(full.returncode, lockstep.FAILED)
        self.assertIn("standard output", full.stderr)


if __name__ == "__main__":
    unittest.main()
