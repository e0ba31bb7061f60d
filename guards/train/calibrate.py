"""Temperature, from texts that training does not see in all languages, and thresholds, from the English ones."""

import numpy as np
import onnxruntime
import torch

import data
from train import encode, fits, pad, predict

SETS = ("dev", "challenge", "dev_languages")


class Calibration:
    def __init__(self, tok):
        self.items = []
        for name in SETS:
            path = data.ROOT / "data" / f"{name}.jsonl"
            if path.exists():
                self.items += [x for x in data.read_jsonl(path) if fits(x)]
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
        order = sorted(range(len(self.rows)), key=lambda i: len(self.rows[i]))
        for i in range(0, len(order), 64):
            group = order[i : i + 64]
            ids, mask = pad([self.rows[j] for j in group])
            logits = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
            out[group] = 1 / (1 + np.exp(-logits.astype(np.float64)))
        return out

    def thresholds(self, path, target):
        """One threshold for each side that lets `target` of the harmless texts through to a false alarm; labels that lead
        more than their share of what is left get a higher one."""
        scores = self.scores(path)
        top, lead = scores.max(1), scores.argmax(1)
        english = np.array([x.get("lang", "en") == "en" for x in self.items])
        benign = ~self.unsafe & english
        side = np.array([x["side"] for x in self.items])
        both = float(np.quantile(top[benign], 1 - target))
        out = {}
        for name in ("input", "output"):
            rows = benign & (side == name)
            # Few texts say little: the quantile of a side counts as far as it has texts.
            own, share = float(np.quantile(top[rows], 1 - target)), rows.sum() / (rows.sum() + 300)
            base = share * own + (1 - share) * both
            out[name] = [min(0.98, self.raised(base, top[rows & (lead == j)], rows.sum() * target / 5)) for j in range(len(data.LABELS))]
        for name, rows in (("English", english), ("other languages", ~english)):
            if rows.any():
                caught, false = np.mean(top[self.unsafe & rows] >= both), np.mean(top[~self.unsafe & rows] >= both)
                print(f"{name}: threshold {both:.3f}, recall {caught:.3f}, false positives {false:.3f}")
        return out

    @staticmethod
    def raised(base, led, most):
        """The threshold at which a label leads at most `most` false alarms."""
        above = np.sort(led[led >= base])[::-1]
        keep = max(1, int(np.ceil(most)))
        return base if len(above) <= keep else float(above[keep]) + 0.005
