"""Measures the shipped classifier (ONNX, tokenizer, thresholds as committed) on a split or the challenge set."""

import argparse
import hashlib
import math
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

import data
from windows import windows

HOME = data.ROOT / "classifier"


def wilson(k, n, z=1.96):
    if n == 0:
        return 0.0, 1.0
    p, d = k / n, 1 + z * z / n
    mid, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (mid - half) / d), min(1.0, (mid + half) / d)


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Classifier:
    """The reference reader: windows of max_tokens with the side marker in front, head and tail joined, sentences, maximum over them.
    It reads the text as it is; the guard in the library reads further views of it."""

    def __init__(self, home=HOME):
        self.config = tomllib.loads((home / "classifier.toml").read_text(encoding="utf-8"))
        self.tok = Tokenizer.from_file(str(home / "tokenizer.json"))
        self.session = session_of(home / "model.onnx")
        self.labels = self.config["labels"]
        self.ends = frozenset(self.tok.token_to_id(x) for x in self.config.get("sentence_ends", ()))
        self.sentence = self.config.get("sentence_tokens", 0)
        self.shifts = np.array([0.0, self.config.get("several_shift", 0.0), self.config.get("sentence_shift", 0.0)])
        both = {**self.config["thresholds"]}
        output = {**both, **self.config.get("output_thresholds", {})}
        self.thresholds = {s: np.array([t[x] for x in self.labels]) for s, t in (("input", both), ("output", output))}

    def windows(self, text, side):
        """Rows of ids, and how each came about."""
        marker = self.tok.token_to_id(self.config["side_tokens"][side])
        found = windows(self.tok, text, self.ends, self.config["max_tokens"] - 1, self.config["stride"], self.sentence)
        return [([marker, *ids], kind) for ids, kind in found]

    def scores(self, items, batch=64):
        rows, owner, kinds = [], [], []
        for i, item in enumerate(items):
            for row, kind in self.windows(item["text"], item["side"]):
                rows.append(row)
                owner.append(i)
                kinds.append(kind)
        best = np.zeros((len(items), len(self.labels)), dtype=np.float64)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for at in range(0, len(order), batch):
            group = order[at : at + batch]
            width = max(len(rows[i]) for i in group)
            ids, mask = np.zeros((len(group), width), np.int64), np.zeros((len(group), width), np.int64)
            for r, i in enumerate(group):
                ids[r, : len(rows[i])], mask[r, : len(rows[i])] = rows[i], 1
            logits = self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
            shift = self.shifts[[kinds[i] for i in group]][:, None]
            probability = 1 / (1 + np.exp(shift - logits.astype(np.float64)))
            for r, i in enumerate(group):
                best[owner[i]] = np.maximum(best[owner[i]], probability[r])
        return best


def rate(k, n):
    low, high = wilson(k, n)
    return f"{k}/{n} = {100 * k / max(n, 1):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def paths_of(name):
    """A set of guards/data, or `cases`: all of guards/eval/cases, or one file of it."""
    if name == "cases":
        return sorted((data.ROOT / "eval" / "cases").glob("*.jsonl"))
    if name.endswith(".jsonl"):
        return [Path(name)]
    return [data.ROOT / "data" / f"{name}.jsonl"]


class Measurement:
    """Hits and false alarms of one set, by label and by side."""

    def __init__(self, guard, name):
        self.guard, self.name = guard, name
        self.items = [x for path in paths_of(name) for x in data.read_jsonl(path)]
        for item in self.items:
            item["labels"] = [x for x in item["labels"] if x in guard.labels]
        self.scores = guard.scores(self.items)
        self.fired = self.scores >= np.stack([guard.thresholds[x["side"]] for x in self.items])
        self.blocked = self.fired.any(1)
        self.unsafe = np.array([bool(x["labels"]) for x in self.items])
        self.top = self.scores.max(1)

    def share(self, rows):
        return rate(int(self.blocked[rows].sum()), int(rows.sum()))

    def summary(self):
        side = np.array([x["side"] for x in self.items])
        lines = [
            f"{len(self.items)} texts: {int(self.unsafe.sum())} unsafe, {int((~self.unsafe).sum())} benign.",
            "",
            "| | both sides | input | output |",
            "|---|---|---|---|",
        ]
        for name, rows in (("recall", self.unsafe), ("false positive rate", ~self.unsafe)):
            cells = [self.share(rows), self.share(rows & (side == "input")), self.share(rows & (side == "output"))]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return lines

    def by_language(self):
        languages = sorted({x.get("lang", "en") for x in self.items})
        if languages == ["en"]:
            return []
        lines = ["", "| language | recall | false positive rate |", "|---|---|---|"]
        for lang in languages:
            rows = np.array([x.get("lang", "en") == lang for x in self.items])
            lines.append(f"| {lang} | {self.share(rows & self.unsafe)} | {self.share(rows & ~self.unsafe)} |")
        return lines

    def by_label(self):
        lines = ["| label | recall, any label fires | recall, this label fires | false positives it leads |", "|---|---|---|---|"]
        lead = self.scores.argmax(1)
        for j, label in enumerate(self.guard.labels):
            rows = np.array([label in x["labels"] for x in self.items])
            own = rate(int(self.fired[rows, j].sum()), int(rows.sum()))
            false = int((self.blocked & ~self.unsafe & (lead == j)).sum())
            lines.append(f"| {label} | {self.share(rows)} | {own} | {false} |")
        return lines

    def curve(self):
        lines = ["| false positives allowed | recall | threshold |", "|---|---|---|"]
        for level in (0.005, 0.01, 0.02, 0.03, 0.05, 0.1):
            cut = float(np.quantile(self.top[~self.unsafe], 1 - level))
            lines.append(f"| {100 * level:.1f} % | {100 * (self.top[self.unsafe] > cut).mean():.1f} % | {cut:.3f} |")
        return lines

    def failures(self):
        for i in np.flatnonzero(self.unsafe != self.blocked):
            item = self.items[i]
            what = "MISS " + ",".join(item["labels"]) if self.unsafe[i] else "FALSE benign"
            yield f"{what} {self.top[i]:.3f} {self.guard.labels[int(self.scores[i].argmax())]} {item['side']} | {item['text'][:200]}"


def card_tables(guard):
    def digest(name):
        return hashlib.sha256((HOME / name).read_bytes()).hexdigest()

    out = ["| file | bytes | SHA-256 |", "|---|---|---|"]
    for name in ("model.onnx", "tokenizer.json"):
        out.append(f"| {name} | {(HOME / name).stat().st_size:,} | {digest(name)} |")
    for name in ("cases", "holdout", "challenge", "test", "test_languages", "test_long", "test_sewn"):
        if not paths_of(name) or not paths_of(name)[0].exists():
            continue
        m = Measurement(guard, name)
        out += ["", f"### {name}", "", *m.summary(), *m.by_language(), "", *m.by_label(), "", *m.curve()]
    return out


def write_card(guard):
    path = HOME / "MODEL_CARD.md"
    text = path.read_text(encoding="utf-8")
    head, rest = text.split("<!-- tables: begin -->")
    tail = rest.split("<!-- tables: end -->")[1]
    body = "\n".join(["<!-- tables: begin -->", *card_tables(guard), "<!-- tables: end -->"])
    path.write_text(head + body + tail, encoding="utf-8")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--set", default="test", help="dev, test, test_languages, test_long, test_sewn, challenge, holdout, cases, or the path of a file")
    ap.add_argument("--classifier", type=Path, default=HOME, help="another folder than the shipped one, an older one's say")
    ap.add_argument("--failures", action="store_true", help="print every miss and false alarm")
    ap.add_argument("--write-card", action="store_true", help="refresh the tables of MODEL_CARD.md")
    args = ap.parse_args()
    guard = Classifier(args.classifier)
    if args.write_card:
        write_card(guard)
        return
    m = Measurement(guard, args.set)
    print("\n".join([args.set, "", *m.summary(), *m.by_language(), "", *m.by_label(), "", *m.curve()]))
    if args.failures:
        print("\n".join(m.failures()))


if __name__ == "__main__":
    main()
