"""Temperature, from texts that training does not see in all languages, and thresholds, from the English ones."""

import numpy as np
import torch

import data
from evaluate import session_of
from model import pad
from train import predict, strongest
from windows import ends_of, read

SETS = ("dev", "challenge", "dev_languages", "dev_long")
# Thresholds: challenge guided the lists and would flatter.
THRESHOLD_SET, LONG_SET = "dev", "dev_long"


class Calibration:
    def __init__(self, tok):
        self.items, self.origin = [], []
        for name in SETS:
            found = data.read_jsonl(data.ROOT / "data" / f"{name}.jsonl")
            self.items += found
            self.origin += [name] * len(found)
        self.rows, self.owner, self.several = read(tok, self.items, ends_of(tok))
        self.unsafe = np.array([bool(x["labels"]) for x in self.items])
        self.side = np.array([x["side"] for x in self.items])

    def temperature(self, model):
        """What the detection logit is divided by so that its sigmoid is a frequency (log loss, equal weight for each side)."""
        detect = torch.tensor(strongest(predict(model, self.rows), self.owner)[:, -1], dtype=torch.float64)
        target = torch.tensor(self.unsafe, dtype=torch.float64)
        weight = torch.where(target > 0, 0.5 / target.mean(), 0.5 / (1 - target.mean()))
        losses = {}
        for t in np.arange(0.5, 6.0, 0.05):
            losses[t] = torch.nn.functional.binary_cross_entropy_with_logits(detect / t, target, weight=weight).item()
        best = min(losses, key=losses.get)
        print(f"temperature {best:.2f}: log loss {losses[best]:.4f}, {losses[min(losses, key=lambda t: abs(t - 1))]:.4f} without")
        return float(best)

    def logits(self, path):
        """The highest logit of each label over the windows that are one of several, and over the others: (2, texts, labels)."""
        session = session_of(path)
        out = np.full((2, len(self.items), len(data.LABELS)), -np.inf)
        order = sorted(range(len(self.rows)), key=lambda i: len(self.rows[i]))
        for at in range(0, len(order), 64):
            group = order[at : at + 64]
            ids, mask = pad([self.rows[i] for i in group])
            got = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
            for i, row in zip(group, got.astype(np.float64)):
                best = out[int(not self.several[i]), self.owner[i]]
                np.maximum(best, row, out=best)
        return out

    def thresholds(self, logits, target, long_target):
        """One threshold for each side that lets `target` of the harmless English texts through to a false alarm; labels that
        lead more than their share of them get a higher one. And by how much the logits of texts of several windows are
        lowered, so that no more than `long_target` of the harmless long ones give one."""
        scores = sigmoid(logits.max(0))
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
        harmless = ~self.unsafe & (origin == LONG_SET) & np.isfinite(logits[0, :, 0])
        shift = next(s for s in np.arange(0, 5, 0.05) if self.fired(logits, out, s)[harmless].mean() <= long_target)
        print(f"of {harmless.sum()} harmless long texts {self.fired(logits, out, 0)[harmless].mean():.3f} without a shift of {shift:.2f}")
        self.report(self.fired(logits, out, shift))
        return out, float(shift)

    def fired(self, logits, thresholds, shift):
        lowered = np.maximum(logits[0] - shift, logits[1])
        return (sigmoid(lowered) >= np.array([thresholds[x] for x in self.side])).any(1)

    def report(self, fired):
        origin = np.array(self.origin)
        for name in SETS:
            rows = origin == name
            caught, false = (np.mean(fired[rows & (self.unsafe == u)]) for u in (True, False))
            print(f"{name}: recall {caught:.3f}, false positives {false:.3f}")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cut(top, weight, share, of=None):
    """The score that texts of `share` of all weight reach; `of` names the weight of the texts that may reach it."""
    some = weight if of is None else of
    order = np.argsort(-top)
    above = np.cumsum(some[order]) > (share * weight.sum() if of is None else share)
    return float(top[order][above.argmax()]) + 1e-3 if above.any() else 0.0
