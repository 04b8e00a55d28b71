"""The network of a lockstep config as a PyTorch module: what bench/peer.py times and tests/parity/make_reference.py trains.

Not a general reader of configs: lockstep itself says what is wrong with one. Shapes, order and names of the weights are lockstep's:
`Network.weights()` gives them under those names.
"""
import math

import torch
import yaml
from torch import nn
from torch.nn import functional as F


class Unknown(Exception):
    """A layer, option or objective that has no counterpart here."""


# ---- the config ----

def set_value(document, assignment):
    """As `lockstep --set model.0.conv.filters=64`."""
    path, value = assignment.split("=", 1)
    *way, last = path.split(".")
    at = document
    for key in way:
        at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
    at[int(last) if isinstance(at, list) else last] = yaml.safe_load(value)


def load(path, sets=()):
    with open(path, encoding="utf-8") as f:
        document = yaml.safe_load(f)
    for assignment in sets:
        set_value(document, assignment)
    return document


# ---- layers ----

def numbers(value, n):
    """One number for all sides, or one a side."""
    values = [int(v) for v in (value if isinstance(value, list) else [value])]
    return tuple(values * n if len(values) == 1 else values)


class Layers(nn.Module):
    """A list of layers, each fed by the one before, or by the named value that it asks for. Blocks hand the named values on."""

    def __init__(self, steps):
        super().__init__()
        self.net = nn.ModuleList(module for module, _, _ in steps)
        self.way = [(source, name) for _, source, name in steps]

    def forward(self, x, named):
        for module, (source, name) in zip(self.net, self.way):
            if source is not None:
                x = named[source]
            x = module(x, named) if isinstance(module, BLOCKS) else module(x)
            if name is not None:
                named[name] = x
        return x


class Residual(nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x, named):
        y = self.body(x, named)
        return y + (x if self.shortcut is None else self.shortcut(x, named))


# How parts become one, by the axis that `concat` asks for.
JOIN = {"add": lambda _: sum, "multiply": lambda _: math.prod, "concat": lambda axis: lambda parts: torch.cat(parts, axis)}


class Branch(nn.Module):
    def __init__(self, paths, function):
        super().__init__()
        self.paths, self.function = nn.ModuleList(paths), function

    def forward(self, x, named):
        return self.function([path(x, named) for path in self.paths])


class Combine(nn.Module):
    """Its input with the outputs of named layers: sum, product, or one behind the other."""

    def __init__(self, others, function):
        super().__init__()
        self.others, self.function = others, function

    def forward(self, x, named):
        return self.function([x] + [named[other] for other in self.others])


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


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


class RMSNorm(nn.Module):
    def __init__(self, units, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(units)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Positions(nn.Module):
    """Adds to each place of [B,T,C] a vector of its own: learned, or the sines and cosines of Vaswani et al. 2017, 3.5."""

    def __init__(self, kind, size, units, deviation):
        super().__init__()
        if kind == "learned":
            self.weight = nn.Parameter(deviation * torch.randn(size, units))
            return
        angle = torch.arange(size)[:, None] * torch.exp(torch.arange(0, units, 2) * (-math.log(10000.0) / units))
        table = torch.stack([angle.sin(), angle.cos()], -1).reshape(size, -1)[:, :units]
        self.register_buffer("weight", table, persistent=False)

    def forward(self, x):
        return x + self.weight[:x.shape[1]]


class Attention(nn.Module):
    """Packed projection to queries, keys and values, attention a head, projection of what comes out."""

    def __init__(self, units, heads, causal, bias):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(units, 3 * units, bias), nn.Linear(units, units, bias)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            score = (q @ k.transpose(-2, -1)) * (C // self.heads) ** -0.5
            if self.causal:
                score = score.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float("-inf"))
            y = score.softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(B, T, C))


def attention(o, x):
    for key in o:
        if key not in ("heads", "causal", "bias"):
            raise Unknown(f"attention with {key} has no counterpart here")
    return Attention(x.shape[-1], int(o["heads"]), bool(o.get("causal", False)), bool(o.get("bias", True)))


class Recurrent(nn.Module):
    """Zeros behind a sample's length, and `last`: what each direction ends with, as in lockstep."""

    def __init__(self, kind, x, o):
        super().__init__()
        options = {"nonlinearity": o.get("activation", "tanh")} if kind is nn.RNN else {}
        self.net = kind(x.shape[-1], int(o["units"]), int(o.get("layers", 1)), batch_first=True,
                        bidirectional=bool(o.get("bidirectional", False)), dropout=float(o.get("dropout", 0)), **options)
        self.lengths, self.last = o.get("lengths"), o.get("output") == "last"

    def forward(self, x, named):
        if self.lengths is not None:
            packed = nn.utils.rnn.pack_padded_sequence(x, named[self.lengths], batch_first=True, enforce_sorted=False)
            y, h = self.net(packed)
            y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        else:
            y, h = self.net(x)
        if not self.last:
            return y
        h = h[0] if isinstance(h, tuple) else h
        return torch.cat([h[-2], h[-1]], -1) if self.net.bidirectional else h[-1]


class Tied(nn.Module):
    """A linear layer on the weights of an embedding."""

    def __init__(self, embedding, bias):
        super().__init__()
        self.weight = embedding.weight
        self.bias = nn.Parameter(torch.zeros(self.weight.shape[0])) if bias else None

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


def conv(o, x):
    n, channels = x.dim() - 2, x.shape[1]
    kernel, stride, dilation = (numbers(o.get(key, 1), n) for key in ("kernel", "stride", "dilation"))
    pad = o.get("pad", 0)
    if pad == "same":
        total = [max(0, (math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size)
                 for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation)]
    else:
        total = [2 * p for p in numbers(0 if pad == "valid" else pad, n)]
    even = all(t % 2 == 0 for t in total)
    groups = channels if o.get("depthwise") else int(o.get("groups", 1))
    net = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1](
        channels, int(o.get("filters") or channels), kernel, stride, [t // 2 for t in total] if even else 0, dilation, groups,
        bool(o.get("bias", True)))
    if even:
        return net
    sides = [side for t in reversed(total) for side in (t // 2, t - t // 2)]
    return nn.Sequential((nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)[n - 1](sides, 0.0), net)


def conv_transpose(o, x):
    n = x.dim() - 2
    kernel, stride, pad, more, dilation = (
        numbers(o.get(key, default), n)
        for key, default in (("kernel", 1), ("stride", 1), ("pad", 0), ("output_pad", 0), ("dilation", 1)))
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[n - 1]
    return kind(x.shape[1], int(o["filters"]), kernel, stride, pad, more, int(o.get("groups", 1)), bool(o.get("bias", True)), dilation)


def batch_norm(o, x):
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[x.dim()]
    return kind(x.shape[1], eps=float(o.get("eps", 1e-5)), momentum=float(o.get("momentum", 0.1)))


def pool(kinds):
    def make(o, x):
        n = x.dim() - 2
        size = numbers(o["size"], n)
        return kinds[n - 1](size, numbers(o["stride"], n) if o.get("stride") is not None else size, numbers(o.get("pad", 0), n))
    return make


MAX_POOL = pool((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d))
AVG_POOL = pool((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d))


class GlobalPool(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        return x.flatten(2).amax(2) if self.kind == "max" else x.flatten(2).mean(2)


def ints(value):
    return [int(v) for v in (value if isinstance(value, list) else [value])]


def sides(o, x):
    """pad's numbers in PyTorch's order: pairs from the last dimension to the first."""
    before, after = ((ints(o.get(k, 0)) + [0] * x.dim())[:x.dim() - 1] for k in ("before", "after"))
    return [n for pair in zip(before[::-1], after[::-1]) for n in pair]


def part(o, x):
    axis, start = int(o.get("axis", 1)), int(o.get("start", 0))
    start += x.shape[axis] if start < 0 else 0
    return x.narrow(axis, start, int(o.get("length", 0)) or x.shape[axis] - start)


def layer_norm(o, x):
    net = nn.LayerNorm(x.shape[-1], eps=float(o.get("eps", 1e-5)))
    if not o.get("bias", True):
        net.register_parameter("bias", None)
    return net


def upsample(o, x):
    n = x.dim() - 2
    factor = tuple(float(f) for f in numbers(o["factor"], n))
    if o.get("mode", "nearest") == "nearest":
        return nn.Upsample(scale_factor=factor)
    return nn.Upsample(scale_factor=factor, mode=("linear", "bilinear", "trilinear")[n - 1], align_corners=False)


# What takes the named values as well.
BLOCKS = (Layers, Residual, Branch, Combine, Recurrent)

# What a layer's plain value stands for.
SHORT = {
    "linear": "units", "gelu": "form", "max_pool": "size", "avg_pool": "size", "max_pool1d": "size", "avg_pool1d": "size",
    "max_pool3d": "size", "avg_pool3d": "size", "dropout": "rate", "residual": "layers",
    "adaptive_avg_pool": "size", "global_pool": "kind", "upsample": "factor", "group_norm": "groups", "leaky_relu": "slope", "elu": "alpha",
    "branch": "paths", "add": "with", "multiply": "with", "concat": "with", "take": "from", "reshape": "to", "permute": "order",
    "scale": "by", "mean": "axes", "sum": "axes", "spatial_dropout": "rate", "drop_path": "rate", "positions": "kind", "attention": "heads", "lstm": "units", "gru": "units", "rnn": "units",
}
IMAGES = ("conv", "max_pool", "avg_pool", "conv_transpose", "upsample", "adaptive_avg_pool")
LAYERS = {
    "linear": lambda o, x: nn.Linear(x.shape[-1], int(o["units"]), bool(o.get("bias", True))),
    "conv": conv,
    "conv1d": conv,
    "conv3d": conv,
    "conv_transpose1d": conv_transpose,
    "conv_transpose": conv_transpose,
    "conv_transpose3d": conv_transpose,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": lambda o, x: nn.GroupNorm(int(o["groups"]), x.shape[1], eps=float(o.get("eps", 1e-5))),
    "rms_norm": lambda o, x: RMSNorm(x.shape[-1], float(o.get("eps", 1e-6))),
    "instance_norm": lambda o, x: nn.GroupNorm(x.shape[1], x.shape[1], eps=float(o.get("eps", 1e-5))),
    "relu": lambda o, x: nn.ReLU(),
    "leaky_relu": lambda o, x: nn.LeakyReLU(float(o.get("slope", 0.01))),
    "elu": lambda o, x: nn.ELU(float(o.get("alpha", 1.0))),
    "gelu": lambda o, x: nn.GELU(approximate="tanh" if o.get("form") == "tanh" else "none"),
    "silu": lambda o, x: nn.SiLU(),
    "sigmoid": lambda o, x: nn.Sigmoid(),
    "tanh": lambda o, x: nn.Tanh(),
    "softplus": lambda o, x: nn.Softplus(threshold=1e9),
    "softmax": lambda o, x: nn.Softmax(-1),
    "glu": lambda o, x: nn.GLU(-1),
    "swiglu": lambda o, x: Gate(F.silu),
    "geglu": lambda o, x: Gate(F.gelu),
    "max_pool1d": MAX_POOL,
    "max_pool": MAX_POOL,
    "max_pool3d": MAX_POOL,
    "avg_pool1d": AVG_POOL,
    "avg_pool": AVG_POOL,
    "avg_pool3d": AVG_POOL,
    "global_pool": lambda o, x: GlobalPool(o.get("kind", "mean")),
    "adaptive_avg_pool": lambda o, x: (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[x.dim() - 3](numbers(o["size"], x.dim() - 2)),
    "upsample": upsample,
    "flatten": lambda o, x: nn.Flatten(),
    "dropout": lambda o, x: nn.Dropout(float(o.get("rate", 0.5))),
    "reshape": lambda o, x: Function(lambda v: v.reshape([v.shape[0]] + ints(o["to"]))),
    "permute": lambda o, x: Function(lambda v: v.permute([0] + ints(o["order"]))),
    "pad": lambda o, x: Function(lambda v: F.pad(v, sides(o, v), value=float(o.get("value", 0)))),
    "slice": lambda o, x: Function(lambda v: part(o, v)),
    "scale": lambda o, x: Function(lambda v: v * float(o["by"])),
    "mean": lambda o, x: Function(lambda v: v.mean(ints(o["axes"]), bool(o.get("keep", False)))),
    "sum": lambda o, x: Function(lambda v: v.sum(ints(o["axes"]), bool(o.get("keep", False)))),
    "spatial_dropout": lambda o, x: {3: nn.Dropout1d, 4: nn.Dropout2d, 5: nn.Dropout3d}[x.dim()](float(o.get("rate", 0.5))),
    "drop_path": lambda o, x: DropPath(float(o.get("rate", 0.5))),
    "embedding": lambda o, x: nn.Embedding(int(o["size"]), int(o["units"])),
    "positions": lambda o, x: Positions(o.get("kind", "learned"), int(o.get("max") or x.shape[1]), x.shape[2],
                                     float(o.get("deviation", 1))),
    "attention": attention,
    "lstm": lambda o, x: Recurrent(nn.LSTM, x, o),
    "gru": lambda o, x: Recurrent(nn.GRU, x, o),
    "rnn": lambda o, x: Recurrent(nn.RNN, x, o),
}


class Network(nn.Module):
    """The layers of a config; x is any batch of the right shape, which goes along to tell the shapes; fields: further ones of the data, by name."""

    def __init__(self, layers, x, fields=None):
        super().__init__()
        self.count, self.named, self.alias, self.time = {}, {}, {}, ""
        self.net = self.build(layers, x, dict(fields or {}))[0]

    def forward(self, x, fields=None):
        return self.net(x, dict(fields or {}))

    def build(self, layers, x, values):
        """The module, and what comes out for x; `values` gets the named values of x on the way."""
        steps = []
        for layer in layers:
            (word, o), = layer.items() if isinstance(layer, dict) else [(layer, None)]
            if o is None:
                o = {}
            elif not isinstance(o, dict):
                if word not in SHORT:
                    raise Unknown(f'layer "{word}": a plain value has no meaning here')
                o = {SHORT[word]: o}
            source = self.alias.get(o.get("from"), o.get("from"))
            if source is not None:
                x = values[source]
            if word in IMAGES and x.dim() == 3:  # [height, width]: one channel
                steps.append((nn.Unflatten(1, (1, x.shape[1])), source, None))
                x, source = steps[-1][0](x), None
            self.count[word] = self.count.get(word, 0) + 1
            name = f"{word}{self.count[word]}"
            if "name" in o:
                name = o["name"] + self.time
                self.alias[o["name"]] = name
            module, x = self.layer(word, name, o, x, values)
            if "name" in o:
                values[name] = x
            steps.append((module, source, name if "name" in o else None))
        return Layers(steps), x

    def layer(self, word, name, o, x, values):
        if word == "repeat":
            steps, time = [], self.time
            for i in range(int(o["times"])):
                self.time = f"{time}.{i}"
                module, x = self.build(o["layers"], x, values)
                steps.append((module, None, None))
            self.time = time
            return Layers(steps), x
        if word == "residual":
            body = self.build(o["layers"], x, values)[0]
            module = Residual(body, self.build(o["shortcut"], x, values)[0] if o.get("shortcut") else None)
        elif word == "branch":
            module = Branch([self.build(path, x, values)[0] for path in o["paths"]], JOIN[o.get("combine", "concat")](int(o.get("axis", 1))))
        elif word in ("add", "multiply", "concat"):
            others = o["with"] if isinstance(o["with"], list) else [o["with"]]
            module = Combine([self.alias.get(other, other) for other in others], JOIN[word](int(o.get("axis", 1))))
        elif word == "take":
            module = nn.Identity()
        elif word == "linear" and o.get("tie"):
            module = self.named[name] = Tied(self.named[o["tie"]], bool(o.get("bias", True)))
        elif word in LAYERS:
            module = self.named[name] = LAYERS[word](o, x)
        else:
            raise Unknown(f'layer "{word}" has no counterpart here')
        with torch.no_grad():
            return module, module(x, values) if isinstance(module, BLOCKS) else module(x)

    def weights(self):
        """Name in lockstep -> parameter or running statistic; each once, under the first layer that has it."""
        out, seen = {}, set()
        for name, module in self.named.items():
            for key, value in list(module.named_parameters()) + list(module.named_buffers()):
                leaf = key.rsplit(".", 1)[-1] if not isinstance(module, Attention) else key
                if leaf == "num_batches_tracked" or id(value) in seen or (isinstance(module, Positions) and not value.requires_grad):
                    continue
                seen.add(id(value))
                out[f"{name}.{leaf}"] = value
        return out


# ---- loss and update ----

def objective(train):
    """(output, target) -> mean loss."""
    kind = train.get("objective", "classify")
    if kind == "classify":
        return F.cross_entropy
    if kind == "language_model":
        return lambda y, target: F.cross_entropy(y.flatten(0, 1), target.flatten())
    if kind == "regress":
        return lambda y, target: F.mse_loss(y, target.view_as(y))
    raise Unknown(f'objective "{kind}" has no counterpart here')


def optimizer(o, module, **options):
    """Weight decay on what has two or more dimensions, as in lockstep."""
    decay = float(o.get("weight_decay", 0))
    groups = [
        {"params": [p for p in module.parameters() if p.dim() >= 2], "weight_decay": decay},
        {"params": [p for p in module.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    rate = float(o["lr"]["peak"] if isinstance(o["lr"], dict) else o["lr"])
    if o.get("optimizer", "adamw") == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=float(o.get("momentum", 0.9)), nesterov=bool(o.get("nesterov", False)), **options)
    betas = (float(o.get("beta1", 0.9)), float(o.get("beta2", 0.999)))
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=float(o.get("eps", 1e-8)), **options)
