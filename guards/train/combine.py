"""Averages trained members into one graph, checks it against onnxruntime, and writes guards/classifier."""

import argparse

import torch
from tokenizers import Tokenizer
from torch import nn

import data
import train
from model import Guard


class Committee(nn.Module):
    """The mean of the members' head outputs, then the same read-out as a single member."""

    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.labels = members[0].labels

    def forward(self, input_ids, attention_mask):
        out = self.members[0].heads(input_ids, attention_mask)
        for member in self.members[1:]:
            out = out + member.heads(input_ids, attention_mask)
        out = out / len(self.members)
        labels, detect = out[:, : self.labels], out[:, self.labels :]
        return detect + labels - labels.max(1, keepdim=True).values


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("checkpoints", nargs="+")
    ap.add_argument("--target-fpr", type=float, default=0.03)
    args = ap.parse_args()
    tok = Tokenizer.from_file(str(train.OUT / "tokenizer.json"))
    members = []
    for path in args.checkpoints:
        saved = torch.load(path)
        made = saved["args"]
        member = Guard(tok.get_vocab_size(), len(data.LABELS), dim=made["dim"], layers=made["layers"], max_tokens=train.MAX_TOKENS)
        member.load_state_dict(saved["state"])
        members.append(member.eval())
    model = Committee(members).eval()
    dev = data.read_jsonl(data.ROOT / "data" / "dev.jsonl")
    dev = [x for x in dev if train.fits(x)]
    rows, y = train.encode(tok, dev), train.targets_of(dev)
    print(train.summary(train.predict(model, rows), y))
    train.export(model, rows, y, args.target_fpr)


if __name__ == "__main__":
    main()
