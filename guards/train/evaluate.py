"""Measures the shipped classifier (ONNX, tokenizer, thresholds as committed) on a split or the challenge set."""

import argparse
import math
import tomllib
from collections import defaultdict

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

import data

HOME = data.ROOT / "classifier"


def wilson(k, n, z=1.96):
    if n == 0:
        return 0.0, 1.0
    p, d = k / n, 1 + z * z / n
    mid, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (mid - half) / d), min(1.0, (mid + half) / d)


class Classifier:
    """The reference reader: windows of max_tokens with the side marker in front, maximum over windows."""

    def __init__(self, home=HOME):
        self.config = tomllib.loads((home / "classifier.toml").read_text(encoding="utf-8"))
        self.tok = Tokenizer.from_file(str(home / "tokenizer.json"))
        self.session = onnxruntime.InferenceSession(str(home / "model.onnx"), providers=["CPUExecutionProvider"])
        self.labels = self.config["labels"]
        self.thresholds = np.array([self.config["thresholds"][x] for x in self.labels])

    def windows(self, text, side):
        marker = self.tok.token_to_id(self.config["side_tokens"][side])
        ids = self.tok.encode(text, add_special_tokens=False).ids
        size, stride = self.config["max_tokens"] - 1, self.config["stride"]
        starts = [0]
        while starts[-1] + size < len(ids):
            starts.append(starts[-1] + stride)
        return [[marker, *ids[s : s + size]] for s in starts]

    def scores(self, items, batch=64):
        rows, owner = [], []
        for i, item in enumerate(items):
            for row in self.windows(item["text"], item["side"]):
                rows.append(row)
                owner.append(i)
        best = np.zeros((len(items), len(self.labels)), dtype=np.float64)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for at in range(0, len(order), batch):
            group = order[at : at + batch]
            width = max(len(rows[i]) for i in group)
            ids, mask = np.zeros((len(group), width), np.int64), np.zeros((len(group), width), np.int64)
            for r, i in enumerate(group):
                ids[r, : len(rows[i])], mask[r, : len(rows[i])] = rows[i], 1
            logits = self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
            probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
            for r, i in enumerate(group):
                best[owner[i]] = np.maximum(best[owner[i]], probability[r])
        return best


def rate(k, n):
    low, high = wilson(k, n)
    return f"{k}/{n} = {100 * k / max(n, 1):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--set", default="test", help="dev, test or challenge")
    ap.add_argument("--failures", action="store_true", help="print every miss and false alarm")
    args = ap.parse_args()
    guard = Classifier()
    items = data.read_jsonl(data.ROOT / "data" / f"{args.set}.jsonl")
    scores = guard.scores(items)
    fired = scores >= guard.thresholds
    blocked = fired.any(1)
    groups = defaultdict(lambda: [0, 0, 0])
    sides = defaultdict(lambda: [0, 0])
    for i, item in enumerate(items):
        unsafe = bool(item["labels"])
        sides[("recall" if unsafe else "false positives", item["side"])][0] += int(blocked[i])
        sides[("recall" if unsafe else "false positives", item["side"])][1] += 1
        for label in item["labels"]:
            group = groups[label]
            group[0] += int(blocked[i])
            group[1] += int(fired[i][guard.labels.index(label)])
            group[2] += 1
    unsafe = np.array([bool(x["labels"]) for x in items])
    print(f"set {args.set}: {len(items)} texts, {int(unsafe.sum())} unsafe, {int((~unsafe).sum())} benign")
    print(f"recall (any label)  {rate(int(blocked[unsafe].sum()), int(unsafe.sum()))}")
    print(f"false positive rate {rate(int(blocked[~unsafe].sum()), int((~unsafe).sum()))}")
    for (what, side), (k, n) in sorted(sides.items()):
        print(f"{what}, {side} side: {rate(k, n)}")
    false_by_label = [int((scores[~unsafe].argmax(1)[blocked[~unsafe]] == j).sum()) for j in range(len(guard.labels))]
    print("| label | recall, any label | recall, this label | false positives led by it |")
    print("|---|---|---|---|")
    for j, label in enumerate(guard.labels):
        any_hit, own, n = groups[label]
        print(f"| {label} | {rate(any_hit, n)} | {rate(own, n)} | {false_by_label[j]} |")
    top = scores.max(1)
    for level in (0.005, 0.01, 0.02, 0.03, 0.05, 0.1):
        cut = float(np.quantile(top[~unsafe], 1 - level))
        print(f"recall at {100 * level:.1f} % false positives on this set: {100 * (top[unsafe] > cut).mean():.1f} % (threshold {cut:.3f})")
    if args.failures:
        for i, item in enumerate(items):
            if unsafe[i] != blocked[i]:
                lead = guard.labels[int(scores[i].argmax())]
                print("MISS" if unsafe[i] else "FALSE", ",".join(item["labels"]) or "benign", f"{top[i]:.3f}", lead, item["side"], "|", item["text"][:200])


if __name__ == "__main__":
    main()
