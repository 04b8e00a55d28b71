#!/usr/bin/python3
"""Trains small networks in PyTorch and writes what came of it: the references that tests/train/parity.c holds lockstep against.

    tests/parity/make_reference.py [NAME...]       default: every NAME.yaml beside this file

Run by hand, with python3-torch, python3-yaml and python3-h5py; the test reads NAME.h5 and needs none of them. The network, the
optimizer and its numbers are those of NAME.yaml (bench/torch_net.py builds them). First weights and data are float32 numbers; PyTorch
computes in float64, so that what differs is lockstep's rounding. How far PyTorch itself is off in float32 stands in an attribute.

    /x, /y ...          the data: fields that lockstep reads as its data set, in the order they are stored
    /weights/...        first values of each parameter and running statistic, named as in checkpoints ("conv1/weight"), PyTorch's shapes
    /gradients/...      of the first step
    /statistics/...     running statistics after the first step
    /loss               [100] mean loss of each step
"""
import glob
import hashlib
import os
import sys

import h5py
import numpy
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.join(HERE, "..", "..", "bench")
sys.path.insert(0, BENCH)
import torch_net  # noqa: E402

STEPS = 100


# ---- data ----

def classes(r, n, shape, k):
    """Normal numbers; the class is the largest of k random sums of them, so that there is something to learn."""
    x = r.standard_normal((n, *shape)).astype(numpy.float32)
    return {"x": x, "y": (x.reshape(n, -1) @ r.standard_normal((x[0].size, k))).argmax(1).astype(numpy.int64)}


def sequences(r, n, steps, channels, k):
    """Sequences of several lengths; the class is that of the largest of k sums over the valid steps, which ends count more in."""
    x, length = r.standard_normal((n, steps, channels)).astype(numpy.float32), r.integers(1, steps + 1, n)
    share = numpy.linspace(0.2, 1, steps) * (numpy.arange(steps) < length[:, None])
    return {"x": x, "n": length.astype(numpy.int64), "y": (numpy.einsum("bt,btc->bc", share, x) @ r.standard_normal((channels, k))).argmax(1)}


def text(r, n, length, k):
    """Runs of letters in which each follows from the two before it, but for one in eight; the target is the next."""
    rule, s = r.integers(0, k, (k, k)), r.integers(0, k, (n, length + 1))
    for i in range(2, length + 1):
        s[:, i] = numpy.where(r.random(n) < 0.125, s[:, i], rule[s[:, i - 1], s[:, i - 2]])
    return {"x": s[:, :-1].astype(numpy.int64), "y": s[:, 1:].astype(numpy.int64)}


DATA = {
    "mlp": lambda r: classes(r, 64, (20,), 5),
    "cnn": lambda r: classes(r, 64, (3, 8, 8), 5),
    "vit": lambda r: classes(r, 64, (3, 8, 8), 5),
    "lstm": lambda r: sequences(r, 48, 10, 6, 4),
    "gpt": lambda r: text(r, 48, 16, 11),
}


# ---- training ----

def rows(fields, at, n):
    return {key: value[at:at + n] for key, value in fields.items()}


def train(document, data, first, dtype):
    """Losses, first gradients and statistics after the first step, from given first weights."""
    o = document["train"]
    batch = int(o["batch"])
    fields = {key: torch.from_numpy(value) for key, value in data.items()}
    x, y = fields.pop("x"), fields.pop("y")
    module = torch_net.Network(document["model"], x[:batch], rows(fields, 0, batch)).to(dtype)
    if x.is_floating_point():
        x = x.to(dtype)
    module.train()
    weights = module.weights()
    with torch.no_grad():
        for name, value in first.items():
            weights[name].copy_(value)
    update, mean_loss = torch_net.optimizer(o, module), torch_net.objective(o)
    losses, gradients, statistics = [], {}, {}
    for step in range(STEPS):
        at = step * batch % len(x)
        update.zero_grad(set_to_none=True)
        loss = mean_loss(module(x[at:at + batch], rows(fields, at, batch)), y[at:at + batch])
        loss.backward()
        if step == 0:
            gradients = {name: w.grad.clone() for name, w in weights.items() if w.requires_grad}
            statistics = {name: w.clone() for name, w in weights.items() if not w.requires_grad}
        if float(o.get("clip_norm", 0)) > 0:
            torch.nn.utils.clip_grad_norm_(module.parameters(), float(o["clip_norm"]))
        update.step()
        losses.append(loss.item())
    return numpy.array(losses), gradients, statistics


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def make(name):
    config = os.path.join(HERE, name + ".yaml")
    document = torch_net.load(config)
    data = DATA[name](numpy.random.default_rng(1))
    batch = int(document["train"]["batch"])
    if len(data["x"]) % batch != 0:
        sys.exit(f"{name}: {len(data['x'])} samples are not a whole number of batches of {batch}")
    torch.manual_seed(1)
    fields = {key: torch.from_numpy(value[:batch]) for key, value in data.items()}
    first = {key: w.detach().clone() for key, w in torch_net.Network(document["model"], fields["x"], fields).weights().items()}
    # The pass that told the shapes has moved the running statistics.
    for key, value in first.items():
        if key.endswith("running_mean") or key.endswith("running_var"):
            value.fill_(1.0 if key.endswith("var") else 0.0)
    losses, gradients, statistics = train(document, data, first, torch.float64)
    single, single_gradients, _ = train(document, data, first, torch.float32)
    loss_off = float(numpy.abs(single / losses - 1).max())
    gradient_off = max(float((single_gradients[k].double() - g).norm() / g.norm()) for k, g in gradients.items())
    path = os.path.join(HERE, name + ".h5")
    with h5py.File(path, "w", libver=("earliest", "v108")) as f:
        for key, value in data.items():
            f.create_dataset(key, data=value, track_times=False)
        for group, values in (("weights", first), ("gradients", gradients), ("statistics", statistics)):
            for key, value in values.items():
                f.create_dataset(f"{group}/{'/'.join(key.rsplit('.', 1))}", data=value.float().numpy(), track_times=False)
        f.create_dataset("loss", data=losses, track_times=False)
        f.attrs.update({
            "torch": str(torch.__version__), "numpy": numpy.__version__, "h5py": h5py.__version__,
            "script": digest(os.path.abspath(__file__)), "network": digest(os.path.join(BENCH, "torch_net.py")), "config": digest(config),
            "float32_loss_difference": loss_off, "float32_gradient_difference": gradient_off})
    print(f"{name}: loss {losses[0]:.4f} to {losses[-1]:.4f}; PyTorch in float32 is off by {loss_off:.1e} (loss), {gradient_off:.1e} (gradients); "
          f"{os.path.getsize(path) / 1024:.0f} KiB")


def main():
    names = sys.argv[1:] or sorted(os.path.basename(p)[:-len(".yaml")] for p in glob.glob(os.path.join(HERE, "*.yaml")))
    for name in names:
        make(name)


main()
