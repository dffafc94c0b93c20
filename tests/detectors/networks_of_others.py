"""Networks as people have them, trained on digits 0 to 6: what `farout.wrap` is given."""

import copy
import functools
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import farout as fo
from farout.base.process import seeded
from farout.networks.image import ResidualNetwork

SHAPE, NAMES = (1, 8, 8), ["zero", "one", "two", "three", "four", "five", "six"]
TRAIN, FRESH = fo.load_data("digits:train@0-6"), fo.load_data("digits:test@0-6")
UNSEEN = fo.load_data("digits:all@7-9")
# Rows that no network below was trained on: to fit on, and to judge by.
FIT, JUDGED = np.arange(len(FRESH)) % 2 == 0, np.arange(len(FRESH)) % 2 == 1
X, Y = FRESH.X[FIT], np.array(NAMES)[FRESH.y[FIT]]
X_NEW, Y_NEW = FRESH.X[JUDGED], np.array(NAMES)[FRESH.y[JUDGED]]


@functools.cache
def trained(make, steps=150):
    """The network that a function makes, trained for a moment on digits in [0, 1]; cached: tests must not change it."""
    x, y = torch.tensor(TRAIN.X, dtype=torch.float32).reshape(-1, *SHAPE), torch.tensor(TRAIN.y)
    with seeded(0):
        network = make().train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
        for _ in range(steps):
            rows = torch.randint(len(x), (64,))
            loss = F.cross_entropy(network(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.zero_grad()
    return network.eval()


def cnn():
    """Convolutions, dropout and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 7),
    )  # fmt: skip


def resnet():
    """As torchvision's: batch normalisation, residual blocks, a pooled linear layer."""
    return ResidualNetwork(SHAPE, 7, widths=(8, 16), blocks=1)


class Changed(nn.Module):
    """A trained network, with something done to what it is given and gives."""

    def __init__(self, network, before=None, after=None):
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, *args, **kwargs):
        given = args[0] if self.before is None else self.before(*args, **kwargs)
        made = self.network(given)
        return made if self.after is None else self.after(made)


@dataclass
class Output:
    """As Hugging Face's models give."""

    logits: Tensor
    hidden_states: None = None


def inplace(x):
    return x.mul_(1.0)


class Squeezing(nn.Module):
    """Squeezes a batch of one away."""

    def __init__(self):
        super().__init__()
        self.network = trained(cnn)

    def forward(self, x):
        return self.network(x)[:, :, None, None].squeeze()


class Caching(nn.Module):
    """Keeps what it saw, with its gradient, as networks with hooks do."""

    def __init__(self):
        super().__init__()
        self.network, self.seen = trained(cnn), None

    def forward(self, x):
        self.seen = self.network[0](x)
        return self.network[1:](self.seen)


def caching():
    network = Caching()
    network(torch.zeros(2, *SHAPE))
    assert network.seen.grad_fn is not None
    return network


def normed():
    """The old normalisation of weights, which deepcopy refuses after a forward pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.weight_norm(nn.Linear(64, 32))
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(32, 7))


def weight_norm():
    network = trained(normed)
    network(torch.zeros(2, *SHAPE))
    assert network[1].weight.grad_fn is not None
    return network


class OfWords(nn.Module):
    """As a text classifier: whole numbers and a mask by name, embedded and averaged, a dict out."""

    def __init__(self):
        super().__init__()
        self.embedding, self.classifier = nn.Embedding(64 * 17 + 1, 16), nn.Linear(16, 7)

    def forward(self, input_ids, attention_mask):
        mask = attention_mask[..., None].to(self.embedding.weight.dtype)
        pooled = (self.embedding(input_ids) * mask).sum(1) / mask.sum(1).clamp(min=1)
        return {"logits": self.classifier(pooled), "pooled": pooled}


def words(x):
    """A word a pixel that isn't black: which pixel and how bright."""
    levels = (x.flatten(1) * 16).round().long()
    numbers = torch.arange(64, device=x.device) * 17 + levels
    return {"input_ids": numbers, "attention_mask": (levels > 0).long()}


class Learner(nn.Module):
    """`OfWords` on images, to train it."""

    def __init__(self):
        super().__init__()
        self.inner = OfWords()

    def forward(self, x):
        return self.inner(**words(x))["logits"]


def of_words():
    return trained(Learner, steps=600).inner


class OneOutput(nn.Module):
    """Tells digits below 3 from others by one logit."""

    def __init__(self, sigmoid=False):
        super().__init__()
        self.network, self.sigmoid = trained(cnn), sigmoid

    def forward(self, x):
        logits = self.network(x)
        made = logits[:, 3:].logsumexp(1) - logits[:, :3].logsumexp(1)
        return made.sigmoid() if self.sigmoid else made


class Aside(nn.Module):
    """Another linear layer of as many outputs is called after the one that counts, and is the last registered."""

    def __init__(self):
        super().__init__()
        self.network = trained(cnn)
        self.other = nn.Linear(5, 7)

    def forward(self, x):
        made = self.network(x)
        self.other(x[:, 0, 0, :5])
        return made


def double():
    return copy.deepcopy(trained(cnn)).double()


def half():
    return copy.deepcopy(trained(cnn)).bfloat16()


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.trace(trained(cnn), torch.zeros(2, *SHAPE), check_trace=False)


# name: (network, settings of wrap)
NETWORKS = {
    "cnn": lambda: (trained(cnn), {}),
    "resnet": lambda: (trained(resnet), {}),
    "text": lambda: (of_words(), {"inputs": words}),
    "channels last": lambda: (copy.deepcopy(trained(cnn)).to(memory_format=torch.channels_last), {}),
    "softmax": lambda: (Changed(trained(cnn), after=nn.Softmax(1)), {}),
    "log softmax": lambda: (Changed(trained(cnn), after=nn.LogSoftmax(1)), {}),
    "dataclass": lambda: (Changed(trained(cnn), after=Output), {}),
    "tuple": lambda: (Changed(trained(cnn), after=lambda made: (made, made.sum())), {}),
    "in place": lambda: (Changed(trained(cnn), before=inplace), {}),
    "squeezing": lambda: (Squeezing(), {}),
    "caching": lambda: (caching(), {}),
    "weight norm": lambda: (weight_norm(), {}),
    "another head": lambda: (Aside(), {}),
    "compiled": lambda: (torch.compile(trained(cnn), backend="eager"), {}),
    "parallel": lambda: (nn.DataParallel(trained(cnn)), {}),
    "float64": lambda: (double(), {}),
    "bfloat16": lambda: (half(), {}),
}
