"""Speed beside the peers at Scout's shapes: the same file, machine and run, A B A B.

    pip install llama-cpp-python
    cargo build --release
    python benches/compare.py FOLDER [--ik LLAMA_BENCH] [--rows mini-q4_0,llama1b-q4_0] [--threads 1,2] [--rounds 3]

Synthetic files are made from a seed in FOLDER (`palisade synth`) and kept there. Every round starts a fresh process of each
engine in turn: `palisade bench`, llama.cpp (llama-cpp-python with its defaults, which repack in memory) and, where its
`llama-bench` is given, ik_llama.cpp (repacked, `-rtr 1`). The limits of the machine are measured before and after by
`cargo bench --bench limits`. Writes benches/RESULTS.md and benches/results/compare.json: medians, spreads, ratios, bytes touched
by a token and what share of the read bandwidth they make.
"""

import argparse
import datetime
import importlib.metadata
import json
import statistics
import subprocess
import sys
from pathlib import Path

from peers import child, processor

HERE = Path(__file__).parent
MINI = "--shape scout --layers 16 --width 1024 --heads 16 --kv-heads 4 --head-dim 64 --expert-ffn 2048 --vocab 32000"
FILES = {
    "mini-q4_0": f"{MINI} --type q4_0", "mini-q8_0": f"{MINI} --type q8_0", "mini-f16": f"{MINI} --type f16", "mini-q4_k": f"{MINI} --type q4_k",
    "llama1b-q4_0": "--shape llama-1b --type q4_0",
    "slice-q4_0": "--shape scout --layers 4 --type q4_0", "slice-q4_k": "--shape scout --layers 4 --type q4_k",
}
# (file, prompt, decoded, depth)
ROWS = [(f, p, n, 0) for f in FILES for p, n in ((512, 64), (128, 64))] + [("mini-q4_0", 1, 32, d) for d in (4096, 8192, 16384)]


def wanted(row, o):
    file, p, _, d = row
    return file in o.rows.split(",") and str(d) in o.depths.split(",") and (d or str(p) in o.prompts.split(","))


def touched(tool, path):
    """Bytes of weights that a decoded token reads: all but the embedding, and one expert a layer with experts."""
    seen = json.loads(subprocess.run([tool, "inspect", str(path), "--json"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    h, b = seen["hyperparameters"], seen["bytes"]
    used = b["routed"] / max(h["experts"], 1) * h["experts_used"]
    return b["always_touched"] - b["rows_looked_up"] + used


def engines(o, path, p, n, d, threads):
    sizes = ["-p", str(p), "-n", str(n), "-t", str(threads), "-d", str(d), "-r", str(o.repeat)]
    found = {
        "palisade": [o.palisade, "bench", str(path), *sizes, "--json"],
        "llama.cpp": [sys.executable, str(HERE / "peers.py"), str(path), *sizes, "--only-llama-cpp"],
    }
    if o.ik:
        found["ik_llama.cpp"] = [o.ik, "-m", str(path), "-t", str(threads), "-r", str(o.repeat), "-rtr", "1", "-mmp", "0", "-o", "json"]
        found["ik_llama.cpp"] += ["-p", str(p), "-n", str(n)] if d == 0 else ["-p", "0", "-n", "0", "-gp", f"{d},{n}"]
    return found


def measure(who, command):
    if who != "ik_llama.cpp":
        return child(command)
    tests = json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout)
    speed = {("decode_tps" if t["n_gen"] else "prefill_tps"): t["avg_ts"] for t in tests}
    return {"prefill_tps": speed.get("prefill_tps"), "decode_tps": speed.get("decode_tps"), "peak_rss_bytes": None, "load_ms": None}


def limits():
    done = subprocess.run(["cargo", "bench", "--quiet", "--bench", "limits"], cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("folder", type=Path)
    a.add_argument("--ik")
    a.add_argument("--rows", default=",".join(FILES))
    a.add_argument("--prompts", default="512,128")
    a.add_argument("--depths", default="0,4096,8192,16384")
    a.add_argument("--threads", default="2")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("-r", "--repeat", type=int, default=2, help="measurements in one process")
    a.add_argument("--palisade", default=str(HERE.parent / "target/release/palisade"))
    o = a.parse_args()
    results, before = [], limits()
    for file, p, n, d in (row for row in ROWS if wanted(row, o)):
        path = o.folder / f"{file}.gguf"
        if not path.exists():
            subprocess.run([o.palisade, "synth", *FILES[file].split(), "--seed", "1", str(path)], check=True)
        for threads in map(int, o.threads.split(",")):
            commands = engines(o, path, p, n, d, threads)
            runs = {who: [] for who in commands}
            for r in range(o.rounds):
                for who in sorted(commands, reverse=r % 2 == 1):
                    runs[who].append(measure(who, commands[who]))
            row = {"file": file, "prompt": p, "decoded": n, "depth": d, "threads": threads, "touched": touched(o.palisade, path), "runs": runs}
            results.append(row)
            print(line(row, before, "prefill_tps"), line(row, before, "decode_tps"), sep="\n", flush=True)
    doc = {"date": datetime.date.today().isoformat(), "processor": processor(), "llama_cpp_python": importlib.metadata.version("llama-cpp-python"),
           "limits": {"before": before, "after": limits()}, "rows": results}
    (HERE / "results" / "compare.json").write_text(json.dumps(doc, indent=1) + "\n")
    (HERE / "RESULTS.md").write_text(report(doc))
    print(f"written to {HERE / 'RESULTS.md'}")


def spread(values):
    values = [v for v in values if v]
    return (statistics.median(values), min(values), max(values)) if values else None


def line(row, limit, what):
    speed = {who: spread([r[what] for r in runs]) for who, runs in row["runs"].items()}
    if not speed["palisade"] or (what == "prefill_tps" and row["depth"]):
        return ""
    mine = speed.pop("palisade")
    cells = [f"{mine[0]:.1f} ({mine[1]:.1f}–{mine[2]:.1f})"]
    for who in ("llama.cpp", "ik_llama.cpp"):
        theirs = speed.get(who)
        cells.append(f"{theirs[0]:.1f} ({theirs[1]:.1f}–{theirs[2]:.1f})" if theirs else "–")
        cells.append(f"{mine[0] / theirs[0]:.2f} ×" if theirs else "–")
    test = f"prefill {row['prompt']}" if what == "prefill_tps" else "decode" + (f" at {row['depth']}" if row["depth"] else "")
    share = ""
    if what == "decode_tps" and row["depth"] == 0:
        rate = row["touched"] * mine[0] / 1e9
        share = f"{rate:.1f} GB/s, {100 * rate / limit['read_gb_s'][str(min(row['threads'], 2))]:.0f} %"
    return f"| {row['file']} | {test} | {row['threads']} | " + " | ".join(cells) + f" | {share} |"


def report(doc):
    both = list(doc["limits"].values())
    limit = {"read_gb_s": {t: max(x["read_gb_s"][t] for x in both) for t in ("1", "2")}}
    lines = [
        "# Speed beside the peers", "",
        "Written by `python benches/compare.py`. Tokens per second, median of the rounds (least–most); every round ran each engine in a",
        "process of its own, in turn. llama.cpp with its defaults (repacked in memory), ik_llama.cpp repacked. Ratios are Palisade over the",
        "peer. The last column is what a decoded token's weights make of the read bandwidth measured on the spot (the better of two).", "",
        f"{doc['date']}, {doc['processor']}, llama-cpp-python {doc['llama_cpp_python']}. Limits before and after: reading "
        + ", ".join(f"{doc['limits'][w]['read_gb_s']['1']:.1f} / {doc['limits'][w]['read_gb_s']['2']:.1f} GB/s" for w in ("before", "after"))
        + " on one / two threads; integer dot products "
        + ", ".join(f"{doc['limits'][w]['dot_gmac_s']:.0f} GMAC/s" for w in ("before", "after")) + " on one.", "",
        "| file | test | threads | Palisade | llama.cpp | ratio | ik_llama.cpp | ratio | bandwidth |", "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in doc["rows"]:
        lines += [text for what in ("prefill_tps", "decode_tps") if (text := line(row, limit, what))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
