"""The public C API, from a program of its own, alone and on ranks."""

import os
import subprocess
import unittest

import lockstep


class Api(lockstep.Case):
    def api(self, ranks, run_dir):
        mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
        run = subprocess.run(mpirun + [os.environ["LOCKSTEP_API"], "run.yaml", run_dir], cwd=self.dir, env=self.environment({"LOCKSTEP_LOG": "error"}, ranks > 1),
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60 * lockstep.SLOWER)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return run.stdout.strip().splitlines()[-1]

    def test_trains_as_the_program_does(self):
        self.make_small()
        result = self.run_it("train", "run.yaml", "--json", "--run-dir", "by-program")
        self.check_code(result, lockstep.OK)
        digest = result.events("end")[-1]["digest"]
        self.assertEqual(self.api(1, "by-api"), digest)
        self.assertEqual(self.api(2, "by-api-on-ranks"), digest)


if __name__ == "__main__":
    unittest.main()
