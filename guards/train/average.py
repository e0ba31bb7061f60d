"""Averages the values of checkpoints of one vocabulary, weighted: `average.py a.pt:0.4 b.pt:0.6 --out c.pt`."""

import argparse

import torch


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("checkpoints", nargs="+", help="path:weight")
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    parts = [x.rsplit(":", 1) for x in args.checkpoints]
    loaded = [(torch.load(path), float(weight)) for path, weight in parts]
    first = loaded[0][0]
    if any(saved["pieces"] != first["pieces"] for saved, _ in loaded):
        raise SystemExit("the checkpoints have different vocabularies")
    total = sum(weight for _, weight in loaded)
    state = {k: sum(saved["state"][k] * (weight / total) for saved, weight in loaded) for k in first["state"]}
    torch.save({**first, "state": state}, args.out)


if __name__ == "__main__":
    main()
