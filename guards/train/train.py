"""Trains the guard encoder for a given time, from the starting point that base.py made or from a checkpoint."""

import argparse
import copy
import math
import multiprocessing
import random
import time
from collections import deque

import numpy as np
import torch
from tokenizers import Tokenizer

import data
from augment import augmented, augmented_parts
from base import read_translations
from model import Guard, disagreement, loss_of, pad
from neighbours import Neighbours
from patchwork import Patchwork, window_of
from prose import Prose, windows_of
from windows import WINDOW, ends_of, positions, read

WORK = data.ROOT / "train" / "work"
START = WORK / "start.pt"
MAX_TOKENS = 128


def encode(tok, items, rng=None, lexicon=None, drop=0.0):
    """Rows of ids with the side's marker in front. With `rng` as training shows them: changed, and no longer than a window."""
    calm = {}
    for x in items if rng else ():
        if not x["labels"] and len(x["text"]) < 120:
            calm.setdefault(x.get("lang", "en"), []).append(x["text"])
    texts = [augmented(x, rng, lexicon, calm) if rng else x["text"] for x in items]
    marker, size, rows = markers(tok), tok.get_vocab_size(), []
    for item, enc in zip(items, tok.encode_batch(texts, add_special_tokens=False)):
        ids = one_window(tok, item, enc.ids, rng) if rng else enc.ids
        ids = dropped(ids[: MAX_TOKENS - 1], not item["labels"], size, drop, rng)
        rows.append([marker[item["side"]], *ids])
    return rows


def markers(tok):
    return {side: tok.token_to_id(f"[{side.upper()}]") for side in ("input", "output")}


def one_window(tok, item, ids, rng):
    """A text as one of its windows; where the unsafe part of a padded text lies is not known, so it is taken without padding."""
    if len(ids) < WINDOW:
        return ids
    if item["labels"]:
        return tok.encode(item["text"], add_special_tokens=False).ids
    return [ids[p] for p in rng.choice(positions(ids, ends_of(tok)))]


def dropped(ids, harmless, size, drop, rng):
    if not (rng and drop):
        return ids
    ids = [1 if rng.random() < drop else i for i in ids]
    if harmless and rng.random() < 0.08:
        # Unknown word sequences are harmless until something says otherwise.
        rate = rng.uniform(0.1, 0.5)
        ids = [rng.randrange(2, size - 2) if rng.random() < rate else i for i in ids]
    return ids


def encode_prose(tok, items, rng, lexicon, drop):
    """Some windows of each long text: those that show its unsafe part, and a few harmless ones. Rows, and what each shows."""
    marker, ends, size = markers(tok), ends_of(tok), tok.get_vocab_size()
    rows, shown = [], []
    for item in items:
        texts = augmented_parts(item, rng, lexicon)
        parts = [x.ids for x in tok.encode_batch(texts, add_special_tokens=False)]
        windows = windows_of(parts, ends, rng, bool(item["labels"]))
        harmless = [x for x in windows if not x[1]]
        rng.shuffle(harmless)
        for ids, unsafe in [x for x in windows if x[1]] + harmless[: 3 if item["labels"] else 6]:
            rows.append([marker[item["side"]], *dropped(ids, not unsafe, size, drop, rng)])
            shown.append({"labels": item["labels"] if unsafe else []})
    return rows, shown


def encode_patchwork(tok, items, rng, lexicon, drop):
    """One window of each text that shows its core whole."""
    marker, ends, size, rows = markers(tok), ends_of(tok), tok.get_vocab_size(), []
    for item in items:
        texts = augmented_parts(item, rng, lexicon)
        ids = window_of([x.ids for x in tok.encode_batch(texts, add_special_tokens=False)], ends, rng)
        rows.append([marker[item["side"]], *dropped(ids, not item["labels"], size, drop, rng)])
    return rows


def epoch_of(args, number):
    """The batches of one epoch, (ids, mask, targets) each, from the lists as they are now."""
    tok, lexicon = Tokenizer.from_file(str(WORK / "tokenizer.json")), read_translations(data.ROOT / "train" / "lexicon.txt")
    source, seed = data.Source(), args.seed * 1000 + number
    rng = random.Random(seed)
    count = int(args.per_epoch * (1 - args.prose_share - args.patch_share))
    items = [x for x in source.build("train", count, seed, foreign_share=args.foreign_share) if fits(x)]
    # A long text gives five windows or so.
    long = Prose(source, "train").build(int(args.per_epoch * args.prose_share / 5), seed, foreign_share=args.foreign_share)
    rows = encode(tok, items, rng, lexicon, args.drop)
    more, shown = encode_prose(tok, long, rng, lexicon, args.drop)
    patches = Patchwork(source, "train").build(int(args.per_epoch * args.patch_share), seed, foreign_share=args.foreign_share)
    sewn = encode_patchwork(tok, patches, rng, lexicon, args.drop)
    rows, y = rows + more + sewn, targets_of(items + shown + patches)
    return [(*(x.to(torch.int32) for x in pad([rows[i] for i in group])), y[group]) for group in batches(rows, args.batch, rng)]


def epochs(args):
    """Epoch after epoch; with workers, they are made beside the training, each worker one ahead."""
    if args.workers == 0:
        for number in range(1 << 30):
            yield epoch_of(args, number)
    with multiprocessing.get_context("spawn").Pool(args.workers, torch.set_num_threads, (1,)) as pool:
        waiting = deque(pool.apply_async(packed_epoch, (args, number)) for number in range(args.workers))
        for number in range(args.workers, 1 << 30):
            yield [tuple(torch.from_numpy(x) for x in batch) for batch in waiting.popleft().get()]
            waiting.append(pool.apply_async(packed_epoch, (args, number)))


def packed_epoch(args, number):
    """Plain arrays: tensors would travel between processes as open files."""
    return [tuple(x.numpy() for x in batch) for batch in epoch_of(args, number)]


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
    training, device = model.training, model.table.device
    model.eval()
    out = np.zeros((len(rows), model.labels + 1), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
        for i in range(0, len(order), size):
            group = order[i : i + size]
            ids, mask = (x.to(device) for x in pad([rows[j] for j in group]))
            out[group] = model.heads(ids, mask).float().cpu().numpy()
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
    """Sets that are measured while training goes on, as the library reads them: dev steers nothing but the eye, challenge neither."""

    def __init__(self, tok):
        self.sets = {}
        for name in ("dev", "dev_languages", "dev_long", "dev_sewn", "challenge"):
            path = data.ROOT / "data" / f"{name}.jsonl"
            if path.exists():
                items = data.read_jsonl(path)
                rows, owner, _ = read(tok, items, ends_of(tok))
                self.sets[name] = (items, rows, owner)

    def report(self, model):
        return "; ".join(summary(name, strongest(predict(model, rows), owner), items) for name, (items, rows, owner) in self.sets.items())


def strongest(out, owner):
    """Of each text the window with the highest detection."""
    order = np.lexsort((-out[:, -1], owner))
    owner = np.array(owner)[order]
    return out[order][np.r_[True, owner[1:] != owner[:-1]]]


def load(path, tok, dropout=0.1):
    saved = torch.load(path)
    if path != str(START) and START.exists():
        saved["state"] = transplanted(saved, tok)
    model = Guard(tok.get_vocab_size(), saved["known"], len(data.LABELS), layers=saved["layers"], ffn=saved["ffn"], max_tokens=MAX_TOKENS, dropout=dropout)
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


def optimizer(model, lr, decay):
    head = [p for n, p in model.named_parameters() if n.split(".")[0] in ("query", "value", "mean")]
    fresh = [model.fresh.weight]
    body = [p for n, p in model.named_parameters() if n.split(".")[0] in ("pos", "norm", "layers")]
    groups = [{"params": body, "base": lr}, {"params": head, "base": 10 * lr}, {"params": fresh, "base": 5 * lr}]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=decay)


def pace(done):
    """The share of the learning rate after a share of the time: up for 6 %, then down in half a cosine."""
    return done / 0.06 if done < 0.06 else 0.5 * (1 + math.cos(math.pi * (done - 0.06) / 0.94))


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--minutes", type=float, default=30)
    ap.add_argument("--per-epoch", type=int, default=12000)
    ap.add_argument("--batch", type=int, default=32)
    ap.add_argument("--lr", type=float, default=1.5e-4)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--foreign-share", type=float, default=0.4, help="examples in other languages than English")
    ap.add_argument("--prose-share", type=float, default=0.5, help="rows that are windows of long texts")
    ap.add_argument("--patch-share", type=float, default=0.0, help="rows that are windows of sentences sewn together")
    ap.add_argument("--focal", type=float, default=0.0, help="the power of its error by which a row's detection loss is weighted")
    ap.add_argument("--consistency", type=float, default=0.0, help="weight of what two passes of one row, dropped out otherwise, disagree by")
    ap.add_argument("--swap", action="store_true", help="swap some pieces for others that mean about the same")
    ap.add_argument("--drop", type=float, default=0.03, help="tokens that become unknown")
    ap.add_argument("--dropout", type=float, default=0.1)
    ap.add_argument("--decay", type=float, default=0.01, help="of weights")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--device", default="cpu", help="cuda, where there is one")
    ap.add_argument("--workers", type=int, default=0, help="processes that make the examples; none makes them between epochs")
    ap.add_argument("--report", type=int, default=5, help="epochs between two looks at the watched sets")
    ap.add_argument("--start", default=str(START), help="what base.py made, or a checkpoint to go on from")
    ap.add_argument("--checkpoint", default=str(WORK / "checkpoint.pt"))
    return ap.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tok = Tokenizer.from_file(str(WORK / "tokenizer.json"))
    watch = Watch(tok)
    model, saved = load(args.start, tok, args.dropout)
    model.to(args.device).train()
    opt = optimizer(model, args.lr, args.decay)
    near = Neighbours(tok, whole_table(model)) if args.swap else None
    average = {k: v.clone() for k, v in model.state_dict().items() if k != "table"}
    print("parameters", sum(p.numel() for p in model.parameters()), "and a table of", model.table.numel(), flush=True)
    began, done = time.time(), 0.0
    saved_at = began
    for epoch, rows in enumerate(epochs(args)):
        start, total, n = time.time(), 0.0, 0
        for ids, mask, y in rows:
            done = (time.time() - began) / (60 * args.minutes)
            if done >= 1:
                break
            for g in opt.param_groups:
                g["lr"] = g["base"] * pace(done)
            loss = step(model, opt, (ids.to(args.device), mask.to(args.device), y.to(args.device)), args, near)
            total, n = total + loss, n + 1
            if n % 4 == 0:
                state = model.state_dict()
                for k, v in average.items():
                    v.mul_(0.99).add_(state[k], alpha=0.01)
        print(f"epoch {epoch} loss {float(total) / max(n, 1):.4f} {time.time() - start:.0f}s, {n} batches, {100 * done:.0f} %", flush=True)
        if done >= 1 or time.time() - saved_at > 60:
            save(args.checkpoint, model, average, saved, tok)
            saved_at = time.time()
        if done >= 1:
            break
        if epoch % args.report == args.report - 1:
            print(watch.report(averaged(model, average)), flush=True)
    print("averaged", watch.report(averaged(model, average)), flush=True)


def whole_table(model):
    """The rows of all pieces, with what was learned for the fresh ones."""
    table = model.table.clone()
    table[model.known :] += model.fresh.weight.detach()[1:]
    return table


def step(model, opt, batch, args, near=None):
    """One step down the loss of a batch, which it returns, on the device."""
    ids, mask, y = batch
    twice = args.consistency > 0
    if twice:
        ids, mask, y = ids.repeat(2, 1), mask.repeat(2, 1), y.repeat(2, 1)
    if near:
        ids = near.swapped(ids)
    with torch.autocast(ids.device.type, dtype=torch.bfloat16):
        out = model.heads(ids, mask)
    loss = loss_of(out.float(), y, args.focal)
    if twice:
        loss = loss + args.consistency * disagreement(*out.float().chunk(2))
    opt.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    return loss.detach()


def averaged(model, average):
    other = copy.deepcopy(model)
    other.load_state_dict(average, strict=False)
    return other


def save(path, model, average, saved, tok):
    state = {k: v.cpu() for k, v in {**average, "table": model.table}.items()}
    keep = {k: saved[k] for k in ("known", "layers", "ffn")}
    torch.save({"state": state, "average": True, "pieces": [tok.id_to_token(i) for i in range(tok.get_vocab_size())], **keep}, path)


if __name__ == "__main__":
    main()
