"""Trains the demo model on freshly generated dialogs for a given wall-clock time.

    python train.py OUT_FOLDER --minutes 80 [--workers 2] [--resume]

Needs OUT_FOLDER/tokenizer.json (tokens.py). Writes config.json and model.safetensors there every few minutes, and
state.pt to resume from. The matrices inside the layers are trained with Muon (momentum with an orthogonalised update),
everything else with AdamW. The learning rate is constant, then falls linearly to nothing over the last part.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import random
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors.torch import save_file

import corpus
import evaluate
import tokens
from model import Config, Llama4Text

BATCH_TOKENS = 2560  # of one worker
MUON_RATE, ADAM_RATE = 0.02, 0.004


def orthogonal(m):
    """The nearest half-orthogonal matrices of a stack (n, rows, cols), by five Newton-Schulz steps."""
    tall = m.shape[1] > m.shape[2]
    x = m.transpose(1, 2) if tall else m
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.transpose(1, 2) if tall else x


def shared_orthogonal(stack):
    """Each worker does its part of the stack."""
    n, rank = dist.get_world_size(), dist.get_rank()
    parts = [p.contiguous() for p in stack.tensor_split(n)]
    if n > 1:
        parts[rank] = orthogonal(parts[rank])
        for i, part in enumerate(parts):
            dist.broadcast(part, i)
        return torch.cat(parts)
    return orthogonal(stack)


def average_gradients(params):
    if dist.get_world_size() == 1:
        return
    for p in params:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.flatten() for p in params])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    at = 0
    for p in params:
        p.grad.copy_(flat[at : at + p.numel()].view_as(p))
        at += p.numel()


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, decay=0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                shapes.setdefault(p.shape, []).append(p)
            for shape, params in shapes.items():
                updates = []
                for p in params:
                    buf = self.state[p].setdefault("m", torch.zeros_like(p))
                    grad = p.grad if p.grad is not None else torch.zeros_like(p)
                    buf.lerp_(grad, 1 - group["momentum"])
                    updates.append(grad.lerp(buf, group["momentum"]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for p, u in zip(params, shared_orthogonal(torch.stack(updates))):
                    p.mul_(1 - group["lr"] * group["decay"]).add_(u, alpha=-group["lr"] * scale)


def batches(chat, seed, shares):
    """Endless batches (ids, targets) of dialogs of like length; shares() gives, for each pool of dialogs, which part of it
    are recitals and which part of the others are short."""
    rng = random.Random(seed)
    full, short = corpus.generate(f"{seed}f", 10**9), corpus.generate(f"{seed}s", 10**9, short=True)
    recitals = corpus.recitals(f"{seed}r", 10**9)
    while True:
        said, brief = shares()
        pool = [
            chat.dialog(next(recitals if rng.random() < said else short if rng.random() < brief else full)["messages"])
            for _ in range(400)
        ]
        pool = sorted((d for d in pool if len(d[0]) <= 768), key=lambda d: len(d[0]))
        groups, group = [], []
        for d in pool:
            if group and (len(group) + 1) * len(d[0]) > BATCH_TOKENS:
                groups.append(group)
                group = []
            group.append(d)
        groups.append(group)
        rng.shuffle(groups)
        for g in groups:
            yield stack(chat, g)


def stack(chat, group):
    width = max(len(ids) for ids, _ in group) - 1
    x = torch.full((len(group), width), chat.special["<|finetune_right_pad|>"])
    y = torch.full((len(group), width), -100)
    for i, (ids, mask) in enumerate(group):
        x[i, : len(ids) - 1] = torch.tensor(ids[:-1])
        y[i, : len(ids) - 1] = torch.tensor([t if m else -100 for t, m in zip(ids[1:], mask[1:])])
    return x, y


def answer_loss(model, x, y):
    pick = (y.flatten() != -100).nonzero().flatten()
    logits, want = model(x, pick), y.flatten()[pick]
    return F.cross_entropy(logits, want), (logits.argmax(-1) == want).float().mean().item()


def held_out(chat, count):
    out = []
    for short in (True, False):
        pool = [chat.dialog(d["messages"]) for d in corpus.generate(7, count, val=True, short=short)]
        out.append([stack(chat, sorted(pool, key=lambda d: len(d[0]))[i : i + 12]) for i in range(0, count, 12)])
    return out


@torch.no_grad()
def validate(model, sets):
    model.eval()
    out = []
    for batches_ in sets:
        got = [(loss.item(), acc) for loss, acc in (answer_loss(model, x, y) for x, y in batches_)]
        out += [sum(g[i] for g in got) / len(got) for i in (0, 1)]
    model.train()
    return out


def save(model, cfg, out):
    (out / "config.json").write_text(json.dumps(dataclasses.asdict(cfg), indent=1))
    save_file({k: v.detach().contiguous() for k, v in model.named_parameters()}, out / "model.tmp")
    (out / "model.tmp").replace(out / "model.safetensors")


def work(rank, args):
    """One worker: the same model everywhere, its own dialogs, averaged gradients. Worker 0 reports and saves."""
    dist.init_process_group("gloo", init_method=f"file://{args.store}", rank=rank, world_size=args.workers)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    out = pathlib.Path(args.out)
    chat = tokens.Chat.load(out)
    cfg = evaluate.load(out).cfg if args.start else Config()
    model = (evaluate.load(out) if args.start else Llama4Text(cfg)).train()
    inner = [p for n, p in model.named_parameters() if p.dim() == 2 and "layers" in n and "router" not in n]
    taken = {id(p) for p in inner}
    rest = [p for p in model.parameters() if id(p) not in taken]
    muon, adam = Muon(inner, MUON_RATE), torch.optim.AdamW(rest, ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    step, seen, spent = 0, 0, 0.0
    if args.resume:
        state = torch.load(out / "state.pt", weights_only=False)
        model.load_state_dict(state["model"])
        muon.load_state_dict(state["muon"])
        adam.load_state_dict(state["adam"])
        step, seen, spent = state["step"], state["seen"], state["spent"]
    sets = held_out(chat, 48) if rank == 0 else None
    start = saved = time.time()
    elapsed = lambda: spent + time.time() - start
    done = elapsed() / (60 * args.minutes)

    def report():
        if rank == 0:
            print("held out: short loss %.3f acc %.3f, full loss %.3f acc %.3f" % tuple(validate(model, sets)), flush=True)
            save(model, cfg, out)
            state = {"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict()}
            torch.save({**state, "step": step, "seen": seen, "spent": elapsed()}, out / "state.pt")

    shares = lambda: (args.recitals if done < args.recite else 0.06, 0.97 if done < args.short else args.later)
    for x, y in batches(chat, f"{args.seed}/{step}/{rank}", shares):
        clock = torch.tensor([elapsed() / (60 * args.minutes), time.time() - saved])
        dist.broadcast(clock, 0)
        done = clock[0].item()
        if done >= 1:
            break
        rate = args.rate * min(1.0, (step + 1) / args.warm) * min(1.0, max(0.01, (1 - done) / (1 - args.flat)))
        for optimizer, full in ((muon, MUON_RATE), (adam, ADAM_RATE)):
            for group in optimizer.param_groups:
                group["lr"] = full * rate
        loss, acc = answer_loss(model, x, y)
        (loss + 0.01 * model.balance()).backward()
        average_gradients(list(model.parameters()))
        for optimizer in (muon, adam):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + x.numel() * args.workers
        if step % 25 == 0 and rank == 0:
            load = max(layer.moe.load.max().item() for layer in model.layers)
            print(f"{step} {elapsed():.0f}s {seen} tokens loss {loss.item():.3f} acc {acc:.3f} max load {load:.2f}", flush=True)
        if clock[1].item() > 240:
            saved = time.time()
            report()
    report()
    dist.destroy_process_group()


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("out")
    args.add_argument("--minutes", type=float, default=80)
    args.add_argument("--workers", type=int, default=2)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--resume", action="store_true", help="go on from state.pt; --minutes counts from the first start")
    args.add_argument("--start", action="store_true", help="begin with the weights in OUT_FOLDER, as grow.py leaves them")
    args.add_argument("--warm", type=int, default=60, help="steps over which the learning rate rises")
    args.add_argument("--rate", type=float, default=1.0, help="factor on both learning rates")
    args.add_argument("--recitals", type=float, default=0.55, help="share of recitals while they dominate")
    args.add_argument("--later", type=float, default=0.3, help="share of short dialogs after the first part")
    args.add_argument("--flat", type=float, default=0.55, help="share of the time at the full learning rate")
    args.add_argument("--short", type=float, default=0.35, help="share of the time before long dialogs dominate")
    args.add_argument("--recite", type=float, default=0.4, help="share of the time in which recitals dominate")
    args = args.parse_args()
    args.store = os.path.join(tempfile.mkdtemp(), "store")
    mp.spawn(work, (args,), args.workers)


if __name__ == "__main__":
    main()
