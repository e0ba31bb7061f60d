"""Writes guards/classifier from a checkpoint: the graph with 8-bit weights, thresholds, hashes."""

import argparse
import hashlib
import shutil

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

import data
from calibrate import Calibration
from model import pad
from train import WORK, encode, load
from windows import SENTENCE, SENTENCE_ENDS, STRIDE, WINDOW

OUT = data.ROOT / "classifier"
# Matrices with fewer values stay in single precision.
SMALL = 1 << 14


def to_graph(model, rows, path):
    ids, mask = pad(rows)
    torch.onnx.export(
        model, (ids, mask), path, input_names=["input_ids", "attention_mask"], output_names=["logits"],
        opset_version=17, dynamo=False,
        dynamic_axes={"input_ids": {0: "batch", 1: "seq"}, "attention_mask": {0: "batch", 1: "seq"}, "logits": {0: "batch"}},
    )


def rounded(values, axis):
    """Whole numbers from -127 to 127 and the step of each slice that `axis` runs along."""
    step = np.maximum(np.abs(values).max(axis=axis, keepdims=True), 1e-8) / 127
    return np.clip(np.rint(values / step), -127, 127).astype(np.int8), step.astype(np.float32)


def quantize(path):
    """Puts 8-bit weights in the place of matrices: `Cast` and `Mul` bring them back when the graph is loaded, rows of the
    table when they are looked up."""
    graph = (model := onnx.load(path)).graph
    readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    keep, added, front = [], [], []
    for tensor in graph.initializer:
        values, users = numpy_helper.to_array(tensor), readers.get(tensor.name, [])
        kinds = {n.op_type for n in users}
        if values.dtype != np.float32 or values.ndim != 2 or values.size < SMALL or len(kinds) != 1:
            keep.append(tensor)
            continue
        name = tensor.name
        if kinds == {"Gather"}:
            whole, step = rounded(values, 1)
            for user in users:
                user.input[0] = f"{name}_8"
                out = user.output[0]
                user.output[0] = f"{out}_8"
                tail = [
                    helper.make_node("Cast", [f"{out}_8"], [f"{out}_f"], to=TensorProto.FLOAT),
                    helper.make_node("Gather", [f"{name}_step", user.input[1]], [f"{out}_step"], axis=0),
                    helper.make_node("Mul", [f"{out}_f", f"{out}_step"], [out]),
                ]
                front.append((user, tail))
        elif kinds == {"MatMul"}:
            whole, step = rounded(values, 0)
            nodes = [
                helper.make_node("Cast", [f"{name}_8"], [f"{name}_f"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{name}_f", f"{name}_step"], [name]),
            ]
            front.append((None, nodes))
        else:
            raise SystemExit(f"{name} is read by {kinds}")
        added += [numpy_helper.from_array(whole, f"{name}_8"), numpy_helper.from_array(step, f"{name}_step")]
    nodes = [n for user, tail in front if user is None for n in tail]
    after = {user.output[0]: tail for user, tail in front if user is not None}
    for node in graph.node:
        nodes.append(node)
        nodes += after.get(node.output[0], []) if node.output else []
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(keep + added)
    for node in graph.node:
        node.doc_string = ""
    onnx.checker.check_model(model)
    onnx.save(model, path)


def compare(model, rows, path):
    """How far the 8-bit graph's highest logits lie from the trained model's, in the mean and at most."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    gaps = []
    for i in range(0, len(rows), 20):
        ids, mask = pad(rows[i : i + 20])
        got = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        with torch.no_grad():
            gaps.append(np.abs(got.max(1) - model(ids, mask).numpy().max(1)))
    gaps = np.concatenate(gaps)
    print(f"8-bit logits differ by {gaps.mean():.3f} in the mean, {gaps.max():.3f} at most")
    if gaps.mean() > 0.1:
        raise SystemExit("the exported graph differs from the trained model")


def write_config(thresholds, shifts):
    def digest(name):
        return hashlib.sha256((OUT / name).read_bytes()).hexdigest()

    labels = ", ".join(f'"{x}"' for x in data.LABELS)
    lines = [
        "# The shipped guard classifier: what the graph expects and where its thresholds lie.",
        'version = "1"',
        f"labels = [{labels}]",
        f"max_tokens = {WINDOW}",
        f"stride = {STRIDE}",
        "sentence_ends = [" + ", ".join(f'"{x}"' for x in SENTENCE_ENDS) + "]",
        f"several_shift = {shifts[0]:.2f}",
        f"sentence_tokens = {SENTENCE}",
        f"sentence_shift = {shifts[1]:.2f}",
        'input_names = ["input_ids", "attention_mask"]',
        'output_name = "logits"',
        "pad_id = 0",
        f'model_sha256 = "{digest("model.onnx")}"',
        f'tokenizer_sha256 = "{digest("tokenizer.json")}"',
        "",
        "[side_tokens]",
        'input = "[INPUT]"',
        'output = "[OUTPUT]"',
        "",
        "# A label fires when sigmoid(logit) is at or above its threshold; see MODEL_CARD.md for how they were chosen.",
        "# A text of several windows has as many chances to be flagged: its logits are lowered by `several_shift` before, those of",
        "# each of its sentences, read by itself, by `sentence_shift`.",
        "[thresholds]",
        *[f"{x} = {t:.3f}" for x, t in zip(data.LABELS, thresholds["input"])],
        "",
        "[output_thresholds]",
        *[f"{x} = {t:.3f}" for x, t in zip(data.LABELS, thresholds["output"])],
    ]
    (OUT / "classifier.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("checkpoint")
    ap.add_argument("--target-fpr", type=float, default=0.01, help="of dev")
    ap.add_argument("--several-shift", type=float, default=0.8, help="what logits of texts of several windows are lowered by")
    ap.add_argument("--sentence-shift", type=float, default=0.4, help="and those of sentences read by themselves, no more than that")
    args = ap.parse_args()
    if args.sentence_shift > args.several_shift:
        raise SystemExit("a sentence among several windows counts as a sentence: its shift may not be the greater one")
    torch.set_num_threads(1)
    shutil.copyfile(WORK / "tokenizer.json", OUT / "tokenizer.json")
    tok = Tokenizer.from_file(str(OUT / "tokenizer.json"))
    model, _ = load(args.checkpoint, tok)
    model = model.merge().eval()
    calibration = Calibration(tok)
    path, rows = str(OUT / "model.onnx"), encode(tok, calibration.items[:400])
    to_graph(model, rows[:4], path)
    quantize(path)
    logits = calibration.logits(path)
    temperature = calibration.temperature(logits)
    model.cool(temperature)
    to_graph(model, rows[:4], path)
    quantize(path)
    compare(model, rows, path)
    shifts = (args.several_shift, args.sentence_shift)
    write_config(calibration.thresholds(logits / temperature, args.target_fpr, shifts), shifts)


if __name__ == "__main__":
    main()
