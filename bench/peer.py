#!/usr/bin/python3
"""Times training steps of a config in lockstep and of the same network in PyTorch, in turn, and prints a table.

    bench/peer.py --config configs/bench/lenet5.yaml --rounds 5

The PyTorch side is built from the config's own list of layers: eager mode, CPU, float32, the whole global batch at once, one fixed
random batch that is in memory already. lockstep runs `bench step`: its microbatches, its loader on made-up data or on the
config's files. The number of weights on both sides must agree. Each measurement is a process of its own.

Needs Debian's python3-torch and python3-yaml; says so and stops where they are missing.
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time


def stop(message):
    print(f"peer.py: {message}", file=sys.stderr)
    sys.exit(2)


try:
    import torch
    import yaml
except ImportError as missing:
    stop(f"{missing.name} is not installed, so there is nothing to compare with "
         "(apt-get install --no-install-recommends python3-torch python3-yaml)")

from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))


# ---- the config ----

def set_value(document, assignment):
    """As `lockstep --set model.0.conv.filters=64`."""
    path, value = assignment.split("=", 1)
    *way, last = path.split(".")
    at = document
    for key in way:
        at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
    at[int(last) if isinstance(at, list) else last] = yaml.safe_load(value)


def load(path, sets):
    with open(path, encoding="utf-8") as f:
        document = yaml.safe_load(f)
    for assignment in sets:
        set_value(document, assignment)
    return document


# ---- the network ----

def pair(value):
    values = [int(v) for v in (value if isinstance(value, list) else [value])]
    return (values[0], values[-1])


class Residual(nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, True) + self.eps) * self.weight


def layer_norm(o, x):
    norm = nn.LayerNorm(x.shape[-1], eps=float(o.get("eps", 1e-5)))
    if not o.get("bias", True):
        norm.register_parameter("bias", None)
    return norm


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def numbers(value):
    return [int(v) for v in (value if isinstance(value, list) else [value])]


def sides(o, x):
    """pad's numbers in PyTorch's order: pairs from the last dimension to the first."""
    before, after = ((numbers(o.get(k, 0)) + [0] * x.dim())[:x.dim() - 1] for k in ("before", "after"))
    return [n for pair in zip(before[::-1], after[::-1]) for n in pair]


def part(o, x):
    axis, start = int(o.get("axis", 1)), int(o.get("start", 0))
    start += x.shape[axis] if start < 0 else 0
    return x.narrow(axis, start, int(o.get("length", 0)) or x.shape[axis] - start)


class DropPath(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand([x.shape[0]] + [1] * (x.dim() - 1)) >= self.rate
        return x * keep / (1 - self.rate)


class Gate(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        a, b = x.chunk(2, -1)
        return a * self.function(b)


def conv(o, x):
    kernel, stride = pair(o["kernel"]), pair(o.get("stride", 1))
    pad = o.get("pad", 0)
    if pad == "same":
        sizes = x.shape[2:]
        total = [max(0, (math.ceil(n / s) - 1) * s + k - n) for n, k, s in zip(sizes, kernel, stride)]
    else:
        total = [2 * p for p in pair(0 if pad == "valid" else pad)]
    bias = bool(o.get("bias", True))
    if all(t % 2 == 0 for t in total):
        return nn.Conv2d(x.shape[1], int(o["filters"]), kernel, stride, [t // 2 for t in total], bias=bias)
    sides = [total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2]
    return nn.Sequential(nn.ZeroPad2d(sides), nn.Conv2d(x.shape[1], int(o["filters"]), kernel, stride, bias=bias))


def batch_norm(o, x):
    kind = nn.BatchNorm2d if x.dim() == 4 else nn.BatchNorm1d
    return kind(x.shape[1], eps=float(o.get("eps", 1e-5)), momentum=float(o.get("momentum", 0.1)))


def pool(kind, o):
    size = pair(o["size"])
    return kind(size, pair(o["stride"]) if o.get("stride") is not None else size, pair(o.get("pad", 0)))


SHORT = {"linear": "units", "gelu": "form", "leaky_relu": "slope", "elu": "alpha", "group_norm": "groups", "reshape": "to", "permute": "order", "scale": "by", "mean": "axes", "sum": "axes", "max_pool": "size", "avg_pool": "size", "dropout": "rate", "spatial_dropout": "rate", "drop_path": "rate", "residual": "layers"}
LAYERS = {
    "linear": lambda o, x: nn.Linear(x.shape[-1], int(o["units"]), bool(o.get("bias", True))),
    "conv": conv,
    "batch_norm": batch_norm,
    "relu": lambda o, x: nn.ReLU(),
    "leaky_relu": lambda o, x: nn.LeakyReLU(float(o.get("slope", 0.01))),
    "elu": lambda o, x: nn.ELU(float(o.get("alpha", 1))),
    "silu": lambda o, x: nn.SiLU(),
    "sigmoid": lambda o, x: nn.Sigmoid(),
    "tanh": lambda o, x: nn.Tanh(),
    "softplus": lambda o, x: nn.Softplus(threshold=1e9),
    "reshape": lambda o, x: Function(lambda v: v.reshape([v.shape[0]] + numbers(o["to"]))),
    "permute": lambda o, x: Function(lambda v: v.permute([0] + numbers(o["order"]))),
    "pad": lambda o, x: Function(lambda v: nn.functional.pad(v, sides(o, v), value=float(o.get("value", 0)))),
    "slice": lambda o, x: Function(lambda v: part(o, v)),
    "scale": lambda o, x: Function(lambda v: v * float(o["by"])),
    "mean": lambda o, x: Function(lambda v: v.mean(numbers(o["axes"]), bool(o.get("keep", False)))),
    "sum": lambda o, x: Function(lambda v: v.sum(numbers(o["axes"]), bool(o.get("keep", False)))),
    "softmax": lambda o, x: nn.Softmax(-1),
    "glu": lambda o, x: nn.GLU(-1),
    "swiglu": lambda o, x: Gate(nn.functional.silu),
    "geglu": lambda o, x: Gate(nn.functional.gelu),
    "layer_norm": layer_norm,
    "rms_norm": lambda o, x: RMSNorm(x.shape[-1], float(o.get("eps", 1e-6))),
    "group_norm": lambda o, x: nn.GroupNorm(int(o["groups"]), x.shape[1], eps=float(o.get("eps", 1e-5))),
    "instance_norm": lambda o, x: nn.GroupNorm(x.shape[1], x.shape[1], eps=float(o.get("eps", 1e-5))),
    "gelu": lambda o, x: nn.GELU(approximate="tanh" if o.get("form") == "tanh" else "none"),
    "max_pool": lambda o, x: pool(nn.MaxPool2d, o),
    "avg_pool": lambda o, x: pool(nn.AvgPool2d, o),
    "global_pool": lambda o, x: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "flatten": lambda o, x: nn.Flatten(),
    "dropout": lambda o, x: nn.Dropout(float(o.get("rate", 0.5))),
    "spatial_dropout": lambda o, x: {3: nn.Dropout1d, 4: nn.Dropout2d, 5: nn.Dropout3d}[x.dim()](float(o.get("rate", 0.5))),
    "drop_path": lambda o, x: DropPath(float(o.get("rate", 0.5))),
    "residual": lambda o, x: Residual(build(o["layers"], x), build(o.get("shortcut") or [], x)),
}


def build(layers, x):
    """The list of layers as a module; x is any batch of the right shape, which goes along to tell the shapes."""
    out = []
    for layer in layers:
        (word, options), = layer.items() if isinstance(layer, dict) else [(layer, None)]
        if word not in LAYERS:
            stop(f"layer \"{word}\" has no counterpart here")
        if options is None:
            options = {}
        elif not isinstance(options, dict):
            options = {SHORT[word]: options}
        if word in ("conv", "batch_norm") and x.dim() == 3:
            out.append(nn.Unflatten(1, (1, x.shape[1])))
            x = out[-1](x)
        out.append(LAYERS[word](options, x))
        with torch.no_grad():
            x = out[-1](x)
    return nn.Sequential(*out)


def optimizer(o, module):
    """Weight decay on what has two or more dimensions, as in lockstep."""
    decay = float(o.get("weight_decay", 0))
    groups = [
        {"params": [p for p in module.parameters() if p.dim() >= 2], "weight_decay": decay},
        {"params": [p for p in module.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    rate = o["lr"]["peak"] if isinstance(o["lr"], dict) else o["lr"]
    if o.get("optimizer", "adamw") == "sgd":
        momentum = float(o.get("momentum", 0.9))
        return torch.optim.SGD(groups, lr=float(rate), momentum=momentum, nesterov=bool(o.get("nesterov", False)))
    betas = (float(o.get("beta1", 0.9)), float(o.get("beta2", 0.999)))
    return torch.optim.AdamW(groups, lr=float(rate), betas=betas, eps=float(o.get("eps", 1e-8)))


# ---- measuring ----

def time_torch(document, sample, threads, warmup, steps):
    """Median milliseconds of a step, and the number of weights."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    train = document["train"]
    x = torch.randn(int(train["batch"]), *sample)
    module = build(document["model"], x[:2])
    module.train()
    y = module(x[:2])
    if train.get("objective", "classify") == "classify":
        target, loss = torch.randint(0, y.shape[1], (x.shape[0],)), nn.CrossEntropyLoss()
    else:
        target, loss = torch.randn(x.shape[0], *y.shape[1:]), nn.MSELoss()
    update, clip = optimizer(train, module), float(train.get("clip_norm", 0))
    took = []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        update.zero_grad(set_to_none=True)
        loss(module(x), target).backward()
        if clip > 0:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        update.step()
        took.append(1e3 * (time.perf_counter() - start))
    return statistics.median(took[warmup:]), sum(p.numel() for p in module.parameters())


def run(words, threads):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads))
    done = subprocess.run(words, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        stop(f"exit code {done.returncode} of: {' '.join(words)}")
    return json.loads(done.stdout)


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--config", required=True)
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as lockstep's; for both sides")
    p.add_argument("--input", metavar="1,28,28", help="made-up data of this shape, where the config names files that are not there")
    p.add_argument("--lockstep", default=os.path.join(HERE, "..", "build", "release", "lockstep"))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    p.add_argument("--warmup", type=int, default=5)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--torch-only", metavar="SHAPE", help=argparse.SUPPRESS)  # one measurement, as JSON: what the rounds start
    return p.parse_args()


def main():
    a = arguments()
    timing = ["--warmup", str(a.warmup), "--steps", str(a.steps)]
    if a.torch_only:
        sample = [int(n) for n in a.torch_only.split(",")]
        ms, weights = time_torch(load(a.config, a.set), sample, a.threads[0], a.warmup, a.steps)
        print(json.dumps({"ms": ms, "weights": weights}))
        return

    if a.input:
        a.set += ["data.train=null", "data.valid=null", f"data.synthetic={{input: [{a.input}]}}"]
    sets = [word for assignment in a.set for word in ("--set", assignment)]
    plan = run([a.lockstep, "plan", a.config, "--json", *sets], 1)
    shape = ",".join(str(n) for n in plan["input"][1:])

    print(f"{plan['name']}: {plan['weights']} weights, batch {plan['batch']} (lockstep: {plan['microbatches']} microbatches), "
          f"{plan['flops_per_step'] / 1e9:.3g} GFLOP a step; PyTorch {torch.__version__}; medians of {a.rounds} rounds of {a.steps} steps\n")
    print("| threads | lockstep, ms a step | PyTorch, ms a step | lockstep, samples/s | PyTorch / lockstep |")
    print("| --- | --- | --- | --- | --- |")
    for threads in a.threads:
        ours, theirs = [], []
        for _ in range(a.rounds):
            step = run([a.lockstep, "bench", "step", a.config, "--json", "--set", f"run.threads={threads}", *sets, *timing], threads)
            peer = run([sys.executable, os.path.abspath(__file__), "--config", a.config, *sets, *timing, "--threads", str(threads),
                        "--torch-only", shape], threads)
            if peer["weights"] != plan["weights"]:
                stop(f"not the same network: {plan['weights']} weights in lockstep, {peer['weights']} in PyTorch")
            ours.append(step["ms_median"])
            theirs.append(peer["ms"])
        ms, peer_ms = statistics.median(ours), statistics.median(theirs)
        print(f"| {threads} | {ms:.3f} | {peer_ms:.3f} | {1e3 * plan['batch'] / ms:.0f} | {peer_ms / ms:.2f} |", flush=True)


main()
