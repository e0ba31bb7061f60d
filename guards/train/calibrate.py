"""Temperature, from texts that training does not see in all languages, and thresholds, from the English ones."""

import numpy as np
import onnxruntime
import torch

import data
from train import STRIDE, WINDOW, encode, fits, pad, predict

SETS = ("dev", "challenge", "dev_languages")
# Thresholds: challenge guided the lists and would flatter.
THRESHOLD_SET = "dev"


class Calibration:
    def __init__(self, tok):
        self.items, self.origin = [], []
        for name in SETS:
            found = [x for x in data.read_jsonl(data.ROOT / "data" / f"{name}.jsonl") if fits(x)]
            self.items += found
            self.origin += [name] * len(found)
        self.rows = encode(tok, self.items)
        self.unsafe = np.array([bool(x["labels"]) for x in self.items])

    def temperature(self, model):
        """What the detection logit is divided by so that its sigmoid is a frequency (log loss, equal weight for each side)."""
        detect = torch.tensor(predict(model, self.rows)[:, -1], dtype=torch.float64)
        target = torch.tensor(self.unsafe, dtype=torch.float64)
        weight = torch.where(target > 0, 0.5 / target.mean(), 0.5 / (1 - target.mean()))
        losses = {}
        for t in np.arange(0.5, 6.0, 0.05):
            losses[t] = torch.nn.functional.binary_cross_entropy_with_logits(detect / t, target, weight=weight).item()
        best = min(losses, key=losses.get)
        print(f"temperature {best:.2f}: log loss {losses[best]:.4f}, {losses[min(losses, key=lambda t: abs(t - 1))]:.4f} without")
        return float(best)

    def scores(self, path):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        out = np.zeros((len(self.rows), len(data.LABELS)))
        read = sorted(((w, i) for i, row in enumerate(self.rows) for w in windows(row)), key=lambda x: len(x[0]))
        for at in range(0, len(read), 64):
            group = read[at : at + 64]
            ids, mask = pad([w for w, _ in group])
            logits = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
            for (_, i), row in zip(group, 1 / (1 + np.exp(-logits.astype(np.float64)))):
                out[i] = np.maximum(out[i], row)
        return out

    def thresholds(self, path, target):
        """One threshold for each side that lets `target` of the harmless English texts through to a false alarm; labels that
        lead more than their share of them get a higher one."""
        scores = self.scores(path)
        top, lead, origin = scores.max(1), scores.argmax(1), np.array(self.origin)
        side = np.array([x["side"] for x in self.items])
        rows = ~self.unsafe & (origin == THRESHOLD_SET)
        weight = rows / rows.sum()
        both = cut(top, weight, target)
        out = {}
        for name in ("input", "output"):
            rows = weight * (side == name)
            # Few texts say little: the quantile of a side counts as far as it has texts.
            share = (rows > 0).sum() / ((rows > 0).sum() + 600)
            base = share * cut(top, rows, target) + (1 - share) * both
            most = rows.sum() * target / 4
            out[name] = [min(0.98, max(base, cut(top, rows, most, rows * (lead == j)))) for j in range(len(data.LABELS))]
        self.report(top, both)
        return out

    def report(self, top, threshold):
        origin = np.array(self.origin)
        for name in SETS:
            rows = origin == name
            caught, false = (np.mean(top[rows & (self.unsafe == u)] >= threshold) for u in (True, False))
            print(f"{name}: threshold {threshold:.3f}, recall {caught:.3f}, false positives {false:.3f}")


def windows(row):
    """A row of ids, the marker first, as the library reads it."""
    marker, ids, size = row[:1], row[1:], WINDOW - 1
    starts = [0]
    while starts[-1] + size < len(ids):
        starts.append(starts[-1] + STRIDE)
    out = [marker + ids[s : s + size] for s in starts]
    if len(out) > 1:
        out.append(marker + ids[: size // 2] + ids[len(ids) - (size - size // 2) :])
    return out


def cut(top, weight, share, of=None):
    """The score that texts of `share` of all weight reach; `of` names the weight of the texts that may reach it."""
    some = weight if of is None else of
    order = np.argsort(-top)
    above = np.cumsum(some[order]) > (share * weight.sum() if of is None else share)
    return float(top[order][above.argmax()]) + 1e-3 if above.any() else 0.0
