"""Makes a checkpoint of the shipped classifier, for `train.py --start`, and its tokenizer, where training looks for it.

The 8-bit weights come back as they are, and what `export.py` merged stays merged. The graph does not say what temperature
its logits were divided by, so the heads are scaled to what training left: the factor of the least loss over training texts.
"""

import argparse
import random
import shutil

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from tokenizers import Tokenizer

import data
from export import OUT
from model import Guard, loss_of, pad
from train import MAX_TOKENS, WORK, encode, save, targets_of


def values_of(graph):
    """The initializers by name; those of 8 bits times their steps, under the name they had before."""
    found = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for name in [n for n in found if n.endswith("_8")]:
        plain = name.removesuffix("_8")
        found[plain] = found.pop(name).astype(np.float32) * found.pop(f"{plain}_step")
    return found


def state_of(graph):
    """The values under the encoder's own names. A matrix has lost its name; the bias added to its product tells it."""
    found, state = values_of(graph), {}
    readers = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in found:
            bias = next(n for n in readers[node.output[0]].input if n.endswith(".bias"))
            state[bias.replace(".bias", ".weight")] = found.pop(node.input[1]).T
    state.update(found)
    return {k: torch.tensor(np.ascontiguousarray(v)) for k, v in state.items()}


def restored(graph, tok):
    """A model in which every row stands in the table: what is learned for the later pieces begins at nothing."""
    state = state_of(graph)
    size, known = tok.get_vocab_size(), tok.token_to_id("[INPUT]")
    layers = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("layers."))
    ffn = state["layers.0.up.weight"].shape[0]
    model = Guard(size, known, len(data.LABELS), layers=layers, ffn=ffn, max_tokens=MAX_TOKENS)
    missing, odd = model.load_state_dict(state, strict=False)
    if odd or missing != ["fresh.weight"]:
        raise SystemExit(f"the graph lacks {missing} and has {odd} besides")
    return model.eval(), {"known": known, "layers": layers, "ffn": ffn}


def compare(model, tok, items):
    """The library's graph and the restored model over the same texts."""
    session = onnxruntime.InferenceSession(str(OUT / "model.onnx"), providers=["CPUExecutionProvider"])
    rows, worst = encode(tok, items), 0.0
    for at in range(0, len(rows), 50):
        ids, mask = pad(rows[at : at + 50])
        want = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        with torch.no_grad():
            worst = max(worst, float(np.abs(want - model(ids, mask).numpy()).max()))
    print(f"{len(items)} texts of dev: logits differ by at most {worst:.6f}")
    if worst > 1e-3:
        raise SystemExit("the restored model is not the shipped one")


def warm(model, tok):
    """Scales the heads to the least loss over training texts, and says by how much."""
    items = data.Source().build("train", 1500, 1, foreign_share=0.4)
    rows, y = encode(tok, items), targets_of(items)
    with torch.no_grad():
        out = torch.cat([model.heads(*pad(rows[i : i + 50])) for i in range(0, len(rows), 50)])
    losses = {f: float(loss_of(out * f, y)) for f in np.arange(0.6, 4.0, 0.1)}
    best = min(losses, key=losses.get)
    model.cool(1 / best)
    print(f"heads times {best:.1f}: loss {losses[best]:.4f}")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default=str(WORK / "shipped.pt"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    WORK.mkdir(exist_ok=True)
    shutil.copyfile(OUT / "tokenizer.json", WORK / "tokenizer.json")
    tok = Tokenizer.from_file(str(WORK / "tokenizer.json"))
    model, shape = restored(onnx.load(str(OUT / "model.onnx")).graph, tok)
    items = data.read_jsonl(data.ROOT / "data" / "dev.jsonl")
    compare(model, tok, random.Random(1).sample(items, 300))
    warm(model, tok)
    save(args.out, model, model.state_dict(), shape, tok)


if __name__ == "__main__":
    main()
