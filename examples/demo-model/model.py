"""The demo network: a small text decoder with exactly the Llama 4 layer rules.

Every layer is a mixture of experts (one shared, `n_experts` routed, the best one used). Layers with
(index + 1) % nope_interval == 0 have no rotary embedding, see the whole text and scale their queries by the
attention temperature; all others use adjacent-pair rotary embedding, weightless per-head RMS norm of queries and
keys after it, and attend inside absolute chunks only.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass
class Config:
    vocab_size: int = 2048
    d_model: int = 128
    n_layers: int = 8
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 128
    n_experts: int = 4
    nope_interval: int = 4
    chunk: int = 256
    context: int = 2048
    rope_theta: float = 10000.0
    eps: float = 1e-5
    floor_scale: float = 8192.0
    attn_scale: float = 0.1


def rms(x, eps):
    """Weightless RMS norm over the last axis."""
    return F.rms_norm(x, (x.shape[-1],), None, eps)


class RmsNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rope_table(cfg, length):
    """Complex unit factors e^(i p theta) of shape (length, head_dim / 2)."""
    theta = cfg.rope_theta ** (-torch.arange(0, cfg.head_dim, 2, dtype=torch.float64) / cfg.head_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), theta)
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def rotate(x, turn):
    """Rotates adjacent pairs; x is (batch, heads, time, head_dim)."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2)


class Attention(nn.Module):
    def __init__(self, cfg, layer):
        super().__init__()
        self.cfg = cfg
        self.nope = (layer + 1) % cfg.nope_interval == 0
        wide, narrow = cfg.n_heads * cfg.head_dim, cfg.n_kv_heads * cfg.head_dim
        self.q = nn.Linear(cfg.d_model, wide, bias=False)
        self.k = nn.Linear(cfg.d_model, narrow, bias=False)
        self.v = nn.Linear(cfg.d_model, narrow, bias=False)
        self.o = nn.Linear(wide, cfg.d_model, bias=False)

    def forward(self, x, turn, cache=None):
        """x (batch, time, d_model). With a cache (a dict) the tokens are appended to it; time is then 1 or the
        whole prompt."""
        cfg, (batch, time, _) = self.cfg, x.shape
        start = cache["n"] if cache else 0
        heads = F.linear(x, torch.cat((self.q.weight, self.k.weight, self.v.weight)))
        heads = heads.view(batch, time, cfg.n_heads + 2 * cfg.n_kv_heads, cfg.head_dim).transpose(1, 2)
        qk, v = heads.split((cfg.n_heads + cfg.n_kv_heads, cfg.n_kv_heads), 1)
        if self.nope:
            pos = torch.arange(start, start + time, dtype=torch.float32)
            scale = torch.log1p(torch.floor((pos + 1) / cfg.floor_scale)) * cfg.attn_scale + 1.0
            q, k = qk.split((cfg.n_heads, cfg.n_kv_heads), 1)
            q = q * scale[:, None]
        else:
            qk = rms(rotate(qk, turn[start : start + time]), cfg.eps)
            q, k = qk.split((cfg.n_heads, cfg.n_kv_heads), 1)
        if cache is not None:
            if start:
                k, v = torch.cat((cache["k"], k), 2), torch.cat((cache["v"], v), 2)
            cache.update(k=k, v=v, n=start + time)
        group = cfg.n_heads // cfg.n_kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if start:
            lo = 0 if self.nope else (start // cfg.chunk) * cfg.chunk
            out = F.scaled_dot_product_attention(q, k[:, :, lo:], v[:, :, lo:])
        elif self.nope:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            spans = [slice(i, i + cfg.chunk) for i in range(0, time, cfg.chunk)]
            out = torch.cat(
                [F.scaled_dot_product_attention(q[:, :, s], k[:, :, s], v[:, :, s], is_causal=True) for s in spans], 2
            )
        return self.o(out.transpose(1, 2).reshape(batch, time, -1))


class SwiGlu(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.gate = nn.Linear(cfg.d_model, cfg.ffn, bias=False)
        self.up = nn.Linear(cfg.d_model, cfg.ffn, bias=False)
        self.down = nn.Linear(cfg.ffn, cfg.d_model, bias=False)

    def forward(self, x):
        gate, up = F.linear(x, torch.cat((self.gate.weight, self.up.weight))).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Moe(nn.Module):
    """Shared(x) + Expert_e(sigmoid(r_e) x), e the arg max of the raw router logits r."""

    def __init__(self, cfg):
        super().__init__()
        self.router = nn.Linear(cfg.d_model, cfg.n_experts, bias=False)
        self.experts = nn.ModuleList(SwiGlu(cfg) for _ in range(cfg.n_experts))
        self.shared = SwiGlu(cfg)
        self.balance = torch.zeros(())
        self.load = None

    def forward(self, x):
        shape = x.shape
        x = x.reshape(-1, shape[-1])
        logits = self.router(x)
        best, chosen = logits.max(-1)
        scaled = x * torch.sigmoid(best)[:, None]
        order = torch.argsort(chosen, stable=True)
        counts = torch.bincount(chosen, minlength=len(self.experts))
        parts = scaled[order].split(counts.tolist())
        routed = torch.cat([expert(part) for expert, part in zip(self.experts, parts)])
        if self.training:
            share = counts.float() / len(x)
            self.load = share
            self.balance = len(self.experts) * (share * torch.softmax(logits, -1).mean(0)).sum()
        out = self.shared(x).index_add(0, order, routed)
        return out.view(shape)


class Block(nn.Module):
    def __init__(self, cfg, layer):
        super().__init__()
        self.attn_norm = RmsNorm(cfg.d_model, cfg.eps)
        self.attn = Attention(cfg, layer)
        self.ffn_norm = RmsNorm(cfg.d_model, cfg.eps)
        self.moe = Moe(cfg)

    def forward(self, x, turn, cache=None):
        x = x + self.attn(self.attn_norm(x), turn, cache)
        return x + self.moe(self.ffn_norm(x))


class Llama4Text(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.embed = nn.Embedding(cfg.vocab_size, cfg.d_model)
        self.layers = nn.ModuleList(Block(cfg, i) for i in range(cfg.n_layers))
        self.norm = RmsNorm(cfg.d_model, cfg.eps)
        self.output = nn.Linear(cfg.d_model, cfg.vocab_size, bias=False)
        self.register_buffer("turn", rope_table(cfg, cfg.context), persistent=False)
        self.reset()

    def reset(self):
        for name, p in self.named_parameters():
            if p.dim() != 2:
                continue
            if "embed" in name:
                nn.init.normal_(p, std=0.5)
            elif name.endswith(("o.weight", "down.weight")):
                nn.init.normal_(p, std=0.3 / math.sqrt(p.shape[1]))
            elif "router" in name:
                nn.init.normal_(p, std=0.02)
            else:
                nn.init.normal_(p, std=0.6 / math.sqrt(p.shape[1]))

    def forward(self, ids, pick=None, caches=None):
        """Logits for all positions, or only for the flat positions in `pick`."""
        x = self.embed(ids)
        for i, layer in enumerate(self.layers):
            x = layer(x, self.turn, None if caches is None else caches[i])
        if pick is not None:
            x = x.reshape(-1, x.shape[-1])[pick]
        return self.output(self.norm(x))

    def balance(self):
        return sum(layer.moe.balance for layer in self.layers) / len(self.layers)
