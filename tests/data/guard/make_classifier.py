"""Writes the tiny classifier of the guard's tests: one logit table, the maximum over the tokens of a window.

    python tests/data/guard/make_classifier.py

It is a real ONNX graph with the inputs and outputs of the shipped one, small enough to be read: a word of WORDS raises the
logit of its label, every other word is harmless. `broken` raises it to infinity. external.onnx is the same graph with its
table in another file, which the loader must refuse. Needs the Python packages onnx and numpy.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
LABELS = [f"S{i}" for i in range(1, 15)] + ["prompt_injection", "jailbreak"]
WORDS = {"zarquon": "S1", "vogonite": "S9", "frobnicate": "prompt_injection", "grunthos": "S6"}
HARMLESS = ["the", "museum", "opens", "at", "nine", "and", "closes", "five", "word"]
SPECIAL = ["[PAD]", "[UNK]", "[INPUT]", "[OUTPUT]"]


def graph(table):
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0),
        helper.make_node("Cast", ["attention_mask"], ["mask_f"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask_f", "last"], ["mask3"]),
        helper.make_node("Sub", ["one", "mask3"], ["absent"]),
        helper.make_node("Mul", ["absent", "low"], ["penalty"]),
        helper.make_node("Add", ["rows", "penalty"], ["seen"]),
        helper.make_node("ReduceMax", ["seen"], ["logits"], axes=[1], keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.array(1.0, np.float32), "one"),
        numpy_helper.from_array(np.array(-50.0, np.float32), "low"),
    ]
    shape = ["batch", "seq"]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in ("input_ids", "attention_mask")],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
            [table, *constants],
        ),
        opset_imports=[helper.make_opsetid("", 14)],
        producer_name="",
    )
    model.ir_version = 8
    return model.SerializeToString()


def main():
    vocab = SPECIAL + HARMLESS + list(WORDS) + ["broken"]
    table = np.full((len(vocab), len(LABELS)), -6.0, np.float32)
    for word, label in WORDS.items():
        table[vocab.index(word), LABELS.index(label)] = 6.0
    table[vocab.index("grunthos"), LABELS.index("S6")] = 0.2
    table[vocab.index("broken"), 0] = np.inf
    model = graph(numpy_helper.from_array(table, "table"))
    tokenizer = json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(vocab)}, "unk_token": "[UNK]"},
        },
        indent=1,
    ).encode()
    outside = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=table.shape)
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="classifier.toml")
    (HERE / "model.onnx").write_bytes(model)
    (HERE / "tokenizer.json").write_bytes(tokenizer)
    (HERE / "external.onnx").write_bytes(graph(outside))
    lines = [
        "# Written by make_classifier.py.",
        'version = "1"',
        f"labels = {json.dumps(LABELS)}",
        "max_tokens = 32",
        "stride = 20",
        'input_names = ["input_ids", "attention_mask"]',
        'output_name = "logits"',
        "pad_id = 0",
        f'model_sha256 = "{hashlib.sha256(model).hexdigest()}"',
        f'tokenizer_sha256 = "{hashlib.sha256(tokenizer).hexdigest()}"',
        "",
        "[side_tokens]",
        'input = "[INPUT]"',
        'output = "[OUTPUT]"',
        "",
        "[thresholds]",
        *[f"{label} = 0.5" for label in LABELS],
        "",
        "[output_thresholds]",
        "S6 = 0.6",
        "",
    ]
    (HERE / "classifier.toml").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
