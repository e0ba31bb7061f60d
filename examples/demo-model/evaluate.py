"""Measures how often the demo model states the right facts about centres it has never seen.

    python evaluate.py FOLDER [--dialogs 200] [--seed 11] [--show 8] [--quantized]

Answers are decoded greedily. Each question is asked after the right dialog up to it. An answer counts when every fact
that the reference answer must contain (hours, prices, rooms, names, addresses) is in it word for word.
"""

import argparse
import collections
import json
import pathlib

import torch
from safetensors.torch import load_file

import corpus
import tokens
from model import Config, Llama4Text


def load(folder, quantized=False):
    folder = pathlib.Path(folder)
    model = Llama4Text(Config(**json.loads((folder / "config.json").read_text()))).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    if quantized:
        for name, p in model.named_parameters():
            if p.dim() == 2 and "router" not in name:
                p.data = q8_0(p.data)
    return model


def q8_0(w):
    """Rounds a matrix as Q8_0 does: blocks of 32, an F16 scale of max / 127."""
    blocks = w.reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    q = torch.where(scale > 0, blocks / scale.clamp_min(1e-30), torch.zeros_like(blocks)).round()
    return (q * scale.half().float()).view_as(w)


@torch.no_grad()
def answer(model, chat, messages, limit=96):
    ids = chat.prompt(messages)
    caches = [{"n": 0} for _ in model.layers]
    logits = model(torch.tensor([ids]), caches=caches)[0, -1]
    out = []
    while len(out) < limit:
        best = int(logits.argmax())
        if best == chat.eot:
            break
        out.append(best)
        logits = model(torch.tensor([[best]]), caches=caches)[0, -1]
    return chat.tok.decode(out, skip_special_tokens=False)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("folder")
    args.add_argument("--dialogs", type=int, default=200)
    args.add_argument("--seed", type=int, default=11)
    args.add_argument("--show", type=int, default=6, help="wrong answers to print")
    args.add_argument("--quantized", action="store_true", help="round the matrices to Q8_0 first")
    args = args.parse_args()
    torch.set_num_threads(1)
    model, chat = load(args.folder, args.quantized), tokens.Chat.load(args.folder)
    right, asked, shown, past = collections.Counter(), collections.Counter(), 0, [0, 0]
    for d in corpus.generate(args.seed, args.dialogs, val=True):
        for index, facts in d["facts"].items():
            if not facts:
                continue
            said, kind = answer(model, chat, d["messages"][: int(index)]), d["kinds"][index]
            ok = all(f.lower() in said.lower() for f in facts)
            asked[kind] += 1
            right[kind] += ok
            if len(chat.prompt(d["messages"][: int(index)])) >= model.cfg.chunk:
                past[0] += ok
                past[1] += 1
            if not ok and shown < args.show:
                shown += 1
                print(json.dumps({"kind": kind, "question": d["messages"][int(index) - 1]["content"], "want": facts, "said": said}, ensure_ascii=False))
    for kind in sorted(asked, key=lambda k: -asked[k]):
        print(f"{kind:14} {right[kind]:5} / {asked[kind]}")
    total, of = sum(right.values()), sum(asked.values())
    print(f"beyond the first chunk of {model.cfg.chunk}: {past[0]} / {past[1]}")
    print(f"all            {total:5} / {of} = {total / of:.3f} (seed {args.seed}, {args.dialogs} dialogs{', Q8_0' if args.quantized else ''})")


if __name__ == "__main__":
    main()
