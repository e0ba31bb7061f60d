"""Converted, requantized and synthetic files in llama.cpp: do they load, and are its numbers ours?

    pip install llama-cpp-python numpy
    python tests/data/convert/compare_llama_cpp.py --palisade target/release/palisade [FILE.gguf …]

Makes files of the folders here and of small synthetic shapes with the tool, scores the same ids in llama.cpp (each file in a
process of its own, which llama.cpp may abort) and in Palisade, and prints the mean and largest difference of the next-token
log-probabilities: of llama.cpp from Palisade and, for full-precision files of the folders, of each from Hugging Face. Files that
are named are compared in place of these.

Not for llama.cpp are `maverick` and `guard`: it aborts on llama4 files of fewer than four layers, takes the norm of queries and
keys from the number of experts, and knows no list of rotating layers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SMALL = "--layers 4 --heads 4 --kv-heads 2 --head-dim 64 --ffn 512 --expert-ffn 256 --vocab 2048".split()


def in_llama_cpp(path, ids):
    sys.path.insert(0, str(HERE.parent))
    from compare_llama_cpp import score

    return score(path, ids, list(range(len(ids) - 1))).tolist()


def llama_cpp(path, ids):
    done = subprocess.run([sys.executable, __file__, "--here", str(path)], input=json.dumps(ids), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    return np.array(json.loads(done.stdout)) if done.returncode == 0 else None


def palisade(tool, path, ids):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(" ".join(map(str, ids)))
        file.flush()
        done = subprocess.run([tool, "score", str(path), "--tokens", file.name, "--precision", "fine"], stdout=subprocess.PIPE, text=True, check=True)
    return np.array(json.loads(done.stdout)["next_logprobs"])


def line(name, what, a, b):
    gap = np.abs(a - b)
    print(f"{name:34} {what:28} mean {gap.mean():.6f}  largest {gap.max():.6f}", flush=True)


def compare(tool, name, path, ids, truth=None):
    theirs, ours = llama_cpp(path, ids), palisade(tool, path, ids)
    if theirs is None:
        print(f"{name:34} llama.cpp refuses or aborts", flush=True)
    else:
        line(name, "llama.cpp from Palisade", theirs, ours)
    if truth is not None:
        line(name, "Palisade from Hugging Face", ours, truth)
        if theirs is not None:
            line(name, "llama.cpp from Hugging Face", theirs, truth)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--palisade", default="target/release/palisade")
    a.add_argument("--here", help="score this file with llama.cpp in this process, ids from standard input")
    a.add_argument("files", nargs="*", type=Path)
    o = a.parse_args()
    if o.here:
        return print(json.dumps(in_llama_cpp(o.here, json.load(sys.stdin))))
    tool = o.palisade
    random_ids = [int(i) for i in np.random.default_rng(1).integers(0, 2000, 64)]
    for path in o.files:
        compare(tool, path.name, path, random_ids)
    if o.files:
        return
    with tempfile.TemporaryDirectory() as tmp:
        make = lambda out, *args: subprocess.run([tool, *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) and out
        for name in ("scout", "llama3", "llama3-tied", "maverick", "guard"):
            doc = json.loads((HERE / f"{name}.json").read_text())
            for kind in ("f32", "bf16", "f16", "q8_0", "q4_0"):
                out = f"{tmp}/{name}-{kind}.gguf"
                make(out, "convert", str(HERE / name), out, "--type", kind)
                compare(tool, f"{name} {kind}", out, doc["ids"], np.array(doc["next_logprobs"]) if kind == "f32" else None)
        for shape in ("scout", "maverick", "behemoth-class", "llama-1b", "guard-4"):
            for kind in ("f16", "q8_0", "q4_0", "q4_k", "q2_k", "iq4_xs"):
                for routing in ("uniform", "sticky:0.7") if shape in ("scout", "maverick") else ("uniform",):
                    out = f"{tmp}/{shape}-{kind}-{routing}.gguf"
                    # Codes of 128 experts need a wider stream.
                    wide = ("2048" if shape == "maverick" and routing != "uniform" else "512",)
                    make(out, "synth", "--shape", shape, *SMALL, "--width", *wide, "--type", kind, "--routing", routing, out)
                    compare(tool, f"synth {shape} {kind} {routing}", out, random_ids)


if __name__ == "__main__":
    main()
