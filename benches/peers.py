"""Speed beside llama.cpp: the same file, the same machine, the same run, alternating.

    pip install llama-cpp-python
    cargo build --release
    target/release/palisade synth --shape llama-1b --type q4_0 /tmp/llama-1b-q4_0.gguf
    python benches/peers.py /tmp/llama-1b-q4_0.gguf

Each round starts a fresh process for either side, in changing order: `palisade bench` and the low-level `llama_decode` of
llama-cpp-python. Both take a prompt of the same P ids, then N single steps, on T threads with an f16 cache, several times,
and give the medians; llama.cpp has its own defaults otherwise. What counts is the ratio of the medians over the rounds, with
the smallest and largest ratio of one round beside it; absolute numbers mean nothing on another machine. The result is written
to benches/results/.
"""

import argparse
import datetime
import importlib.metadata
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def llama_cpp(model, p, n, threads, repeat, depth=0, kv="f16", sequences=()):
    """Medians over `repeat` conversations with llama.cpp, in this process."""
    import llama_cpp as lc

    quiet = lc.llama_log_callback(lambda level, text, user: None)
    lc.llama_log_set(quiet, None)
    lc.llama_backend_init()
    start = time.perf_counter()
    mp = lc.llama_model_default_params()
    mp.n_gpu_layers = 0
    weights = lc.llama_model_load_from_file(model.encode(), mp)
    assert weights, f"llama.cpp refuses {model}"
    cp = lc.llama_context_default_params()
    most = max([1, *sequences])
    cp.n_ctx, cp.n_batch, cp.n_ubatch, cp.n_threads, cp.n_threads_batch = depth + p + most * n + 8, max(p, 512), 512, threads, threads
    if most > 1:
        cp.n_seq_max, cp.kv_unified = most, True
    if kv == "q8_0":
        cp.type_k, cp.type_v, cp.flash_attn_type = lc.GGML_TYPE_Q8_0, lc.GGML_TYPE_Q8_0, lc.LLAMA_FLASH_ATTN_TYPE_ENABLED
    ctx = lc.llama_init_from_model(weights, cp)
    assert ctx, "llama.cpp makes no context"
    load_ms = (time.perf_counter() - start) * 1e3
    memory = lc.llama_get_memory(ctx)
    vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(weights))
    ids = [(i * 7919 + 11) % vocab for i in range(depth + p + n)]  # as `palisade bench` takes them
    prefill, steps = [], []

    def decode(part):
        tokens = (lc.llama_token * len(part))(*part)
        assert lc.llama_decode(ctx, lc.llama_batch_get_one(tokens, len(part))) == 0

    for _ in range(repeat):
        lc.llama_memory_clear(memory, True)
        for i in range(0, depth, 512):
            decode(ids[i : min(i + 512, depth)])
        lc.llama_synchronize(ctx)
        start = time.perf_counter()
        decode(ids[depth : depth + p])
        lc.llama_synchronize(ctx)
        middle = time.perf_counter()
        for i in range(n):
            decode(ids[depth + p + i : depth + p + i + 1])
        lc.llama_synchronize(ctx)
        prefill.append(p / (middle - start))
        steps.append(n / (time.perf_counter() - middle))
    many = [batched(lc, ctx, memory, ids[: depth + p], depth + p, n, count, vocab, repeat) for count in sequences]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    info = lc.llama_print_system_info().decode()
    tps = {"prefill_tps": statistics.median(prefill), "decode_tps": statistics.median(steps)}
    tps |= {"batched": many} if many else {}
    return tps | {"ttft_ms": load_ms + p / prefill[0] * 1e3, "load_ms": load_ms, "peak_rss_bytes": peak, "info": info, "prefill_tps_all": prefill, "decode_tps_all": steps}


def batched(lc, ctx, memory, ids, p, n, count, vocab, repeat):
    """Tokens a second of `count` sequences that go on from the same prompt, one token each in every call, as `palisade bench --sequences`."""
    batch, speeds = lc.llama_batch_init(max(p, count), 0, count), []

    def fill(entries):
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, position, 1, sequence, wanted
        assert lc.llama_decode(ctx, batch) == 0

    for _ in range(repeat):
        lc.llama_memory_clear(memory, True)
        for first in range(0, p, 512):
            fill([(ids[i], i, 0, i == p - 1) for i in range(first, min(first + 512, p))])
        for sequence in range(1, count):
            lc.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
        lc.llama_synchronize(ctx)
        start = time.perf_counter()
        for step in range(n):
            fill([(((step * count + s) * 7919 + 11) % vocab, p + step, s, True) for s in range(count)])
        lc.llama_synchronize(ctx)
        speeds.append(n * count / (time.perf_counter() - start))
    lc.llama_batch_free(batch)
    return {"sequences": count, "decode_tps": statistics.median(speeds), "decode_tps_all": speeds}


def child(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("-p", type=int, default=512, help="prompt ids")
    a.add_argument("-n", type=int, default=64, help="decoded ids")
    a.add_argument("-d", "--depth", type=int, default=0, help="ids that come before anything is measured")
    a.add_argument("-t", "--threads", type=int, default=2)
    a.add_argument("--rounds", type=int, default=3, help="processes of either side")
    a.add_argument("-r", "--repeat", type=int, default=3, help="measurements in one process")
    a.add_argument("--palisade", default=str(HERE.parent / "target/release/palisade"))
    a.add_argument("--out", default=None, help="where the result goes; default benches/results/peers-MODEL.json")
    a.add_argument("--kv", choices=("f16", "q8_0"), default="f16")
    a.add_argument("--sequences", default="", help="also decode with so many sequences at once, as 4,16")
    a.add_argument("--only-llama-cpp", action="store_true", help="one round of llama.cpp, printed as JSON")
    o = a.parse_args()
    if o.only_llama_cpp:
        sequences = [int(count) for count in o.sequences.split(",") if count]
        print(json.dumps(llama_cpp(o.model, o.p, o.n, o.threads, o.repeat, o.depth, o.kv, sequences)))
        return
    sizes = ["-p", str(o.p), "-n", str(o.n), "-t", str(o.threads), "-d", str(o.depth), "-r", str(o.repeat), "--kv", o.kv]
    sizes += ["--sequences", o.sequences] if o.sequences else []
    commands = {
        "palisade": [o.palisade, "bench", o.model, *sizes, "--json"],
        "llama_cpp": [sys.executable, __file__, o.model, *sizes, "--only-llama-cpp"],
    }
    runs = {who: [] for who in commands}
    for r in range(o.rounds):
        for who in sorted(commands, reverse=r % 2 == 0):
            runs[who].append(child(commands[who]))
            print(f"round {r + 1} {who:9} prefill {runs[who][-1]['prefill_tps']:8.2f}  decode {runs[who][-1]['decode_tps']:7.2f} tokens/s", flush=True)
    ratios = {}
    for what in ("prefill_tps", "decode_tps", "load_ms", "peak_rss_bytes"):
        ours, theirs = ([run[what] for run in runs[who]] for who in ("palisade", "llama_cpp"))
        each = [x / y for x, y in zip(ours, theirs)]
        ratios[what] = {"ratio": statistics.median(ours) / statistics.median(theirs), "smallest": min(each), "largest": max(each)}
        print(f"{what:15} palisade / llama.cpp = {ratios[what]['ratio']:.3f}  (rounds {min(each):.3f} to {max(each):.3f})")
    out = Path(o.out or HERE / "results" / f"peers-{Path(o.model).stem}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "_comment": "Written by benches/peers.py; ratios are palisade over llama.cpp (for tokens per second more is better).",
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "llama_cpp_python": importlib.metadata.version("llama-cpp-python"),
        "model": Path(o.model).name,
        "prompt": o.p, "decoded": o.n, "depth": o.depth, "threads": o.threads,
        "ratios": ratios,
        "runs": runs,
    }
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {out}")


if __name__ == "__main__":
    main()
