"""Peak memory and speed of converting a multi-gigabyte folder, and of writing a synthetic model.

    python tests/data/convert/measure.py [--tool target/release/palisade] [--layers 1] [--types q8_0,q4_0,q4_k] [--folder SCRATCH]

Writes a folder of Scout's full shape with random BF16 weights in shards of about 5 GB (one layer: 8.6 GB), converts it with
each type, and prints for each the peak resident memory of the process (as the kernel counts it, `ru_maxrss`), the seconds, and
megabytes of source read a second. Then the same for `palisade synth` of that shape. Files are removed afterwards.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
D, F, E, V, HEADS, KV, DIM = 5120, 8192, 16, 202048, 40, 8, 128


def tensors(layers):
    p = "language_model.model."
    yield p + "embed_tokens.weight", [V, D]
    yield "language_model.lm_head.weight", [V, D]
    yield p + "norm.weight", [D]
    for l in range(layers):
        b = f"{p}layers.{l}."
        yield b + "input_layernorm.weight", [D]
        yield b + "post_attention_layernorm.weight", [D]
        for n, rows in (("q", HEADS * DIM), ("k", KV * DIM), ("v", KV * DIM)):
            yield f"{b}self_attn.{n}_proj.weight", [rows, D]
        yield b + "self_attn.o_proj.weight", [D, HEADS * DIM]
        yield b + "feed_forward.router.weight", [E, D]
        yield b + "feed_forward.experts.gate_up_proj", [E, D, 2 * F]
        yield b + "feed_forward.experts.down_proj", [E, F, D]
        for n, shape in (("gate", [F, D]), ("up", [F, D]), ("down", [D, F])):
            yield f"{b}feed_forward.shared_expert.{n}_proj.weight", shape


def write_folder(folder, layers):
    tile = (np.random.default_rng(1).standard_normal(1 << 24, dtype=np.float32) * 0.02).view(np.uint32) >> 16
    tile = tile.astype(np.uint16).tobytes()
    shards, size = [[]], 0
    for name, shape in tensors(layers):
        n = 2 * int(np.prod(shape))
        if size and size + n > 5_000_000_000:
            shards, size = shards + [[]], 0
        shards[-1].append((name, shape, n))
        size += n
    index, total = {}, 0
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        header, at = {}, 0
        for name, shape, n in shard:
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + n]}
            index[name], at = file, at + n
        head = json.dumps(header).encode()
        with open(folder / file, "wb") as out:
            out.write(len(head).to_bytes(8, "little") + head)
            while at:
                at -= out.write(tile[: min(at, len(tile))])
        total += (folder / file).stat().st_size
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    text = json.loads((HERE / "scout" / "config.json").read_text())["text_config"]
    text |= dict(hidden_size=D, intermediate_size=F, num_hidden_layers=layers, num_local_experts=E, num_attention_heads=HEADS,
                 num_key_value_heads=KV, head_dim=DIM, vocab_size=V, no_rope_layers=None, layer_types=None, moe_layers=None)
    (folder / "config.json").write_text(json.dumps({"architectures": ["Llama4ForConditionalGeneration"], "text_config": text}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(HERE / "scout" / name, folder)
    return total


def run(what, size, *command):
    start = time.time()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.time() - start
    assert status == 0, command
    print(f"{what:14} peak {usage.ru_maxrss / 1024:7.0f} MiB  {seconds:6.1f} s  {size(command) / 1e6 / seconds:6.0f} MB/s", flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--tool", default="target/release/palisade")
    a.add_argument("--layers", type=int, default=1)
    a.add_argument("--types", default="bf16,q8_0,q4_0,q4_k")
    a.add_argument("--folder", help="where there is room")
    o = a.parse_args()
    with tempfile.TemporaryDirectory(dir=o.folder) as tmp:
        folder, out = Path(tmp) / "hf", Path(tmp) / "out.gguf"
        folder.mkdir()
        total = write_folder(folder, o.layers)
        print(f"source: {total / 1e9:.1f} GB of BF16; rates are of source bytes, for synth of written bytes", flush=True)
        for kind in o.types.split(","):
            run(f"convert {kind}", lambda c: total, o.tool, "convert", str(folder), str(out), "--type", kind, "--force")
        shutil.rmtree(folder)
        written = lambda c: out.stat().st_size
        for kind in o.types.split(","):
            run(f"synth {kind}", written, o.tool, "synth", "--shape", "scout", "--layers", str(o.layers), "--type", kind, str(out), "--force")


if __name__ == "__main__":
    sys.exit(main())
