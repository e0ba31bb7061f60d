"""What llama.cpp says about the files of tests/data/logits/, beside Hugging Face: a third opinion, and the bar to stay under.

    pip install llama-cpp-python numpy
    python tests/data/compare_llama_cpp.py [--palisade target/release/palisade] [--out benches/results/scores.json] [NAME …]

Prints for each file the mean and largest difference of the next-token log-probabilities, for llama.cpp and, where its tool is
given, for Palisade: as `palisade score` computes them, and with the arithmetic that generation uses (`--precision fast`, keys and
values in single precision as llama.cpp has them here). llama.cpp reads none of the keys of scout-chunk16 and behemoth-* (chunk,
temperature, listed layers), so it computes another model there. It aborts on scout-kmix and two-experts (a `llama4` file of less
than four layers has none without RoPE, and the temperatures are then set on a tensor that nothing reads) and on dense `llama4`
files of this build's shapes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_cpp as lc
import numpy as np

HERE = Path(__file__).parent / "logits"
quiet = lc.llama_log_callback(lambda level, text, user: sys.stderr.write(text.decode()) if level == 4 else None)
lc.llama_log_set(quiet, None)
lc.llama_backend_init()


def score(path, ids, positions):
    mp = lc.llama_model_default_params()
    mp.n_gpu_layers = 0
    model = lc.llama_model_load_from_file(str(path).encode(), mp)
    assert model, f"llama.cpp refuses {path}"
    cp = lc.llama_context_default_params()
    cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_threads, cp.n_threads_batch = len(ids) + 8, 512, 512, 2, 2
    cp.type_k = cp.type_v = 0  # f32 cache
    cp.flash_attn_type = 0
    cp.swa_full = True
    ctx = lc.llama_init_from_model(model, cp)
    vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    batch, got, wanted = lc.llama_batch_init(512, 0, 1), {}, set(positions)
    for start in range(0, len(ids), 512):
        part = ids[start : start + 512]
        batch.n_tokens = len(part)
        for i, token in enumerate(part):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, start + i, 1, 0
            batch.logits[i] = start + i in wanted
        assert lc.llama_decode(ctx, batch) == 0
        for i in range(len(part)):
            if start + i in wanted:
                row = np.ctypeslib.as_array(lc.llama_get_logits_ith(ctx, i), (vocab,)).astype(np.float64)
                row -= row.max()
                got[start + i] = row[ids[start + i + 1]] - np.log(np.exp(row).sum())
    lc.llama_free(ctx)
    lc.llama_model_free(model)
    return np.array([got[p] for p in positions])


def palisade(tool, path, ids, positions, *flags):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(" ".join(map(str, ids)))
        file.flush()
        done = subprocess.run([tool, "score", str(path), "--tokens", file.name, *flags], stdout=subprocess.PIPE, text=True, check=True)
    got = json.loads(done.stdout)["next_logprobs"]
    return np.array([got[p] for p in positions])


def line(who, name, doc, got):
    gap = np.abs(got - np.array(doc["next_logprobs"]))
    at = doc["positions"][int(gap.argmax())]
    print(f"{name:20} {who:13} mean {gap.mean():.6f}  largest {gap.max():.6f} at position {at}", flush=True)
    return {"mean": round(float(gap.mean()), 7), "largest": round(float(gap.max()), 7)}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--palisade")
    a.add_argument("--out", help="write the figures as JSON")
    a.add_argument("--here", action="store_true", help="llama.cpp in this process, which it may abort")
    a.add_argument("names", nargs="*")
    o = a.parse_args()
    figures = {}
    for path in sorted(HERE.glob("*.json")):
        if o.names and path.stem not in o.names:
            continue
        doc = json.loads(path.read_text())
        task = HERE / doc["file"], doc["ids"], doc["positions"]
        if o.here:
            line("llama.cpp", path.stem, doc, score(*task))
            continue
        done = subprocess.run([sys.executable, __file__, "--here", path.stem], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        sys.stdout.write(done.stdout if done.returncode == 0 else f"{path.stem:20} llama.cpp     aborts\n")
        sys.stdout.flush()
        words = done.stdout.split()
        row = {"llama.cpp": {"mean": float(words[3]), "largest": float(words[5])} if done.returncode == 0 else "aborts"}
        if o.palisade:
            row["palisade score"] = line("palisade", path.stem, doc, palisade(o.palisade, *task))
            row["palisade fast"] = line("palisade fast", path.stem, doc, palisade(o.palisade, *task, "--precision", "fast", "--kv", "f32"))
        figures[path.stem] = row
    if o.out:
        doc = {"command": "python tests/data/compare_llama_cpp.py --palisade target/release/palisade", "llama_cpp_python": lc.__version__,
               "unit": "difference of next-token log-probabilities from Hugging Face on the file's dequantized weights", "files": figures}
        Path(o.out).write_text(json.dumps(doc, indent=1) + "\n")


if __name__ == "__main__":
    main()
