"""Full-size DeBERTa classifiers in Palisade and in ONNX Runtime, in turns on one machine.

    python make_deberta.py 22m FOLDER/22m-dynamo dynamo       # and so on
    cargo build --release --example onnx_logits
    python compare.py TARGET/release/examples/onnx_logits FOLDER/22m-dynamo … > results.json

For each folder: the largest distance between the logits; for a window of 64 and of 512 tokens, with one thread and with two,
the least wall time of seven runs and the mean processor time, in three rounds in turns, and the ratios of ours to ONNX
Runtime's (lowest and highest of the rounds; processor times hold on a busy machine better than wall times, but ONNX Runtime's
threads spin while they wait, which counts); the highest memory of either process. Needs numpy and onnxruntime.
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
        times, cpu = [], time.process_time()
        for _ in range(RUNS):
            started = time.perf_counter()
            session.run(None, feed)
            times.append((time.perf_counter() - started) * 1e3)
        cpu = (time.process_time() - cpu) * 1e3 / RUNS
        times.sort()
        out["cases"].append({"batch": batch, "seq": seq, "logits": [float(x) for x in logits.flatten()],
                             "least_ms": times[0], "middle_ms": times[RUNS // 2], "cpu_ms": cpu})
    status = Path("/proc/self/status").read_text().splitlines()
    out["peak_kib"] = next(int(l.split()[1]) for l in status if l.startswith("VmHWM:"))
    return out


def ask_runtime(folder, vocab, threads, shapes):
    words = [sys.executable, __file__, "--runtime", str(folder), str(vocab), str(threads)]
    return json.loads(subprocess.run(words + [f"{b}x{s}" for b, s in shapes], check=True, capture_output=True).stdout)


def ask_ours(program, folder, vocab, shapes, named, threads=1):
    """With `named` as the guard runs it, else with one plan for any shape."""
    # A plan for one token alone cannot be had.
    shapes = [f"{b}x{s}" for b, s in shapes if s > 1 or not named]
    plans = [word for shape in shapes for word in ("--plan", shape)] if named else []
    words = [program, str(folder / "model.onnx"), "--vocab", str(vocab), "--threads", str(threads), *plans, *shapes]
    return json.loads(subprocess.run(words, check=True, capture_output=True).stdout)


def compare(program, folder):
    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
    theirs = ask_runtime(folder, vocab, 1, ALL)
    expected = {(c["batch"], c["seq"]): c["logits"] for c in theirs["cases"]}
    both = [ask_ours(program, folder, vocab, ALL, named) for named in (False, True)]
    far = max(abs(a - b) for ours in both for c in ours["cases"]
              for a, b in zip(c["logits"], expected[c["batch"], c["seq"]], strict=True))
    ours = both[1]
    out = {"model": folder.name, "largest_difference": float(f"{far:.2e}"),
           "load_ms": {"palisade": round(ours["load_ms"]), "onnxruntime": round(theirs["load_ms"])}, "windows": []}
    rounds = []
    for _ in range(ROUNDS):
        rounds.append([(ask_ours(program, folder, vocab, SHAPES, True, n), ask_runtime(folder, vocab, n, SHAPES))
                       for n in (1, 2)])
    ours, theirs = rounds[0][0]
    out["peak_mib"] = {"palisade": ours["memory_kib"]["peak"] // 1024, "onnxruntime": theirs["peak_kib"] // 1024}
    for i, (_, seq) in enumerate(SHAPES):
        for n in (1, 2):
            window = {"tokens": seq, "threads": n}
            for what, key in (("wall", "least_ms"), ("cpu", "cpu_ms")):
                pairs = [[who["cases"][i][key] for who in r[n - 1]] for r in rounds]
                ratios = [a / b for a, b in pairs]
                window[f"{what}_ms"] = {"palisade": round(min(p[0] for p in pairs), 1),
                                        "onnxruntime": round(min(p[1] for p in pairs), 1)}
                window[f"ratio_{what}"] = [round(min(ratios), 2), round(max(ratios), 2)]
            out["windows"].append(window)
    return out


if __name__ == "__main__":
    if sys.argv[1] == "--runtime":
        shapes = [tuple(map(int, w.split("x"))) for w in sys.argv[5:]]
        print(json.dumps(runtime(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), shapes)))
    else:
        print(json.dumps([compare(sys.argv[1], Path(f)) for f in sys.argv[2:]], indent=1))
