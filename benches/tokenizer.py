"""Measures `palisade tokenize` against the `tiktoken` package on one thread, and the time to load the vocabulary.

    pip install tiktoken tokenizers gguf
    cargo build --release
    python benches/tokenizer.py MODEL target/release/palisade [--rounds 9] [--megabytes 10] [--out FILE.json]

MODEL is Meta's tokenizer.model; the same vocabulary as tokenizer.json and GGUF file is made on the spot. The texts are
those of tests/data/tokenizer/differential.py and, apart, its English, Hindi and code. Both sides run in the same rounds,
one after the other; what is compared is `encode_ordinary` with `encode_text`, without start, load, reading or JSON. Both
encode once before the clock starts. The ratio of a round is tiktoken's time over ours: above 1 we are faster.
"""

import argparse
import json
import os
import pathlib
import platform
import random
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests/data/tokenizer"))

from differential import mixed_text, sentences  # noqa: E402
from languages import LANGUAGES  # noqa: E402
from real import write  # noqa: E402
from reference import Reference, cuts, load_ranks  # noqa: E402


def texts(ranks, size):
    rng = random.Random(2)

    def of(language):
        out = []
        while sum(map(len, out)) < size // 2:
            out.append(sentences(rng, LANGUAGES[language]))
        return "\n".join(out)

    library = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    code = "\n".join(path.read_text(encoding="utf-8", errors="ignore") for path in library)[: size // 2]
    return {"mixed": mixed_text(ranks, size, 1)[0], "English": of("English"), "Hindi": of("Hindi"), "code": code}


def summary(values):
    values = sorted(values)
    return {"median": statistics.median(values), "min": values[0], "max": values[-1]}


def timed(command, route, file, rounds):
    arguments = [command, "tokenize", *map(str, route), "--file", str(file), "--time", str(rounds)]
    return json.loads(subprocess.run(arguments, capture_output=True, check=True).stdout)


def cpu_ms(command, route, file, rounds):
    """CPU time of a whole run, which other work on the machine disturbs less than the time on the wall."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    timed(command, route, file, rounds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def compare(args, text, reference, file):
    """Milliseconds of both sides in each round, and the ratios. Meta's cuts are made beforehand for tiktoken."""
    file.write_bytes(text.encode())
    parts = list(cuts(text))
    encode = reference.encoding.encode_ordinary
    ours, theirs = [], []
    for part in parts:
        encode(part)
    for _ in range(args.rounds):
        start = time.perf_counter()
        count = sum(len(encode(part)) for part in parts)
        theirs.append((time.perf_counter() - start) * 1000)
        answer = timed(args.command, ["--tiktoken", args.model], file, 2)
        assert answer["count"] == count
        ours.append(answer["encode_ms"][1])
    ratios = [theirs / ours for ours, theirs in zip(ours, theirs)]
    size = len(text.encode())
    return {"bytes": size, "ids": count, "tiktoken_ms": summary(theirs), "palisade_ms": summary(ours), "ratio": summary(ratios)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("command")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--out")
    args = parser.parse_args()
    ranks = load_ranks(args.model)
    reference = Reference(ranks, "llama4")
    result = {"machine": machine(), "load_average": os.getloadavg()[0], "rounds": args.rounds, "encode": {}, "load_ms": {}}
    with tempfile.TemporaryDirectory() as folder:
        as_json, as_gguf = write(args.model, folder)
        file = pathlib.Path(folder, "text.txt")
        for name, text in texts(ranks, int(args.megabytes * 1e6)).items():
            row = result["encode"][name] = compare(args, text, reference, file)
            speed = [row["bytes"] / row[side]["median"] / 1000 for side in ["palisade_ms", "tiktoken_ms"]]
            ratio = row["ratio"]
            print(f"{name}: {speed[0]:.1f} MB/s, tiktoken {speed[1]:.1f} MB/s; ratio {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})")
        file.write_text("x")
        routes = {"tiktoken": ["--tiktoken", args.model], "gguf": [as_gguf], "tokenizer.json": ["--tokenizer-json", as_json]}
        loads, cpu = {name: [] for name in routes}, {name: [] for name in routes}
        for _ in range(args.rounds):
            for name, route in routes.items():
                loads[name] += timed(args.command, route, file, 1)["load_ms"]
                cpu[name].append((cpu_ms(args.command, route, file, 6) - cpu_ms(args.command, route, file, 1)) / 5)
        for name, times in loads.items():
            row, own = summary(times), summary(cpu[name])
            result["load_ms"][name] = {"wall": row, "cpu": own}
            print(f"load from {name}: {row['median']:.0f} ms ({row['min']:.0f} to {row['max']:.0f}), of CPU time {own['median']:.0f} ms")
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


def machine():
    info = pathlib.Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return {"cpu": names[0] if names else platform.processor(), "cores": len(names), "system": platform.system()}


if __name__ == "__main__":
    main()
