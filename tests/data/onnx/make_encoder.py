"""Random encoders of the BERT kind with three labels, exported by both PyTorch exporters, and two with eight-bit weights.

    python make_encoder.py tests/data/onnx/encoders     # what is committed there

Norms before or after, GELU by erf or by tanh, attention spelled out or `scaled_dot_product_attention` with either kind of mask.
Needs torch, onnx, onnxscript and onnxruntime.
"""
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from make_deberta import thin

warnings.filterwarnings("ignore")
VOCAB, WIDTH, HEADS, LAYERS, LABELS = 64, 16, 2, 2, 3
CASES = [(1, 2), (1, 7), (1, 33), (1, 70), (3, 40)]


class Layer(nn.Module):
    def __init__(self, before, attention, approximate):
        super().__init__()
        self.before, self.attention, self.approximate = before, attention, approximate
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def attend(self, x, mask):
        b, t, d = x.shape
        q, k, v = (f(x).view(b, t, HEADS, d // HEADS).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.attention == "eager":
            y = (q @ k.transpose(-1, -2) / (d // HEADS) ** 0.5 + mask).softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o(y.transpose(1, 2).reshape(b, t, d))

    def forward(self, x, mask):
        def feed(y):
            return self.down(F.gelu(self.up(y), approximate=self.approximate))
        if self.before:
            x = x + self.attend(self.norm1(x), mask)
            return x + feed(self.norm2(x))
        x = self.norm1(x + self.attend(x, mask))
        return self.norm2(x + feed(x))


class Encoder(nn.Module):
    def __init__(self, before, attention, approximate):
        super().__init__()
        self.attention = attention
        self.tokens, self.places = nn.Embedding(VOCAB, WIDTH), nn.Embedding(128, WIDTH)
        self.first, self.last = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(Layer(before, attention, approximate) for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, LABELS)

    def forward(self, input_ids, attention_mask):
        x = self.first(self.tokens(input_ids) + self.places(torch.arange(input_ids.shape[1]))[None])
        mask = attention_mask[:, None, None, :]
        if self.attention == "bool":
            mask = mask.bool()
        else:
            mask = (1 - mask.float()) * (-1e4 if self.attention == "eager" else torch.finfo(torch.float32).min)
        for layer in self.layers:
            x = layer(x, mask)
        weight = attention_mask.float()[:, :, None]
        return self.head((self.last(x) * weight).sum(1) / weight.sum(1))


def export(path, exporter, before, attention, approximate):
    torch.manual_seed(20251125)
    model = Encoder(before, attention, approximate).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.add_(torch.randn_like(p) * (0.2 if p.dim() > 1 else 0.1))
    names = ["input_ids", "attention_mask"]
    args = (torch.randint(1, VOCAB, (2, 16)), torch.ones(2, 16, dtype=torch.int64))
    if exporter == "legacy":
        axes = {n: {0: "batch", 1: "seq"} for n in names} | {"logits": {0: "batch"}}
        torch.onnx.export(model, args, path, input_names=names, output_names=["logits"], dynamic_axes=axes,
                          opset_version=17, dynamo=False)
        return
    b, s = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("seq", min=2, max=128)
    torch.onnx.export(model, args, path, input_names=names, output_names=["logits"], dynamo=True, opset_version=18,
                      dynamic_shapes={n: {0: b, 1: s} for n in names}, external_data=False)
    thin(path)


def quantize(source, target, by_channel):
    """Matrices in eight bits: signed, a scale for each column of a product or row of an embedding, no zero point; or
    unsigned, one scale and one zero point."""
    import onnx
    from onnx import helper, numpy_helper
    model = onnx.load(source)
    graph = model.graph
    products = {n.input[1] for n in graph.node if n.op_type == "MatMul"}
    kept, nodes = [], []
    for tensor in graph.initializer:
        w = numpy_helper.to_array(tensor)
        if w.dtype != np.float32 or w.ndim != 2:
            kept.append(tensor)
            continue
        name, axis = tensor.name, 1 if tensor.name in products else 0
        scale = (np.abs(w).max(axis=1 - axis if by_channel else None, keepdims=by_channel) / 127).astype(np.float32)
        q = np.clip(np.round(w / scale), -127, 127)
        parts = [(q.astype(np.int8), "q")] if by_channel else [((q + 128).astype(np.uint8), "q")]
        parts.append((np.asarray(scale).reshape(-1 if by_channel else ()), "scale"))
        if not by_channel:
            parts.append((np.asarray(128, dtype=np.uint8), "zero"))
        kept += [numpy_helper.from_array(value, f"{name}.{part}") for value, part in parts]
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.{part}" for _, part in parts], [name], axis=axis))
    nodes += graph.node
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    onnx.save(model, target)


def case(batch, seq):
    """As in make_deberta.py, with our vocabulary."""
    ids = np.array([[1 + (r * 7919 + c * 104_729 + 13) % (VOCAB - 1) for c in range(seq)] for r in range(batch)])
    mask = np.ones((batch, seq), dtype=np.int64)
    for row in range(1, batch):
        mask[row, seq - (seq * row) // 4:] = 0
    return np.where(mask == 1, ids, 0).astype(np.int64), mask


def logits(path):
    """What the file says: ONNX Runtime's optimizer would quantize the activations of eight-bit products."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    out = []
    for batch, seq in CASES:
        ids, mask = case(batch, seq)
        got = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        out.append({"batch": batch, "seq": seq, "logits": [float(f"{x:.7g}") for x in got.flatten()]})
    return out


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    record = {"_comment": "ONNX Runtime logits of the models beside this file. Made by: python make_encoder.py "
                          "tests/data/onnx/encoders", "vocab": VOCAB, "models": {}}
    for name, *form in [
        ("bool-legacy.onnx", "legacy", True, "bool", "none"), ("bool-dynamo.onnx", "dynamo", True, "bool", "none"),
        ("eager-legacy.onnx", "legacy", False, "eager", "none"), ("eager-dynamo.onnx", "dynamo", False, "eager", "none"),
        ("tanh-legacy.onnx", "legacy", True, "float", "tanh"), ("tanh-dynamo.onnx", "dynamo", True, "float", "tanh"),
    ]:
        export(folder / name, *form)
    quantize(folder / "bool-dynamo.onnx", folder / "channels.onnx", True)
    quantize(folder / "eager-legacy.onnx", folder / "tensors.onnx", False)
    for path in sorted(folder.glob("*.onnx")):
        record["models"][path.name] = logits(path)
    text = json.dumps(record, separators=(",", ":")).replace('{"batch"', '\n{"batch"')
    (folder / "logits.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
