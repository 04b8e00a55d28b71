#!/usr/bin/python3
"""Times training steps of a config in lockstep and of the same network in PyTorch, in turn, and prints a table.

    bench/peer.py --config configs/bench/lenet5.yaml --rounds 5
    bench/peer.py --config configs/bench/gpt.yaml --python /usr/bin/python3 --python ~/torch2/bin/python

    bench/peer.py --config configs/bench/gpt2-124m.yaml --device cuda --precision bf16

The PyTorch side is built from the config's own list of layers (bench/torch_net.py): the whole global batch at once, one fixed random batch that
is in memory already, fused optimizers where they are offered; eager, and torch.compile from PyTorch 2 on. On a GPU with precision bf16: autocast,
channels_last for pictures, flash attention as scaled_dot_product_attention chooses it, memory as the allocator's peak.
lockstep runs `bench step`: its microbatches, its loader on made-up data or on the config's files. The number of weights on both
sides must agree. Each measurement is a process of its own, and all of a round are taken in turn.

Each --python names an interpreter with torch and yaml (Debian's python3-torch and python3-yaml will do).
"""
import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time

NARROW = {"bf16": "bfloat16", "fp16": "float16"}
HERE = os.path.dirname(os.path.abspath(__file__))


def stop(message):
    print(f"peer.py: {message}", file=sys.stderr)
    sys.exit(2)


# ---- one measurement of PyTorch: a process of its own ----

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def random_batch(torch, document, sample):
    """Inputs as the config's data has them: reals, or ids below data.synthetic.vocabulary."""
    vocabulary = (document.get("data") or {}).get("synthetic", {}).get("vocabulary", 0)
    shape = [int(document["train"]["batch"]), *sample]
    return torch.randint(0, int(vocabulary), shape) if vocabulary else torch.randn(shape)


def random_target(torch, document, y):
    kind = document["train"].get("objective", "classify")
    if kind == "regress":
        return torch.randn(y.shape)
    return torch.randint(0, y.shape[-1], y.shape[:-1])


def measure(a):
    try:
        import torch
        import torch_net
    except ImportError as missing:
        stop(f"{missing.name} is not installed for {sys.executable}, so there is nothing to compare with "
             "(apt-get install --no-install-recommends python3-torch python3-yaml)")
    imported = peak_mib()
    threads, compiled = a.threads[0], a.mode == "compile"
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    gpu = a.device == "cuda"
    torch.set_default_device(a.device) if gpu else None
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = a.precision == "tf32"
    torch.backends.cudnn.benchmark = gpu
    settle = torch.cuda.synchronize if gpu else lambda: None
    typed = lambda: torch.autocast(a.device, dtype=getattr(torch, NARROW[a.precision])) if a.precision in NARROW else contextlib.nullcontext()
    document = torch_net.load(a.config, a.set)
    train = document["train"]
    x = random_batch(torch, document, [int(n) for n in a.sample.split(",")])
    try:
        module = torch_net.Network(document["model"], x[:2])
        mean_loss = torch_net.objective(train)
    except torch_net.Unknown as unknown:
        stop(str(unknown))
    module.train()
    if gpu and x.dim() == 4:
        module, x = module.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        target = random_target(torch, document, module(x))
    loss = lambda: mean_loss(module(x), target)
    if compiled:
        inner = torch.compile(lambda x, target: mean_loss(module(x), target))
        loss = lambda: inner(x, target)
    try:
        update = torch_net.optimizer(train, module, fused=True)
    except (RuntimeError, TypeError):  # not offered by this version, or not on the CPU
        update = torch_net.optimizer(train, module)
    clip, took = float(train.get("clip_norm", 0)), []
    for _ in range(a.warmup + a.steps):
        settle()
        start = time.perf_counter()
        update.zero_grad(set_to_none=True)
        with typed():
            value = loss()
        value.backward()
        if clip > 0:
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
        update.step()
        settle()
        took.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({
        "version": torch.__version__, "weights": sum(p.numel() for p in module.parameters()), "ms": statistics.median(took[a.warmup:]),
        "ms_min": min(took[a.warmup:]), "mib": torch.cuda.max_memory_allocated() / 2**20 if gpu else peak_mib(), "mib_imported": imported}))


# ---- the comparison ----

def run(words, threads):
    """The JSON object that a command prints, and the largest resident memory it had, in MiB."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads))
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as child:
        out = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        stop(f"exit code {child.returncode} of: {' '.join(words)}")
    return json.loads(out), used.ru_maxrss / 1024


class Peer:
    def __init__(self, python, mode, version):
        self.python, self.mode = python, mode
        self.name = f"PyTorch {version.split('+')[0]} {mode}"

    def measure(self, a, sample, threads):
        sets = [word for assignment in a.set for word in ("--set", assignment)]
        return run([self.python, os.path.abspath(__file__), "--config", a.config, *sets, "--warmup", str(a.warmup), "--steps", str(a.steps),
                    "--threads", str(threads), "--mode", self.mode, "--sample", sample, "--device", a.device, "--precision", a.precision], threads)[0]


def peers_of(pythons, modes):
    found = []
    for python in pythons:
        asked = subprocess.run([python, "-c", "import torch, yaml; print(torch.__version__)"], stdout=subprocess.PIPE, text=True, check=False)
        if asked.returncode != 0:
            stop(f"{python} cannot import torch and yaml, so there is nothing to compare with "
                 "(apt-get install --no-install-recommends python3-torch python3-yaml)")
        version = asked.stdout.strip()
        found += [Peer(python, mode, version) for mode in modes if mode == "eager" or int(version.split(".")[0]) >= 2]
    return found


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--config", required=True)
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as lockstep's; for both sides")
    p.add_argument("--input", metavar="1,28,28", help="made-up data of this shape, where the config names files that are not there")
    p.add_argument("--lockstep", default=os.path.join(HERE, "..", "build", "release", "lockstep"), help="\"none\": PyTorch alone")
    p.add_argument("--python", action="append", metavar="PATH", help="an interpreter that has torch; may be given several times")
    p.add_argument("--modes", nargs="+", choices=["eager", "compile"], default=["eager", "compile"])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    p.add_argument("--warmup", type=int, default=5)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--precision", choices=["fp32", "tf32", "bf16", "fp16"], default="fp32")
    p.add_argument("--mode", help=argparse.SUPPRESS)  # one measurement, as JSON: what the rounds start
    p.add_argument("--sample", help=argparse.SUPPRESS)
    return p.parse_args()


def plan_of(a):
    """What is known of the run without running it: name, input shape of a sample, weights, batch."""
    if a.lockstep != "none":
        sets = [word for assignment in a.set for word in ("--set", assignment)]
        plan = run([a.lockstep, "plan", a.config, "--json", *sets], 1)[0]
        print(f"{plan['name']}: {plan['weights']} weights, batch {plan['batch']} (lockstep: {plan['microbatches']} microbatches), "
              f"{plan['flops_per_step'] / 1e9:.3g} GFLOP a step; medians of {a.rounds} rounds of {a.steps} steps\n")
        return plan, ",".join(str(n) for n in plan["input"][1:])
    import torch_net
    document = torch_net.load(a.config, a.set)
    print(f"{document['run']['name']}: batch {document['train']['batch']}; medians of {a.rounds} rounds of {a.steps} steps\n")
    return {"batch": document["train"]["batch"]}, ",".join(str(n) for n in document["data"]["synthetic"]["input"])


def main():
    a = arguments()
    if a.sample:
        measure(a)
        return
    if a.input:
        a.set += ["data.train=null", "data.valid=null", f"data.synthetic={{input: [{a.input}]}}"]
    ours_only = [f"run.device={a.device}", f"train.precision={a.precision}"]
    peers = peers_of(a.python or [sys.executable], a.modes)
    plan, sample = plan_of(a)
    ours = a.lockstep != "none"
    columns = ["threads"] + ["lockstep"] * ours + [p.name for p in peers] + ["lockstep, samples/s", "best PyTorch / lockstep"] * ours
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for threads in a.threads:
        times, memory = {}, {}
        for _ in range(a.rounds):
            if ours:
                sets = [word for assignment in [*a.set, *ours_only, f"run.threads={threads}"] for word in ("--set", assignment)]
                step, mib = run([a.lockstep, "bench", "step", a.config, "--json", *sets, "--warmup", str(a.warmup), "--steps", str(a.steps)],
                                threads)
                times.setdefault("lockstep", []).append(step["ms_median"])
                memory.setdefault("lockstep", []).append(mib)
            for peer in peers:
                one = peer.measure(a, sample, threads)
                if plan.setdefault("weights", one["weights"]) != one["weights"]:
                    stop(f"not the same network: {plan['weights']} weights in lockstep, {one['weights']} in PyTorch")
                times.setdefault(peer.name, []).append(one["ms"])
                memory.setdefault(peer.name, []).append(one["mib"])
        ms = {name: statistics.median(t) for name, t in times.items()}
        mib = {name: statistics.median(m) for name, m in memory.items()}
        cells = [str(threads)] + [f"{ms[name]:.3f} ms, {mib[name]:.0f} MiB" for name in ms]
        if ours:
            best = min(ms[peer.name] for peer in peers)
            cells += [f"{1e3 * plan['batch'] / ms['lockstep']:.0f}", f"{best / ms['lockstep']:.2f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
