"""Outliers in a training loop of your own, in five lines. Run: python examples/own_training_loop.py"""

import torch
from sklearn.datasets import make_blobs
from torch import nn

import farout as fo

X, y = make_blobs(600, centers=[[0, 6], [-5, -3], [5, -3]], random_state=0)
x, labels = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
far = torch.tensor([[0.0, 14.0], [-12.0, -7.0], [12.0, -7.0]])
torch.manual_seed(0)
network = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)

source = fo.NormalShell(6.0, flow=fo.FlowDensity(max_steps=100, random_state=0)).fit(X, y)  # 1
for step, (outliers, _) in zip(range(200), source.batches(128, random_state=0), strict=False):  # 2
    rows = torch.randint(len(x), (128,))
    logits = network(torch.cat([x[rows], outliers]))  # 3: one batch of both
    loss = fo.cautious_loss(logits[:128], labels[rows], logits[128:], beta=1.0)  # 4
    optimizer.zero_grad()
    loss.backward()  # 5
    optimizer.step()
    if step % 100 == 99:
        print(f"step {step + 1}: loss {loss.item():.3f}")

with torch.no_grad():
    inside, outside = (network(rows).softmax(dim=1).max(dim=1).values.mean() for rows in (x, far))
print(f"confidence on normal rows {inside:.2f}, far away {outside:.2f}")
