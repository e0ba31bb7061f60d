"""The guard encoder: a shortened MiniLM with a vocabulary of its own, and attention-pooled heads.

Detection and attribution are separate: one head says "unsafe or not", a second one says which label.
The exported logit of a label is the detection logit minus how far the label trails the best label,
so the strongest label always carries the whole detection score.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Layer(nn.Module):
    """A layer of BERT: attention and a feed-forward part, each with a norm behind its sum."""

    def __init__(self, dim, heads, ffn, dropout):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-12), nn.LayerNorm(dim, eps=1e-12)
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.up, self.down = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.drop = nn.Dropout(dropout)

    def split(self, x):
        b, t, d = x.shape
        return x.reshape(b, t, self.heads, d // self.heads).transpose(1, 2)

    def forward(self, x, bias):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = q @ k.transpose(2, 3) * (1 / math.sqrt(q.shape[-1])) + bias
        y = (self.drop(torch.softmax(scores, -1)) @ v).transpose(1, 2).reshape(x.shape)
        x = self.norm1(x + self.drop(self.o(y)))
        return self.norm2(x + self.drop(self.down(F.gelu(self.up(x)))))


class Guard(nn.Module):
    """`known` rows of the table come from MiniLM and stay as they are; what is trained is added to the rows behind them."""

    def __init__(self, vocab, known, labels, dim=384, layers=4, heads=12, ffn=1536, max_tokens=128, dropout=0.1):
        super().__init__()
        self.labels, self.known = labels, known
        self.register_buffer("table", torch.zeros(vocab, dim))
        self.fresh = nn.Embedding(vocab - known + 1, dim)  # row 0 belongs to all known pieces and is not used
        nn.init.zeros_(self.fresh.weight)
        self.pos = nn.Embedding(max_tokens, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.layers = nn.ModuleList(Layer(dim, heads, ffn, dropout) for _ in range(layers))
        self.query = nn.Linear(dim, labels + 1)
        self.value = nn.Linear(dim, labels + 1)
        self.mean = nn.Linear(dim, labels + 1)
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)
        self.drop = nn.Dropout(dropout)

    def embed(self, input_ids):
        rows = F.embedding(input_ids, self.table)
        if self.fresh is not None:
            place = (input_ids - (self.known - 1)).clamp(min=0)
            rows = rows + self.fresh(place) * (place > 0).unsqueeze(-1)
        return rows

    def heads(self, input_ids, attention_mask):
        """Raw head outputs [batch, labels + 1]: labels first, detection last."""
        mask = attention_mask.to(torch.float32)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.drop(self.norm(self.embed(input_ids) + self.pos(places).unsqueeze(0)))
        away = (1.0 - mask) * -10000.0
        for layer in self.layers:
            x = layer(x, away.unsqueeze(1).unsqueeze(1))
        return self.read_out(x.float(), mask, away)

    def read_out(self, x, mask, away):
        x = self.drop(x)
        weight = torch.softmax(self.query(x) + away.unsqueeze(-1), 1)
        pooled = (weight * self.value(x)).sum(1)
        share = mask / mask.sum(1, keepdim=True)
        return pooled + self.mean((x * share.unsqueeze(-1)).sum(1))

    def forward(self, input_ids, attention_mask):
        out = self.heads(input_ids, attention_mask)
        labels, detect = out[:, : self.labels], out[:, self.labels :]
        return detect + labels - labels.max(1, keepdim=True).values

    def cool(self, temperature):
        """Divides what the heads give."""
        with torch.no_grad():
            for head in (self.value, self.mean):
                head.weight /= temperature
                head.bias /= temperature

    def merge(self):
        """Writes what was learned for the fresh pieces into the table, as the exported graph has it."""
        if self.fresh is not None:
            self.table[self.known :] += self.fresh.weight.detach()[1:]
            self.fresh = None
        return self


def pad(rows):
    width = max(len(r) for r in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, r in enumerate(rows):
        ids[i, : len(r)] = torch.tensor(r)
        mask[i, : len(r)] = 1
    return ids, mask


def loss_of(out, targets, focal=0.0, smooth=0.02):
    """Binary cross entropy for detection, cross entropy over labels for the unsafe rows. With `focal` the rows that are judged
    wrong count for more."""
    unsafe = (targets.sum(1) > 0).float()
    detect = out[:, -1]
    aim = unsafe * (1 - 2 * smooth) + smooth
    each = F.binary_cross_entropy_with_logits(detect, aim, reduction="none")
    weight = (torch.sigmoid(detect) - unsafe).abs().detach() ** focal
    loss = (each * weight).mean() / (weight.mean() + 0.03)
    goal = targets / targets.sum(1, keepdim=True).clamp(min=1)
    label = -(goal * F.log_softmax(out[:, :-1], 1)).sum()
    loss = loss + 0.3 * label / unsafe.sum().clamp(min=1)
    return loss


def disagreement(one, other):
    """How far two readings of the same rows lie apart: the divergences of detection and of labels, both ways (Liang et al. 2021,
    "R-Drop: Regularized Dropout for Neural Networks")."""
    p, q = torch.sigmoid(one[:, -1]), torch.sigmoid(other[:, -1])
    detect = ((p - q) * (one[:, -1] - other[:, -1])).mean()
    a, b = F.log_softmax(one[:, :-1], 1), F.log_softmax(other[:, :-1], 1)
    return 0.5 * detect + 0.05 * ((a.exp() - b.exp()) * (a - b)).sum(1).mean()
