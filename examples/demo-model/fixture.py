"""Writes what the reference network computes, so that another engine can be held against it.

    python fixture.py FOLDER OUT.json

The weights are rounded to Q8_0 as in the GGUF file; activations stay F32. For a demo prompt and for held-out dialogs,
one of them longer than the attention chunk: the text, the ids, the log-probability of each id after the first, and the
greedy answer.
"""

import argparse
import json
import pathlib

import torch

import corpus
import evaluate
import tokens


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("folder")
    args.add_argument("out")
    args = args.parse_args()
    torch.set_num_threads(1)
    model, chat = evaluate.load(args.folder, quantized=True), tokens.Chat.load(args.folder)
    demo = json.loads((pathlib.Path(__file__).parent / "demo.json").read_text())
    asked = [[{"role": "system", "content": demo["system"]}, {"role": "user", "content": c["turns"][0]["user"]}] for c in demo["conversations"]]
    for d in corpus.generate(21, 40, val=True):
        last = max(map(int, d["facts"]))
        asked.append(d["messages"][:last])
    asked.sort(key=lambda m: len(chat.prompt(m)))
    picked = [asked[0], asked[len(asked) // 2], asked[-1]] + [a for a in asked if a[0]["content"] == demo["system"]][:2]
    cases = []
    for messages in picked:
        ids = chat.prompt(messages)
        with torch.no_grad():
            logprobs = model(torch.tensor([ids]))[0].log_softmax(-1)
        cases.append(
            {
                "messages": messages,
                "ids": ids,
                "logprobs": [round(logprobs[i, t].item(), 5) for i, t in enumerate(ids[1:])],
                "answer": evaluate.answer(model, chat, messages),
            }
        )
    texts = ["Hello, world!", "two  spaces and\ttabs\r\n", "naïve café £14.50", "नमस्ते 😀", "it's I'LL WE'VE", "<|eot|>", "1234567890", ""]
    out = {
        "_comment": "Made by examples/demo-model/fixture.py from the weights of palisade-demo.gguf; ids by the tokenizers package.",
        "texts": [{"text": t, "ids": chat.text(t)} for t in texts],
        "dialogs": cases,
    }
    pathlib.Path(args.out).write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
