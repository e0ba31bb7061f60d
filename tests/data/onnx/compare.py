"""Full-size DeBERTa classifiers in Palisade and in ONNX Runtime, in turns on one machine.

    python make_deberta.py 22m FOLDER/22m-dynamo dynamo       # and so on
    cargo build --release --example onnx_logits
    python compare.py TARGET/release/examples/onnx_logits FOLDER/22m-dynamo … > results.json

For each folder: the largest distance between the logits, the time of a window in either (least and middle of seven, three
rounds in turns; ONNX Runtime with one and with two threads), their ratio, and the highest memory of either process.
Needs numpy and onnxruntime.
"""
import json
import subprocess
import sys
import time
from pathlib import Path

RUNS, ROUNDS = 7, 3
SHAPES = [(1, 64), (1, 512)]
ALL = [(1, 1), (1, 2), (1, 7), (1, 63), (1, 64), (1, 255), (1, 256), (1, 511), (1, 512), (3, 64)]


def runtime(folder, vocab, threads, shapes):
    """In a process of its own, for its memory."""
    import numpy as np
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    started = time.perf_counter()
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    out = {"load_ms": (time.perf_counter() - started) * 1e3, "cases": []}
    for batch, seq in shapes:
        ids = np.array([[1 + (r * 7919 + c * 104_729 + 13) % (vocab - 1) for c in range(seq)] for r in range(batch)])
        mask = np.ones((batch, seq), dtype=np.int64)
        for row in range(1, batch):
            mask[row, seq - (seq * row) // 4:] = 0
        feed = {"input_ids": np.where(mask == 1, ids, 0).astype(np.int64), "attention_mask": mask}
        logits = session.run(None, feed)[0]
        times = []
        for _ in range(RUNS):
            started = time.perf_counter()
            session.run(None, feed)
            times.append((time.perf_counter() - started) * 1e3)
        times.sort()
        out["cases"].append({"batch": batch, "seq": seq, "logits": [float(x) for x in logits.flatten()],
                             "least_ms": times[0], "middle_ms": times[RUNS // 2]})
    status = Path("/proc/self/status").read_text().splitlines()
    out["peak_kib"] = next(int(l.split()[1]) for l in status if l.startswith("VmHWM:"))
    return out


def ask_runtime(folder, vocab, threads, shapes):
    words = [sys.executable, __file__, "--runtime", str(folder), str(vocab), str(threads)]
    return json.loads(subprocess.run(words + [f"{b}x{s}" for b, s in shapes], check=True, capture_output=True).stdout)


def ask_ours(program, folder, vocab, shapes):
    words = [program, str(folder / "model.onnx"), "--vocab", str(vocab), "--plan", "1x512"]
    return json.loads(subprocess.run(words + [f"{b}x{s}" for b, s in shapes], check=True, capture_output=True).stdout)


def compare(program, folder):
    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
    ours, theirs = ask_ours(program, folder, vocab, ALL), ask_runtime(folder, vocab, 1, ALL)
    far = max(abs(a - b) for x, y in zip(ours["cases"], theirs["cases"]) for a, b in zip(x["logits"], y["logits"]))
    out = {"model": folder.name, "largest_difference": float(f"{far:.2e}"),
           "load_ms": {"palisade": round(ours["load_ms"]), "onnxruntime": round(theirs["load_ms"])}, "windows": []}
    rounds = []
    for _ in range(ROUNDS):
        rounds.append((ask_ours(program, folder, vocab, SHAPES), ask_runtime(folder, vocab, 1, SHAPES),
                       ask_runtime(folder, vocab, 2, SHAPES)))
    out["peak_mib"] = {"palisade": rounds[0][0]["memory_kib"]["peak"] // 1024, "onnxruntime": rounds[0][1]["peak_kib"] // 1024}
    for i, (_, seq) in enumerate(SHAPES):
        least = [[who["cases"][i]["least_ms"] for who in r] for r in rounds]
        one, two = [r[0] / r[1] for r in least], [r[0] / r[2] for r in least]
        out["windows"].append({
            "tokens": seq, "palisade_ms": round(min(r[0] for r in least), 1),
            "onnxruntime_1_thread_ms": round(min(r[1] for r in least), 1),
            "onnxruntime_2_threads_ms": round(min(r[2] for r in least), 1),
            "ratio_1_thread": [round(min(one), 2), round(max(one), 2)],
            "ratio_to_2_threads": [round(min(two), 2), round(max(two), 2)]})
    return out


if __name__ == "__main__":
    if sys.argv[1] == "--runtime":
        shapes = [tuple(map(int, w.split("x"))) for w in sys.argv[5:]]
        print(json.dumps(runtime(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), shapes)))
    else:
        print(json.dumps([compare(sys.argv[1], Path(f)) for f in sys.argv[2:]], indent=1))
