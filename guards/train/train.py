"""Trains the guard encoder for a given time, from the starting point that base.py made or from a checkpoint."""

import argparse
import math
import random
import time

import numpy as np
import torch
from tokenizers import Tokenizer

import data
from augment import augmented
from base import read_translations
from model import Guard, loss_of, pad

WORK = data.ROOT / "train" / "work"
START = WORK / "start.pt"
MAX_TOKENS = 128
# How a text is read: an unsafe sentence fills a good part of a small window, whatever stands around it.
WINDOW, STRIDE = 64, 40


def encode(tok, items, rng=None, lexicon=None, drop=0.0):
    """Rows of ids with the side's marker in front."""
    calm = {}
    for x in items if rng else ():
        if not x["labels"] and len(x["text"]) < 120:
            calm.setdefault(x.get("lang", "en"), []).append(x["text"])
    texts = [augmented(x, rng, lexicon, calm) if rng else x["text"] for x in items]
    marker = {side: tok.token_to_id(f"[{side.upper()}]") for side in ("input", "output")}
    size, rows = tok.get_vocab_size(), []
    for item, enc in zip(items, tok.encode_batch(texts, add_special_tokens=False)):
        ids = enc.ids[: MAX_TOKENS - 1]
        if rng and item["labels"] and len(enc.ids) > len(ids):
            # A long text is judged window by window; the unsafe part of this one may lie in another window.
            ids = tok.encode(item["text"], add_special_tokens=False).ids[: MAX_TOKENS - 1]
        if rng and drop:
            ids = [1 if rng.random() < drop else i for i in ids]
            if not item["labels"] and rng.random() < 0.08:
                # Unknown word sequences are harmless until something says otherwise.
                rate = rng.uniform(0.1, 0.5)
                ids = [rng.randrange(2, size - 2) if rng.random() < rate else i for i in ids]
        rows.append([marker[item["side"]], *ids])
    return rows


def targets_of(items):
    y = torch.zeros(len(items), len(data.LABELS))
    for i, item in enumerate(items):
        for label in item["labels"]:
            y[i, data.LABELS.index(label)] = 1
    return y


def batches(rows, size, rng):
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]) + rng.random() * 4)
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    rng.shuffle(groups)
    return groups


def fits(item):
    """A text longer than one window would be cut; keep benign ones, drop unsafe ones whose unsafe part may be cut off."""
    return not item["labels"] or len(item["text"]) < 480


def predict(model, rows, size=64):
    """Detection and label outputs of the heads, (texts, labels + 1)."""
    training = model.training
    model.eval()
    out = np.zeros((len(rows), model.labels + 1), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for i in range(0, len(order), size):
            group = order[i : i + size]
            out[group] = model.heads(*pad([rows[j] for j in group])).float().numpy()
    model.train(training)
    return out


def summary(name, out, items):
    unsafe = np.array([bool(x["labels"]) for x in items])
    detect, top = out[:, -1], out[:, :-1].argmax(1)
    cells = []
    for rate in (0.01, 0.02, 0.05):
        cut = np.quantile(detect[~unsafe], 1 - rate)
        cells.append(f"{100 * (detect[unsafe] > cut).mean():.1f}")
    right = np.mean([data.LABELS[top[i]] in items[i]["labels"] for i in np.flatnonzero(unsafe)])
    return f"{name} recall at 1, 2, 5 % {' '.join(cells)}, top label right {100 * right:.1f}"


class Watch:
    """Sets that are measured while training goes on: dev steers nothing but the eye, challenge neither."""

    def __init__(self, tok):
        self.sets = {}
        for name in ("dev", "dev_languages", "challenge"):
            path = data.ROOT / "data" / f"{name}.jsonl"
            if path.exists():
                items = [x for x in data.read_jsonl(path) if fits(x)]
                self.sets[name] = (items, encode(tok, items))

    def report(self, model):
        return "; ".join(summary(name, predict(model, rows), items) for name, (items, rows) in self.sets.items())


def load(path, tok):
    saved = torch.load(path)
    if path != str(START) and START.exists():
        saved["state"] = transplanted(saved, tok)
    model = Guard(tok.get_vocab_size(), saved["known"], len(data.LABELS), layers=saved["layers"], ffn=saved["ffn"], max_tokens=MAX_TOKENS)
    missing, odd = model.load_state_dict(saved["state"], strict=False)
    if odd or (missing and "average" not in saved and not all(n.startswith(("query", "value", "mean", "fresh")) for n in missing)):
        raise SystemExit(f"{path}: missing {missing}, unknown {odd}")
    return model, saved


def transplanted(saved, tok):
    """A checkpoint's values for the vocabulary there is now: what was learned for a piece goes where the piece is."""
    pieces = [tok.id_to_token(i) for i in range(tok.get_vocab_size())]
    if saved["pieces"] == pieces:
        return saved["state"]
    start = torch.load(START)
    old = {p: i for i, p in enumerate(saved["pieces"])}
    fresh = torch.zeros(len(pieces) - start["known"] + 1, saved["state"]["fresh.weight"].shape[1])
    for i, piece in enumerate(pieces[start["known"] :], start["known"]):
        at = old.get(piece, 0) - saved["known"]
        if at >= 0:
            fresh[i - start["known"] + 1] = saved["state"]["fresh.weight"][at + 1]
    saved["known"] = start["known"]
    return {**saved["state"], "table": start["state"]["table"], "fresh.weight": fresh}


def optimizer(model, lr):
    head = [p for n, p in model.named_parameters() if n.split(".")[0] in ("query", "value", "mean")]
    fresh = [model.fresh.weight]
    body = [p for n, p in model.named_parameters() if n.split(".")[0] in ("pos", "norm", "layers")]
    groups = [{"params": body, "base": lr}, {"params": head, "base": 10 * lr}, {"params": fresh, "base": 5 * lr}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=0.01)


def pace(done):
    """The share of the learning rate after a share of the time: up for 6 %, then down in half a cosine."""
    return done / 0.06 if done < 0.06 else 0.5 * (1 + math.cos(math.pi * (done - 0.06) / 0.94))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=30)
    ap.add_argument("--per-epoch", type=int, default=12000)
    ap.add_argument("--batch", type=int, default=32)
    ap.add_argument("--lr", type=float, default=1.5e-4)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--foreign-share", type=float, default=0.4, help="examples in other languages than English")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--start", default=str(START), help="what base.py made, or a checkpoint to go on from")
    ap.add_argument("--checkpoint", default=str(WORK / "checkpoint.pt"))
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    tok = Tokenizer.from_file(str(WORK / "tokenizer.json"))
    lexicon = read_translations(data.ROOT / "train" / "lexicon.txt")
    watch = Watch(tok)
    model, saved = load(args.start, tok)
    model.train()
    opt = optimizer(model, args.lr)
    average = {k: v.clone() for k, v in model.state_dict().items() if k != "table"}
    print("parameters", sum(p.numel() for p in model.parameters()), "and a table of", model.table.numel(), flush=True)
    began, epoch, done = time.time(), 0, 0.0
    while done < 1:
        start, total, n = time.time(), 0.0, 0
        source = data.Source()  # lists that grew meanwhile count
        items = [x for x in source.build("train", args.per_epoch, args.seed * 1000 + epoch, foreign_share=args.foreign_share) if fits(x)]
        rows, y = encode(tok, items, rng, lexicon, drop=0.03), targets_of(items)
        prepared = time.time() - start
        for group in batches(rows, args.batch, rng):
            done = (time.time() - began) / (60 * args.minutes)
            if done >= 1:
                break
            for g in opt.param_groups:
                g["lr"] = g["base"] * pace(done)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = model.heads(*pad([rows[i] for i in group]))
            loss = loss_of(out.float(), y[group])
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            total, n = total + loss.item(), n + 1
            if n % 4 == 0:
                state = model.state_dict()
                for k, v in average.items():
                    v.mul_(0.99).add_(state[k], alpha=0.01)
        spent = time.time() - start
        print(f"epoch {epoch} loss {total / max(n, 1):.4f} {spent:.0f}s, {prepared:.0f}s preparing, {100 * done:.0f} % {watch.report(model)}", flush=True)
        save(args.checkpoint, model, average, saved, tok)
        epoch += 1
    model.load_state_dict(average, strict=False)
    print("averaged", watch.report(model), flush=True)


def save(path, model, average, saved, tok):
    state = {**{k: v for k, v in average.items()}, "table": model.table}
    keep = {k: saved[k] for k in ("known", "layers", "ffn")}
    torch.save({"state": state, "average": True, "pieces": [tok.id_to_token(i) for i in range(tok.get_vocab_size())], **keep}, path)


if __name__ == "__main__":
    main()
