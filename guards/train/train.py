"""Trains the tokenizer and the guard encoder, chooses the threshold, exports guards/classifier."""

import argparse
import hashlib
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

import data
from model import Guard, loss_of

OUT = data.ROOT / "classifier"
MAX_TOKENS, STRIDE = 128, 80
SPECIAL = ["[PAD]", "[UNK]", "[INPUT]", "[OUTPUT]"]
SIDE_ID = {"input": 2, "output": 3}


def make_tokenizer(texts, size):
    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True, clean_text=True)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=SPECIAL, unk_token="[UNK]", max_piece_length=14, show_progress=False
    )
    tok.train_from_iterator(texts, trainer)
    # The side markers live in the vocabulary only: as added tokens they would match a user's literal text.
    spec = json.loads(tok.to_str())
    spec["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(spec))


LOOKALIKE = {"a": "@4", "e": "3", "i": "1!", "o": "0", "s": "$5", "t": "7"}


def typo(word, rng):
    i = rng.randrange(len(word))
    roll = rng.random()
    if roll < 0.25:
        return word[:i] + word[i + 1 :]
    if roll < 0.5 and i + 1 < len(word):
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if roll < 0.65:
        return word[:i] + word[i] + word[i:]
    if roll < 0.8:
        return rng.choice("abcdefghijklmnopqrstuvwxyz") + word
    if roll < 0.9 and word[i].lower() in LOOKALIKE:
        return word[:i] + rng.choice(LOOKALIKE[word[i].lower()]) + word[i + 1 :]
    return word[:i] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[i + 1 :]


def noisy(text, rng):
    roll = rng.random()
    if roll < 0.6:
        return text
    rate = 0.03 if roll < 0.85 else 0.1
    words = [typo(w, rng) if len(w) > 3 and rng.random() < rate else w for w in text.split(" ")]
    if roll > 0.95:
        words = [w.strip(".,?!:;") for w in words]
    return " ".join(words)


def encode(tok, items, rng=None, drop=0.0):
    texts = [noisy(x["text"], rng) if rng else x["text"] for x in items]
    rows = []
    for item, enc in zip(items, tok.encode_batch(texts, add_special_tokens=False)):
        ids = enc.ids
        limit = MAX_TOKENS - 1
        if len(ids) > limit:
            # A long text is judged window by window; training keeps the whole text only when it fits.
            ids = ids[:limit]
        if rng and drop:
            ids = [1 if rng.random() < drop else i for i in ids]
            if not item["labels"] and rng.random() < 0.15:
                # Unknown word sequences are harmless until something says otherwise.
                rate, size = rng.uniform(0.1, 0.5), tok.get_vocab_size()
                ids = [rng.randrange(4, size) if rng.random() < rate else i for i in ids]
        rows.append([SIDE_ID[item["side"]], *ids])
    return rows


def targets_of(items):
    y = torch.zeros(len(items), len(data.LABELS))
    for i, item in enumerate(items):
        for label in item["labels"]:
            y[i, data.LABELS.index(label)] = 1
    return y


def pad(rows):
    width = max(len(r) for r in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, r in enumerate(rows):
        ids[i, : len(r)] = torch.tensor(r)
        mask[i, : len(r)] = 1
    return ids, mask


def batches(rows, size, rng):
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]) + rng.random() * 4)
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    rng.shuffle(groups)
    return groups


def fits(item):
    """A text longer than one window would be cut; keep benign ones, drop unsafe ones whose unsafe part may be cut off."""
    return not item["labels"] or len(item["text"]) < 480


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--epochs", type=int, default=10)
    ap.add_argument("--per-epoch", type=int, default=20000)
    ap.add_argument("--batch", type=int, default=96)
    ap.add_argument("--vocab", type=int, default=7000)
    ap.add_argument("--layers", type=int, default=2)
    ap.add_argument("--dim", type=int, default=96)
    ap.add_argument("--lr", type=float, default=1.5e-3)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--target-fpr", type=float, default=0.03)
    ap.add_argument("--resume", help="a checkpoint to go on from; the tokenizer in guards/classifier is kept")
    ap.add_argument("--keep-tokenizer", action="store_true", help="use the tokenizer in guards/classifier")
    ap.add_argument("--checkpoint", default=str(OUT / "checkpoint.pt"))
    ap.add_argument("--no-export", action="store_true", help="write the checkpoint only")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    source = data.Source()
    OUT.mkdir(exist_ok=True)
    if args.resume or args.keep_tokenizer:
        tok = Tokenizer.from_file(str(OUT / "tokenizer.json"))
    else:
        tok = make_tokenizer([x["text"] for x in source.build("train", 40000, 1)], args.vocab)
        tok.save(str(OUT / "tokenizer.json"), pretty=False)
    dev = [x for x in data.read_jsonl(data.ROOT / "data" / "dev.jsonl") if fits(x)]
    dev_rows, dev_y = encode(tok, dev), targets_of(dev)

    model = Guard(tok.get_vocab_size(), len(data.LABELS), dim=args.dim, layers=args.layers, max_tokens=MAX_TOKENS)
    if args.resume:
        model.load_state_dict(torch.load(args.resume)["state"])
    print("parameters", sum(p.numel() for p in model.parameters()), "vocab", tok.get_vocab_size(), flush=True)
    decay = [p for n, p in model.named_parameters() if p.dim() > 1]
    plain = [p for n, p in model.named_parameters() if p.dim() <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=args.lr)
    steps = args.epochs * (args.per_epoch // args.batch)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, args.lr, total_steps=steps + args.epochs * 2, pct_start=0.08)
    average = {k: v.clone() for k, v in model.state_dict().items()}
    for epoch in range(args.epochs):
        start, total, n = time.time(), 0.0, 0
        items = [x for x in source.build("train", args.per_epoch, args.seed * 1000 + epoch) if fits(x)]
        rows, y = encode(tok, items, rng, drop=0.08), targets_of(items)
        prepared = time.time() - start
        model.train()
        for group in batches(rows, args.batch, rng):
            ids, mask = pad([rows[i] for i in group])
            loss = loss_of(model.heads(ids, mask), y[group])
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            if sched.last_epoch < steps + args.epochs * 2 - 1:
                sched.step()
            total, n = total + loss.item(), n + 1
            for k, v in model.state_dict().items():
                average[k].mul_(0.998).add_(v, alpha=0.002) if v.dtype.is_floating_point else None
        scores = predict(model, dev_rows)
        print(f"epoch {epoch} loss {total / n:.4f} {summary(scores, dev_y)} {time.time() - start:.0f}s, {prepared:.0f}s preparing", flush=True)
    model.load_state_dict(average)
    print("averaged", summary(predict(model, dev_rows), dev_y), flush=True)
    torch.save({"state": model.state_dict(), "args": vars(args)}, args.checkpoint)
    if not args.no_export:
        export(model, dev_rows, dev_y, args.target_fpr)


def predict(model, rows, size=128):
    model.eval()
    out = np.zeros((len(rows), len(data.LABELS)), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    with torch.no_grad():
        for i in range(0, len(order), size):
            group = order[i : i + size]
            out[group] = torch.sigmoid(model(*pad([rows[j] for j in group]))).numpy()
    return out


def summary(scores, y):
    top, unsafe = scores.max(1), y.numpy().sum(1) > 0
    threshold = np.quantile(top[~unsafe], 0.99)
    right = (y.numpy()[np.arange(len(top)), scores.argmax(1)] > 0)[unsafe].mean()
    return f"dev recall@1%fpr {(top[unsafe] > threshold).mean():.4f} thr {threshold:.3f} top label right {right:.3f}"


def export(model, dev_rows, dev_y, target_fpr):
    model.eval()
    ids, mask = pad([dev_rows[i] for i in range(4)])
    torch.onnx.export(
        model, (ids, mask), str(OUT / "model.onnx"), input_names=["input_ids", "attention_mask"],
        output_names=["logits"], opset_version=14, dynamo=False,
        dynamic_axes={"input_ids": {0: "batch", 1: "seq"}, "attention_mask": {0: "batch", 1: "seq"}, "logits": {0: "batch"}},
    )
    import onnxruntime

    session = onnxruntime.InferenceSession(str(OUT / "model.onnx"), providers=["CPUExecutionProvider"])
    worst = 0.0
    for i in range(0, min(200, len(dev_rows)), 20):
        ids, mask = pad(dev_rows[i : i + 20])
        got = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        worst = max(worst, float(np.abs(got - model(ids, mask).detach().numpy()).max()))
    print("onnxruntime difference", worst)
    if worst > 1e-3:
        raise SystemExit("the exported graph differs from the trained model")
    write_config(calibrated(model, target_fpr))


def calibrated(model, target_fpr):
    """The threshold that lets `target_fpr` of the benign challenge texts through to a false alarm."""
    tok = Tokenizer.from_file(str(OUT / "tokenizer.json"))
    items = [x for x in data.read_jsonl(data.ROOT / "data" / "challenge.jsonl") if not x["labels"]]
    top = predict(model, encode(tok, items)).max(1)
    return round(float(np.quantile(top, 1 - target_fpr)), 3)


def write_config(threshold):
    def digest(name):
        return hashlib.sha256((OUT / name).read_bytes()).hexdigest()

    labels = ", ".join(f'"{x}"' for x in data.LABELS)
    lines = [
        "# The shipped guard classifier: what the graph expects and where its thresholds lie.",
        'version = "1"',
        f"labels = [{labels}]",
        f"max_tokens = {MAX_TOKENS}",
        f"stride = {STRIDE}",
        'input_names = ["input_ids", "attention_mask"]',
        'output_name = "logits"',
        "pad_id = 0",
        f'model_sha256 = "{digest("model.onnx")}"',
        f'tokenizer_sha256 = "{digest("tokenizer.json")}"',
        "",
        "[side_tokens]",
        'input = "[INPUT]"',
        'output = "[OUTPUT]"',
        "",
        "# A label fires when sigmoid(logit) is at or above its threshold; see MODEL_CARD.md for how it was chosen.",
        "[thresholds]",
        *[f"{x} = {threshold}" for x in data.LABELS],
    ]
    (OUT / "classifier.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
