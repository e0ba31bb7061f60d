"""Random DeBERTa-v2 sequence classifiers shaped like Prompt Guard 2, exported by both PyTorch exporters.

    python make_deberta.py tiny FOLDER          # what is committed beside this file
    python make_deberta.py 22m FOLDER [legacy|dynamo]   # full size, for tests/data/onnx/compare.py; never committed
    python make_deberta.py 86m FOLDER [legacy|dynamo]

Weights are random with a fixed seed: the files hold nothing of Meta's model, only its shape. Needs torch, transformers,
onnx, onnxscript and onnxruntime.
"""
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

warnings.filterwarnings("ignore")

SHAPES = {
    "tiny": dict(vocab_size=300, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24),
    "22m": dict(vocab_size=128_100, hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536),
    "86m": dict(vocab_size=251_000, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072),
}
LENGTHS = [1, 2, 7, 63, 64, 255, 256, 511, 512]


def config(shape, token_types=False):
    return DebertaV2Config(
        relative_attention=True, position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True,
        pos_att_type=["p2c", "c2p"], layer_norm_eps=1e-7, max_relative_positions=-1, position_biased_input=False,
        max_position_embeddings=512, type_vocab_size=2 if token_types else 0, hidden_act="gelu", pad_token_id=0,
        num_labels=2, pooler_dropout=0, pooler_hidden_act="gelu", pooler_hidden_size=SHAPES[shape]["hidden_size"],
        conv_kernel_size=0, id2label={0: "BENIGN", 1: "MALICIOUS"}, label2id={"BENIGN": 0, "MALICIOUS": 1},
        architectures=["DebertaV2ForSequenceClassification"], **SHAPES[shape],
    )


class Wrapped(torch.nn.Module):
    """Logits alone, with the inputs in the order of `names`."""

    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs):
        return self.model(**dict(zip(self.names, inputs)))[0]


class Two(Wrapped):
    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids, attention_mask)


def build(shape, token_types=False):
    torch.manual_seed(20251125)
    model = DebertaV2ForSequenceClassification(config(shape, token_types)).eval()
    spread = {"tiny": 0.25, "22m": 0.05, "86m": 0.04}[shape]
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1:
                p.normal_(0, spread)
            elif name.endswith("bias"):
                p.normal_(0, 0.1)
        model.classifier.weight.normal_(0, 0.5)
    model.config.return_dict = False
    return model


def export(model, shape, exporter, path, names=("input_ids", "attention_mask"), external=False):
    vocab = SHAPES[shape]["vocab_size"]
    inputs = {
        "input_ids": torch.randint(1, vocab, (2, 32)),
        "attention_mask": torch.ones((2, 32), dtype=torch.int64),
        "token_type_ids": torch.zeros((2, 32), dtype=torch.int64),
    }
    args = tuple(inputs[n] for n in names)
    if exporter == "legacy":
        axes = {n: {0: "batch", 1: "seq"} for n in names} | {"logits": {0: "batch"}}
        torch.onnx.export(Wrapped(model, names).eval(), args, path, input_names=list(names), output_names=["logits"],
                          dynamic_axes=axes, opset_version=17, dynamo=False)
    else:
        b, s = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("seq", min=2, max=512)
        torch.onnx.export(Two(model, names).eval(), args, path, input_names=list(names), output_names=["logits"],
                          dynamic_shapes={n: {0: b, 1: s} for n in names}, dynamo=True, opset_version=18,
                          external_data=external)


def thin(path):
    """Takes out the stack traces that the newer exporter writes into nodes, and all its remarks but those on ten nodes."""
    import onnx
    model = onnx.load(path, load_external_data=False)
    for i, node in enumerate(model.graph.node):
        kept = [p for p in node.metadata_props if i < 10 and "stack_trace" not in p.key]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    path.write_bytes(model.SerializeToString())


def case(shape, batch, seq):
    """Ids and mask of a case, from a formula that a test can repeat. The last rows of a batch are padded."""
    vocab = SHAPES[shape]["vocab_size"]
    ids = np.array([[1 + (r * 7919 + c * 104_729 + 13) % (vocab - 1) for c in range(seq)] for r in range(batch)])
    mask = np.ones((batch, seq), dtype=np.int64)
    for row in range(1, batch):
        mask[row, seq - (seq * row) // 4:] = 0
    return np.where(mask == 1, ids, 0).astype(np.int64), mask


def logits(path, shape, token_types=False):
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    out = []
    for batch in (1, 3):
        for seq in LENGTHS:
            ids, mask = case(shape, batch, seq)
            feed = {"input_ids": ids, "attention_mask": mask}
            if token_types:
                feed["token_type_ids"] = np.zeros_like(ids)
            got = session.run(None, feed)[0]
            assert got.shape == (batch, 2) and np.isfinite(got).all()
            out.append({"batch": batch, "seq": seq, "logits": [float(f"{x:.7g}") for x in got.flatten()]})
    return out


def tiny(folder):
    model = build("tiny")
    typed = build("tiny", token_types=True)
    record = {"_comment": "ONNX Runtime logits of the models beside this file; ids and mask come from `case` in "
                          "make_deberta.py. Made by: python make_deberta.py tiny tests/data/onnx",
              "vocab": SHAPES["tiny"]["vocab_size"], "models": {}}
    for name, source, exporter, names in [
        ("legacy.onnx", model, "legacy", ("attention_mask", "input_ids")),
        ("prompt-guard/model.onnx", model, "dynamo", ("input_ids", "attention_mask")),
        ("token_types.onnx", typed, "legacy", ("input_ids", "token_type_ids", "attention_mask")),
    ]:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        export(source, "tiny", exporter, path, names, external=exporter == "dynamo")
        if exporter == "dynamo":
            thin(path)
        record["models"][name] = logits(path, "tiny", source is typed)
    (folder / "logits.json").write_text(json.dumps(record, indent=None, separators=(",", ":")).replace('{"batch"', '\n{"batch"') + "\n")


def full(shape, folder, exporter):
    model = build(shape)
    export(model, shape, exporter, folder / "model.onnx", external=True)
    config(shape).save_pretrained(folder)


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    if sys.argv[1] == "tiny":
        tiny(target)
    else:
        full(sys.argv[1], target, sys.argv[3] if len(sys.argv) > 3 else "dynamo")
