"""Widens a trained network and gives it a head start in copying; training goes on from the result.

    python grow.py TRAINED_FOLDER OUT_FOLDER

A small network finds late the two-step circuit that repeats a name it has read: a head that brings the ids before a
position to that position, and a later head that looks for the place where the same ids stood before and says what
followed. This script adds residual dimensions for it, which change nothing of what was learned, and sets the heads that
are missed least to that circuit. Training refines or undoes it.
"""

import argparse
import dataclasses
import pathlib
import shutil

import torch

import corpus
import evaluate
import tokens
import train
from model import Llama4Text

CODE, BACK = 31, 16  # widths of the code that stands for an id, and of the part of it that is fetched
EXTRA = 1 + CODE + 2 * BACK  # a constant, codes of this id, the one before and the one before that
# How much each rotary pair, from the fastest on, helps to find the place before: as sharp as bounded scores allow (57 %).
PAIRS = torch.tensor([0.279, 0.147, 0.112, 0.079, 0.027, 0.034, 0.006, 0.032, 0.079, 0.078, 0.080, 0.047]).sqrt()
# Scores of a place where the same id stood before, more where the id before that is the same too, and of the beginning of
# the text, which is looked at when there is no such place.
MATCH, MATCH_TWO, NOTHING = 10.0, 6.0, 6.5
SAY, LOUD = 10.0, 70.0  # what the circuit adds to the logit of the id it would repeat; its size in the residual stream


def norms_of(model):
    return [n for layer in model.layers for n in (layer.attn_norm, layer.ffn_norm)] + [model.norm]


@torch.no_grad()
def watch(model, module, batch):
    """(input, output) of a norm over all positions of the dialogs in `batch`."""
    seen = []
    hook = module.register_forward_hook(lambda m, i, o: seen.append((i[0][0], o[0])))
    for ids in batch:
        model(ids[None])
    hook.remove()
    return torch.cat([s[0] for s in seen]), torch.cat([s[1] for s in seen])


@torch.no_grad()
def widen(old):
    """The same function in EXTRA more dimensions, which are zero everywhere."""
    model = Llama4Text(dataclasses.replace(old.cfg, d_model=old.cfg.d_model + EXTRA)).eval()
    before = dict(old.named_parameters())
    for name, p in model.named_parameters():
        q = before[name]
        if p.dim() == 1:
            p.fill_(1)
            p[: len(q)] = q * (len(q) / len(p)) ** 0.5
        else:
            p.zero_()
            p[: q.shape[0], : q.shape[1]] = q
    return model


@torch.no_grad()
def silence(attn, group):
    """Unlearns the heads of a key group; returns its query heads and their and its rows."""
    cfg = attn.cfg
    d, size = cfg.head_dim, cfg.n_heads // cfg.n_kv_heads
    heads = [slice(h * d, (h + 1) * d) for h in range(group * size, (group + 1) * size)]
    kv = slice(group * d, (group + 1) * d)
    for h in heads:
        attn.o.weight[:, h] = 0
    attn.k.weight[kv] = 0
    attn.v.weight[kv] = 0
    return heads, kv


@torch.no_grad()
def least_missed(model, layer, loss):
    attn, scores = model.layers[layer].attn, []
    size = attn.cfg.n_heads // attn.cfg.n_kv_heads * attn.cfg.head_dim
    for group in range(attn.cfg.n_kv_heads):
        cols = slice(group * size, (group + 1) * size)
        kept = attn.o.weight[:, cols].clone()
        attn.o.weight[:, cols] = 0
        scores.append(loss(model))
        attn.o.weight[:, cols] = kept
    return min(range(len(scores)), key=scores.__getitem__)


@torch.no_grad()
def look_before(model, group, base):
    """Codes for all ids, and two heads of layer 0 that fetch the codes of the two ids before."""
    cfg, attn = model.cfg, model.layers[0].attn
    energy = model.embed.weight.pow(2).sum(1).mean()
    codes = torch.nn.functional.normalize(torch.randn(cfg.vocab_size, CODE), dim=1)
    size = (0.08 * energy).sqrt()
    model.embed.weight[:, base] = (0.02 * energy).sqrt()
    model.embed.weight[:, base + 1 : base + 1 + CODE] = codes * size
    heads, kv = silence(attn, group)
    theta = cfg.rope_theta ** (-torch.arange(0, 2 * len(PAIRS), 2) / cfg.head_dim)
    attn.k.weight[kv.start : kv.start + 2 * len(PAIRS) : 2, base] = PAIRS
    for i in range(BACK):
        attn.v.weight[kv.start + i, base + 1 + i] = 1
    normed = size / (1.1 * energy / cfg.d_model).sqrt()
    for back, head in enumerate(heads[:2]):
        even, odd = (slice(head.start + i, head.start + 2 * len(PAIRS), 2) for i in (0, 1))
        attn.q.weight[head] = 0
        attn.q.weight[even, base] = PAIRS * torch.cos(theta * (back + 1))
        attn.q.weight[odd, base] = -PAIRS * torch.sin(theta * (back + 1))
        for i in range(BACK):
            attn.o.weight[base + 1 + CODE + back * BACK + i, head.start + i] = 1.5 * size / normed


@torch.no_grad()
def repeat(model, layer, group, base, batch):
    """One head of the last NoPE layer looks for the place that the last two ids stood before, and says the id there."""
    attn = model.layers[layer].attn
    heads, kv = silence(attn, group)
    _, x = watch(model, model.layers[layer].attn_norm, batch)
    code, back, back2 = (slice(base + 1 + a, base + 1 + a + n) for a, n in ((0, CODE), (CODE, BACK), (CODE + BACK, BACK)))
    now = slice(base + 1, base + 1 + BACK)
    size = (x[:, now].norm(dim=1).mean() * x[:, back].norm(dim=1).mean() / model.cfg.head_dim**0.5).sqrt()
    q, k = heads[0].start, kv.start
    attn.q.weight[heads[0]] = 0
    for row, query, key, score in ((0, now, back, MATCH), (BACK, back, back2, MATCH_TWO)):
        attn.q.weight[q + row : q + row + BACK, query] = score**0.5 / size * torch.eye(BACK)
        attn.k.weight[k + row : k + row + BACK, key] = score**0.5 / size * torch.eye(BACK)
    start = torch.nn.functional.normalize(model.embed.weight[batch[0][0], code], dim=0)
    plenty = (NOTHING * model.cfg.head_dim**0.5) ** 0.5
    attn.q.weight[q + 2 * BACK, base] = plenty / x[:, base].mean()
    attn.k.weight[k + 2 * BACK, code] = plenty * start / x[:, code].norm(dim=1).mean()
    clear = (torch.eye(CODE) - torch.outer(start, start)) / x[:, code].norm(dim=1).mean()
    attn.v.weight[kv.start : kv.start + CODE, code] = clear
    attn.o.weight[code, heads[0].start : heads[0].start + CODE] = LOUD * torch.eye(CODE)
    raw, _ = watch(model, model.norm, batch)
    codes = torch.nn.functional.normalize(model.embed.weight[:, code], dim=1)
    model.output.weight[:, code] = codes * SAY / LOUD * raw.pow(2).mean().sqrt()


@torch.no_grad()
def grow(old, batch, loss):
    base = old.cfg.d_model
    model = widen(old)
    print("as it was", loss(old), "widened", loss(model), flush=True)
    last = max(i for i in range(old.cfg.n_layers) if (i + 1) % old.cfg.nope_interval == 0)
    groups = [least_missed(model, layer, loss) for layer in (0, last)]
    look_before(model, groups[0], base)
    for norm in norms_of(model):
        raw, _ = watch(model, norm, batch[:8])
        added = (raw[:, base:].pow(2).sum(1) / raw[:, :base].pow(2).sum(1)).mean()
        norm.weight[:base] *= (1 + added).sqrt()
    print("with codes", loss(model), flush=True)
    repeat(model, last, groups[1], base, batch)
    print("layer", last, "repeats", loss(model), flush=True)
    return model


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("trained")
    args.add_argument("out")
    args = args.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    chat = tokens.Chat.load(args.trained)
    source = [*corpus.generate(31, 16), *corpus.recitals(31, 16)]
    batch = [torch.tensor(chat.dialog(d["messages"])[0]) for d in source]
    probe = [train.stack(chat, [chat.dialog(d["messages"])]) for d in [*corpus.generate(32, 6), *corpus.recitals(32, 6)]]
    loss = lambda m: sum(train.answer_loss(m.eval(), x, y)[0].item() for x, y in probe) / len(probe)
    model = grow(evaluate.load(args.trained), batch, torch.no_grad()(loss))
    shutil.copy(pathlib.Path(args.trained) / "tokenizer.json", out / "tokenizer.json")
    train.save(model, model.cfg, out)


if __name__ == "__main__":
    main()
