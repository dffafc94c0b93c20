"""A least-squares problem that trains in a blink."""

import torch
from torch import nn

from farout.base.ranks import joint, own
from farout.base.training import Budget, seeded, train

X = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3


def linear():
    with seeded(1):
        return nn.Linear(3, 1)


def squares(module):
    def objective(batch, progress):
        x, y = batch
        loss = (joint(module(own(x))) - y).square().mean()
        return loss, {"bits/dim": float(loss.detach()) / 2}

    return objective


def fit(module=None, objective=None, validation=False, where=None, name="test", **budget):
    module = module or linear()
    settings = {"max_steps": 60, "batch_size": 50, "learning_rate": 0.05, "validate_every": 10} | budget
    history = train(
        module,
        objective or squares(module),
        (X, Y),
        Budget(**settings),
        validation_rows=(X[:50], Y[:50]) if validation else None,
        where=where,
        name=name,
    )
    return module, history


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])
