"""Speed beside the peers at Scout's shapes: the same file, machine and run, A B A B.

    pip install llama-cpp-python
    cargo build --release
    python benches/compare.py FOLDER [--ik LLAMA_BENCH] [--rows 'mini-q4_0,*:batched*'] [--keep] [--quick] [--list] [--rounds 3]
    python benches/compare.py FOLDER --kernels avx2 --ik LLAMA_BENCH_WITHOUT_AVX512 --out benches/results/avx2

Synthetic files are made from a seed in FOLDER (`palisade synth`) and kept there. Every round starts a fresh process of each
engine in turn: `palisade bench`, llama.cpp (llama-cpp-python with its defaults, which repack in memory) and, where its
`llama-bench` is given, ik_llama.cpp (repacked, `-rtr 1`). The limits of the machine are measured before and after by
`cargo bench --bench limits`. Writes benches/RESULTS.md and benches/results/compare.json: medians, spreads, ratios, bytes touched
by a token, and what share of the read bandwidth and of the peak of integer dot products each row makes. With `--kernels`, Palisade
runs with that set of those that the processor has, beside an ik_llama.cpp that was built for no more (cmake -DGGML_NATIVE=OFF
-DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON); llama-cpp-python is as it was built, and is left out.
"""

import argparse
import datetime
import fnmatch
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from peers import child, processor

HERE = Path(__file__).parent
MINI = "--shape scout --layers 16 --width 1024 --heads 16 --kv-heads 4 --head-dim 64 --expert-ffn 2048 --vocab 32000"
FILES = {
    "mini-q4_0": f"{MINI} --type q4_0", "mini-q8_0": f"{MINI} --type q8_0", "mini-f16": f"{MINI} --type f16", "mini-q4_k": f"{MINI} --type q4_k",
    "llama1b-q4_0": "--shape llama-1b --type q4_0",
    "slice-q4_0": "--shape scout --layers 4 --type q4_0", "slice-q4_k": "--shape scout --layers 4 --type q4_k",
    "slice-q8_0": "--shape scout --layers 4 --type q8_0", "slice-f16": "--shape scout --layers 4 --type f16",
}


class Row(NamedTuple):
    """One test: prefill and decode by themselves, decode at a depth, several sequences at once, or the time to the first token."""

    file: str
    kind: str = "plain"
    prompt: int = 512
    decoded: int = 64
    depth: int = 0
    kv: str = "f16"
    sequences: str = ""
    threads: int = 2

    @property
    def name(self):
        what = {"depth": f"depth{self.depth}-{self.kv}", "batched": "batched", "ttft": "ttft"}.get(self.kind, f"p{self.prompt}")
        return f"{self.file}:{what}:t{self.threads}"


ROWS = [Row(f, prompt=p) for f in FILES for p in (512, 128)]
ROWS += [Row(f, prompt=128, decoded=32, threads=1) for f in ("mini-q4_0", "llama1b-q4_0", "slice-q4_0")]
ROWS += [Row(f, "batched", 64, 16, sequences="4,16") for f in ("slice-q4_0", "mini-q4_0", "llama1b-q4_0")]
ROWS += [Row(f, "ttft", 512, 1) for f in ("slice-q4_0", "llama1b-q4_0", "mini-q4_0")]
ROWS += [Row("mini-q4_0", "depth", 1, 32, d, kv) for d in (4096, 16384) for kv in ("f16", "q8_0")]
QUICK = ("mini-q4_0:p512:t2", "mini-q4_0:depth4096-*", "mini-q4_0:batched:t2", "mini-q4_0:ttft:t2", "llama1b-q4_0:p128:t1")


def wanted(row, o):
    patterns = QUICK if o.quick else o.rows.split(",")
    return any(row.file == p or fnmatch.fnmatch(row.name, p) for p in patterns)


def fits(tool, file, path):
    """Whether the file leaves a tenth of the machine's memory free; one that does not is not made."""
    plan = subprocess.run([tool, "synth", *FILES[file].split(), "--dry-run", str(path)], capture_output=True, text=True, check=True)
    size = int(plan.stdout.split(", ")[-1].split()[0])
    return size * 1.1 < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 0.9


def touched(tool, path):
    """Bytes of weights that a decoded token reads: all but the embedding, and one expert a layer with experts."""
    seen = json.loads(subprocess.run([tool, "inspect", str(path), "--json"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    h, b = seen["hyperparameters"], seen["bytes"]
    used = b["routed"] / max(h["experts"], 1) * h["experts_used"]
    return b["always_touched"] - b["rows_looked_up"] + used


def engines(o, path, row):
    repeat = 1 if row.kind == "ttft" else o.repeat
    sizes = ["-p", str(row.prompt), "-n", str(row.decoded), "-t", str(row.threads), "-d", str(row.depth), "-r", str(repeat)]
    sizes += ["--kv", row.kv] + (["--sequences", row.sequences] if row.sequences else [])
    found = {"palisade": [o.palisade, "bench", str(path), *sizes, "--json"]}
    if o.kernels:
        found["palisade"] += ["--kernels", o.kernels]
    else:
        found["llama.cpp"] = [sys.executable, str(HERE / "peers.py"), str(path), *sizes, "--only-llama-cpp"]
    # llama-bench has neither several sequences nor the time to load.
    if o.ik and row.kind in ("plain", "depth"):
        found["ik_llama.cpp"] = [o.ik, "-m", str(path), "-t", str(row.threads), "-r", str(repeat), "-rtr", "1", "-mmp", "0", "-o", "json"]
        if row.kind == "plain":
            found["ik_llama.cpp"] += ["-p", str(row.prompt), "-n", str(row.decoded)]
        else:
            found["ik_llama.cpp"] += ["-p", "0", "-n", "0", "-gp", f"{row.depth},{row.decoded}", "-fa", "1", "-ctk", row.kv, "-ctv", row.kv]
    return found


def measure(who, command):
    if who != "ik_llama.cpp":
        return child(command)
    tests = json.loads(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout)
    speed = {("decode_tps" if t["n_gen"] else "prefill_tps"): t["avg_ts"] for t in tests}
    return {"prefill_tps": speed.get("prefill_tps"), "decode_tps": speed.get("decode_tps"), "peak_rss_bytes": None, "load_ms": None}


def limits(kernels):
    """What the machine reads and multiplies at this moment: a virtual one may move within the hour."""
    done = subprocess.run(["cargo", "bench", "--quiet", "--bench", "limits", "--", *([kernels] if kernels else [])], cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("folder", type=Path)
    a.add_argument("--ik")
    a.add_argument("--rows", default=",".join(FILES), help="files, or patterns of the names that --list gives")
    a.add_argument("--kernels", help="the kernel set that Palisade runs with, for example avx2")
    a.add_argument("--quick", action="store_true", help="one round of a few rows on the small files")
    a.add_argument("--list", action="store_true", help="only names the rows")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--keep", action="store_true", help="keep the other rows of the results that are there, with their dates")
    a.add_argument("--out", type=Path, help="write FILE.json and FILE.md in the place of the results in this folder")
    a.add_argument("-r", "--repeat", type=int, default=2, help="measurements in one process")
    a.add_argument("--palisade", default=str(HERE.parent / "target/release/palisade"))
    o = a.parse_args()
    rows = [row for row in ROWS if wanted(row, o)]
    if o.list:
        print("\n".join(row.name for row in rows))
        return
    if o.kernels and not (o.out or o.quick):
        sys.exit("--kernels wants --out: rows of one set cannot stand beside those of the best")
    rounds = 1 if o.quick else o.rounds
    data, table = (o.out.with_suffix(".json"), o.out.with_suffix(".md")) if o.out else (HERE / "results" / "compare.json", HERE / "RESULTS.md")
    before, today = limits(o.kernels), datetime.date.today().isoformat()
    doc = {"processor": processor(), "llama_cpp_python": importlib.metadata.version("llama-cpp-python"),
           "kernels": o.kernels, "limits": {"before": before, "after": before}, "rows": []}
    if o.keep:
        if not data.exists():
            sys.exit(f"{data} is not there: nothing to keep")
        old = json.loads(data.read_text())
        if any(old.get(key) != doc[key] for key in ("processor", "llama_cpp_python", "kernels")):
            sys.exit(f"{data}: rows of another processor, llama.cpp or kernel set cannot stand beside new ones")
        doc["rows"] = old["rows"]
    for row in rows:
        path = o.folder / f"{row.file}.gguf"
        if not fits(o.palisade, row.file, path):
            print(f"{row.name}: left out, the file does not fit this machine's memory", flush=True)
            continue
        if not path.exists():
            subprocess.run([o.palisade, "synth", *FILES[row.file].split(), "--seed", "1", str(path)], check=True)
        commands = engines(o, path, row)
        runs, near = {who: [] for who in commands}, {who: [] for who in commands}
        for r in range(rounds):
            for who in sorted(commands, reverse=r % 2 == 1):
                runs[who].append(measure(who, commands[who]))
                if row.kind == "plain":
                    near[who].append(limits(o.kernels))
        found = row._asdict() | {"name": row.name, "date": today, "touched": touched(o.palisade, path), "runs": runs, "limits": near}
        others = {other["name"]: other for other in doc["rows"]} | {row.name: found}
        doc["rows"] = [others[r.name] for r in ROWS if r.name in others]
        print("\n".join(lines_of(found)), flush=True)
        doc["limits"]["after"] = limits(o.kernels)
        # After every row: a run that is cut off leaves what it has.
        if not o.quick:
            put(data, json.dumps(doc, indent=1) + "\n")
            put(table, report(doc))
    print(report(doc) if o.quick else f"written to {table}")


def put(path, text):
    """Writes the whole file or none of it."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


def spread(values):
    values = [v for v in values if v]
    return (statistics.median(values), min(values), max(values)) if values else None


def lines_of(row):
    """The table's lines of one row: what is compared, how to find it in a run, whether more is better."""
    plain = [(f"prefill {row['prompt']}", lambda run: run["prefill_tps"], True), ("decode", lambda run: run["decode_tps"], True)]
    tests = {
        "plain": plain,
        "depth": [(f"decode at {row['depth']}, {row['kv']}", lambda run: run["decode_tps"], True)],
        "batched": [(f"{count} sequences", lambda run, i=i: run["batched"][i]["decode_tps"], True) for i, count in enumerate(row["sequences"].split(","))],
        "ttft": [(f"load and {row['prompt']} tokens, s", lambda run: run["ttft_ms"] / 1e3, False)],
    }
    return [line(row, *test) for test in tests[row["kind"]]]


def line(row, test, of, more):
    found = {who: spread([of(run) for run in runs]) for who, runs in row["runs"].items()}
    mine = found.pop("palisade")
    text = lambda x: f"{x[0]:.1f} ({x[1]:.1f}–{x[2]:.1f})"
    cells = [text(mine)]
    for who in ("llama.cpp", "ik_llama.cpp"):
        theirs = found.get(who)
        cells.append(text(theirs) if theirs else "–")
        cells.append(f"{(mine[0] / theirs[0] if more else theirs[0] / mine[0]):.2f} ×" if theirs else "–")
    return f"| {row['file']} | {test} | {row['threads']} | " + " | ".join(cells) + f" | {limit(row, test, mine[0])} |"


def limit(row, test, mine):
    """What a row comes to of what the machine could do, as it was measured right after the runs of each engine."""
    middle = lambda values: statistics.median(list(values))
    if test.startswith("prefill"):
        what = "float_gmac_s" if row["file"].endswith("f16") else "dot_gmac_s"
        rate = middle(run["prefill_gmac_s"] for run in row["runs"]["palisade"])
        most = row["threads"] * middle(x[what] for x in row["limits"]["palisade"])
        return f"{rate:.0f} of {most:.0f} GMAC/s, {100 * rate / most:.0f} %"
    if test != "decode":
        return ""
    reads = {who: middle(x["read_gb_s"][str(min(row["threads"], 2))] for x in near) for who, near in row["limits"].items()}
    rates = {who: row["touched"] / 1e9 * middle(run["decode_tps"] for run in runs) for who, runs in row["runs"].items()}
    rates["palisade"] = row["touched"] / 1e9 * mine
    own = f"{row['touched'] / 1e6:.0f} MB; {rates['palisade']:.1f} of {reads['palisade']:.1f} GB/s, {100 * rates['palisade'] / reads['palisade']:.0f} %"
    peers = [f"{100 * rates[who] / reads[who]:.0f} % of {reads[who]:.1f}" for who in ("llama.cpp", "ik_llama.cpp") if who in reads]
    return f"{own}; {', '.join(peers)}"


def report(doc):
    days = [row["date"] for row in doc["rows"]] or [datetime.date.today().isoformat()]
    lines = [
        "# Speed beside the peers", "",
        "Written by `python benches/compare.py`. Tokens per second, median of the rounds (least–most); every round of a row ran each engine in a",
        "process of its own, in turn. llama.cpp with its defaults (repacked in memory), ik_llama.cpp repacked. Ratios say how many times as fast",
        "Palisade is; sequences are tokens a second of all together. The last column is what the limit of as many threads leaves, measured",
        "right after Palisade's run in every round: for prefill, products with addition of the matrices against 8-bit dot products with",
        "operands in registers (F16: multiply-adds in single precision); for decode, the bytes of weights that a token touches, what they make",
        "of the bandwidth of plain reading, and then the same of llama.cpp and ik_llama.cpp, against the bandwidth right after their runs:",
        "where it differs, the engines ran on different machines, so to speak.", "",
        *([f"Palisade with its {doc['kernels']} kernels alone, ik_llama.cpp built for no more.", ""] if doc.get("kernels") else []),
        f"{' to '.join(sorted({min(days), max(days)}))}, {doc['processor']}, llama-cpp-python {doc['llama_cpp_python']}. Limits before and after the last run: reading "
        + ", ".join(f"{doc['limits'][w]['read_gb_s']['1']:.1f} / {doc['limits'][w]['read_gb_s']['2']:.1f} GB/s" for w in ("before", "after"))
        + " on one / two threads; integer dot products "
        + ", ".join(f"{doc['limits'][w]['dot_gmac_s']:.0f} GMAC/s" for w in ("before", "after")) + " on one.", "",
        "| file | test | threads | Palisade | llama.cpp | ratio | ik_llama.cpp | ratio | of the limit |", "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in doc["rows"]:
        lines += lines_of(row)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
