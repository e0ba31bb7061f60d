"""The guard encoder: embeddings, a width-3 convolution, transformer layers, attention-pooled heads.

Detection and attribution are separate: one head says "unsafe or not", a second one says which label.
The exported logit of a label is the detection logit minus how far the label trails the best label,
so the strongest label always carries the whole detection score.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Layer(nn.Module):
    def __init__(self, dim, heads, ffn, dropout):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.up, self.down = nn.Linear(dim, ffn), nn.Linear(ffn, dim)
        self.drop = nn.Dropout(dropout)

    def split(self, x):
        b, t, d = x.shape
        return x.reshape(b, t, self.heads, d // self.heads).transpose(1, 2)

    def forward(self, x, bias):
        y = self.norm1(x)
        q, k, v = self.split(self.q(y)), self.split(self.k(y)), self.split(self.v(y))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + bias
        y = (self.drop(torch.softmax(scores, -1)) @ v).transpose(1, 2).reshape(x.shape)
        x = x + self.drop(self.o(y))
        return x + self.drop(self.down(self.drop(torch.relu(self.up(self.norm2(x))))))


class Guard(nn.Module):
    def __init__(self, vocab, labels, dim=96, layers=2, heads=4, ffn=192, max_tokens=128, dropout=0.2):
        super().__init__()
        self.labels = labels
        self.emb = nn.Embedding(vocab, dim)
        self.pos = nn.Embedding(max_tokens, dim)
        nn.init.normal_(self.emb.weight, std=0.3)
        nn.init.normal_(self.pos.weight, std=0.02)
        self.conv = nn.Conv1d(dim, dim, 3, padding=1)
        self.layers = nn.ModuleList(Layer(dim, heads, ffn, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, labels + 1)
        self.value = nn.Linear(dim, labels + 1)
        self.wide = nn.Linear(dim, labels + 1, bias=False)
        self.drop = nn.Dropout(dropout)
        self.token_drop = nn.Dropout(0.1)

    def heads(self, input_ids, attention_mask):
        """Raw head outputs [batch, labels + 1]: labels first, detection last."""
        mask = attention_mask.to(torch.float32)
        x = self.emb(input_ids) * mask.unsqueeze(-1)
        x = self.token_drop(x)
        wide = x
        x = x + self.position(input_ids)
        x = x + torch.relu(self.conv((x * mask.unsqueeze(-1)).transpose(1, 2)).transpose(1, 2))
        x = self.drop(x)
        away = (1.0 - mask) * -10000.0
        for layer in self.layers:
            x = layer(x, away.unsqueeze(1).unsqueeze(1))
        x = self.norm(x)
        weight = torch.softmax(self.query(x) + away.unsqueeze(-1), 1)
        pooled = (weight * self.value(x)).sum(1)
        peak = (self.wide(wide) + away.unsqueeze(-1)).max(1).values
        return pooled + peak

    def position(self, input_ids):
        ids = torch.arange(input_ids.shape[1], device=input_ids.device)
        return self.pos(ids).unsqueeze(0)

    def forward(self, input_ids, attention_mask):
        out = self.heads(input_ids, attention_mask)
        labels, detect = out[:, : self.labels], out[:, self.labels :]
        return detect + labels - labels.max(1, keepdim=True).values


def loss_of(out, targets, smooth=0.02):
    """Binary cross entropy for detection, cross entropy over labels for the unsafe rows."""
    unsafe = (targets.sum(1) > 0).float()
    detect = out[:, -1]
    aim = unsafe * (1 - 2 * smooth) + smooth
    loss = F.binary_cross_entropy_with_logits(detect, aim)
    if unsafe.sum() > 0:
        rows = unsafe.bool()
        goal = targets[rows] / targets[rows].sum(1, keepdim=True)
        loss = loss + 0.3 * -(goal * F.log_softmax(out[rows, :-1], 1)).sum(1).mean()
    return loss
