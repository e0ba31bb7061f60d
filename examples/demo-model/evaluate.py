"""Measures how often the demo model states the right facts about centres it has never seen.

    python evaluate.py FOLDER|FILE.gguf [--dialogs 200] [--seed 11] [--show 6] [--quantized]

Takes what train.py left in a folder, or the finished file (with the `gguf` package).

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


def load_gguf(path):
    """The network and the tokenizer of a finished file."""
    import gguf

    file = gguf.GGUFReader(path)
    said = lambda key: file.fields[key].contents()
    number = lambda key: said(f"llama4.{key}")
    cfg = Config(
        vocab_size=number("vocab_size"), d_model=number("embedding_length"), n_layers=number("block_count"),
        n_heads=number("attention.head_count"), n_kv_heads=number("attention.head_count_kv"), head_dim=number("attention.key_length"),
        ffn=number("expert_feed_forward_length"), n_experts=number("expert_count"), nope_interval=number("nope_layer_interval"),
        chunk=number("attention.chunk_size"), context=number("context_length"), rope_theta=number("rope.freq_base"),
        eps=number("attention.layer_norm_rms_epsilon"),
    )
    values = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in file.tensors}
    names = {"embed.weight": "token_embd.weight", "norm.weight": "output_norm.weight", "output.weight": "output.weight"}
    state = {}
    for name, p in (model := Llama4Text(cfg).eval()).named_parameters():
        if name in names:
            state[name] = values[names[name]]
            continue
        _, layer, part = name.split(".", 2)
        part = part.removesuffix(".weight").replace("attn.o", "attn_output").replace("attn.", "attn_").replace("moe.router", "ffn_gate_inp")
        if part.startswith("moe.experts."):
            expert, which = part.split(".")[2:]
            state[name] = values[f"blk.{layer}.ffn_{which}_exps.weight"][int(expert)]
        else:
            part = f"ffn_{part.split('.')[2]}_shexp" if part.startswith("moe.shared.") else part
            state[name] = values[f"blk.{layer}.{part}.weight"]
        assert state[name].shape == p.shape, name
    model.load_state_dict(state)
    pairs = (said(f"tokenizer.ggml.{k}") for k in ("tokens", "token_type", "merges"))
    return model, tokens.Chat(tokens.rebuild(*pairs))


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
    if args.folder.endswith(".gguf"):
        model, chat = load_gguf(args.folder)
    else:
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
