"""Temperature, from texts that training does not see in all languages, and thresholds, from the English ones."""

import numpy as np
import torch

import data
from evaluate import session_of
from model import pad
from windows import ends_of, read

SETS = ("dev", "challenge", "dev_languages", "dev_long", "dev_sewn")
# Thresholds: challenge guided the lists and would flatter.
THRESHOLD_SET = "dev"


class Calibration:
    def __init__(self, tok):
        self.items, self.origin = [], []
        for name in SETS:
            found = data.read_jsonl(data.ROOT / "data" / f"{name}.jsonl")
            self.items += found
            self.origin += [name] * len(found)
        self.rows, self.owner, self.kinds = read(tok, self.items, ends_of(tok))
        self.unsafe = np.array([bool(x["labels"]) for x in self.items])
        self.side = np.array([x["side"] for x in self.items])

    def temperature(self, logits):
        """What the detection logit is divided by so that its sigmoid is a frequency (log loss, equal weight for each side)."""
        detect = torch.tensor(logits.max((0, 2)))
        target = torch.tensor(self.unsafe, dtype=torch.float64)
        weight = torch.where(target > 0, 0.5 / target.mean(), 0.5 / (1 - target.mean()))
        losses = {}
        for t in np.arange(0.5, 6.0, 0.05):
            losses[t] = torch.nn.functional.binary_cross_entropy_with_logits(detect / t, target, weight=weight).item()
        best = min(losses, key=losses.get)
        print(f"temperature {best:.2f}: log loss {losses[best]:.4f}, {losses[min(losses, key=lambda t: abs(t - 1))]:.4f} without")
        return float(best)

    def logits(self, path):
        """The highest logit of each label over the windows of each kind: (3, texts, labels)."""
        session = session_of(path)
        out = np.full((3, len(self.items), len(data.LABELS)), -np.inf)
        order = sorted(range(len(self.rows)), key=lambda i: len(self.rows[i]))
        for at in range(0, len(order), 64):
            group = order[at : at + 64]
            ids, mask = pad([self.rows[i] for i in group])
            got = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
            for i, row in zip(group, got.astype(np.float64)):
                best = out[self.kinds[i], self.owner[i]]
                np.maximum(best, row, out=best)
        return out

    def thresholds(self, logits, target, shifts):
        """One threshold for each side that lets `target` of the harmless English texts through to a false alarm; labels that
        lead more than their share of them get a higher one. The logits of texts of several windows and of single sentences are
        lowered by `shifts`, since each is one more chance to be flagged."""
        scores = sigmoid(lowered(logits, shifts))
        top, lead, origin = scores.max(1), scores.argmax(1), np.array(self.origin)
        rows = ~self.unsafe & (origin == THRESHOLD_SET)
        weight = rows / rows.sum()
        both = cut(top, weight, target)
        out = {}
        for name in ("input", "output"):
            rows = weight * (self.side == name)
            # Few texts say little: the quantile of a side counts as far as it has texts.
            share = (rows > 0).sum() / ((rows > 0).sum() + 600)
            base = share * cut(top, rows, target) + (1 - share) * both
            most = rows.sum() * target / 4
            out[name] = [min(0.98, max(base, cut(top, rows, most, rows * (lead == j)))) for j in range(len(data.LABELS))]
        self.report((scores >= np.array([out[x] for x in self.side])).any(1))
        return out

    def report(self, fired):
        origin = np.array(self.origin)
        for name in SETS:
            rows = origin == name
            caught, false = (np.mean(fired[rows & (self.unsafe == u)]) for u in (True, False))
            print(f"{name}: recall {caught:.3f}, false positives {false:.3f}")


def lowered(logits, shifts):
    """The highest logits of each text, those of its kinds of windows lowered by (0, several, sentence)."""
    return (logits - np.array([0.0, *shifts])[:, None, None]).max(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cut(top, weight, share, of=None):
    """The score that texts of `share` of all weight reach; `of` names the weight of the texts that may reach it."""
    some = weight if of is None else of
    order = np.argsort(-top)
    above = np.cumsum(some[order]) > (share * weight.sum() if of is None else share)
    return float(top[order][above.argmax()]) + 1e-3 if above.any() else 0.0
