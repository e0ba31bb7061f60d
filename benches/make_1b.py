"""Writes a model file of Llama 3.2 1B's shape with random weights, for speed measurements: Q4_0, embeddings Q6_K and tied.

    pip install gguf numpy
    python benches/make_1b.py /tmp/llama-1b-q4_0.gguf

Speed does not depend on what the weights are as long as nothing overflows; they are drawn as blocks directly, with scales
that keep activations near one. The vocabulary has the real size: 256 bytes, all pairs of bytes and pairs followed by one more,
each with its merge, then Llama 3's 256 special names. The output is the same on every run.
"""

import sys

import gguf
import numpy as np

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCAB = 16, 2048, 32, 8, 64, 8192, 128256
NAMES = {0: "begin_of_text", 1: "end_of_text", 4: "finetune_right_pad_id", 6: "start_header_id", 7: "end_header_id", 8: "eom_id", 9: "eot_id", 10: "python_tag"}
rng = np.random.default_rng(1)


def q4_0(rows, cols):
    """Blocks of one f16 scale and 32 nibbles; a value is (nibble - 8) times the scale."""
    raw = rng.integers(0, 256, (rows, cols // 32, 18), dtype=np.uint8)
    scale = (rng.uniform(0.8, 1.2, (rows, cols // 32, 1)) / 4.6 / cols**0.5).astype(np.float16)
    raw[..., :2] = scale.view(np.uint8)
    return raw.reshape(rows, -1)


def q6_k(rows, cols):
    """Blocks of 256 six-bit values less 32, sixteen int8 scales and one f16 scale."""
    raw = rng.integers(0, 256, (rows, cols // 256, 210), dtype=np.uint8)
    raw[..., 192:208] = rng.integers(24, 40, (rows, cols // 256, 16), dtype=np.uint8)
    raw[..., 208:] = np.array([0.02 / 32 / 18.5], dtype=np.float16).view(np.uint8)
    return raw.reshape(rows, -1)


def vocabulary():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    base = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    pairs = [(a, b) for a in base for b in base]
    triples = [(a + b, base[0]) for a, b in pairs][: 128000 - 256 - len(pairs)]
    merges = pairs + triples
    specials = [f"<|{NAMES.get(i, f'reserved_special_token_{i}')}|>" for i in range(256)]
    return base + [a + b for a, b in merges] + specials, [f"{a} {b}" for a, b in merges]


def main(path):
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("Random weights in the shape of Llama 3.2 1B")
    w.add_block_count(LAYERS)
    w.add_context_length(131072)
    w.add_embedding_length(WIDTH)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_key_length(HEAD_DIM)
    w.add_value_length(HEAD_DIM)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(HEAD_DIM)
    w.add_rope_freq_base(500000.0)
    w.add_vocab_size(VOCAB)
    w.add_file_type(2)
    w.add_quantization_version(2)
    tokens, merges = vocabulary()
    assert len(tokens) == VOCAB
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("llama-bpe")
    w.add_token_list(tokens)
    w.add_token_types([1] * 128000 + [3] * 256)
    w.add_token_merges(merges)
    w.add_bos_token_id(128000)
    w.add_eos_token_id(128009)

    def add(name, rows, cols, kind=gguf.GGMLQuantizationType.Q4_0):
        w.add_tensor(name, (q4_0 if kind == gguf.GGMLQuantizationType.Q4_0 else q6_k)(rows, cols), raw_dtype=kind)

    add("token_embd.weight", VOCAB, WIDTH, gguf.GGMLQuantizationType.Q6_K)
    w.add_tensor("output_norm.weight", np.full(WIDTH, 3.0, dtype=np.float32))
    w.add_tensor("rope_freqs.weight", llama3_divisors())
    for i in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            w.add_tensor(f"blk.{i}.{norm}.weight", np.ones(WIDTH, dtype=np.float32))
        add(f"blk.{i}.attn_q.weight", HEADS * HEAD_DIM, WIDTH)
        add(f"blk.{i}.attn_k.weight", KV_HEADS * HEAD_DIM, WIDTH)
        add(f"blk.{i}.attn_v.weight", KV_HEADS * HEAD_DIM, WIDTH)
        add(f"blk.{i}.attn_output.weight", WIDTH, HEADS * HEAD_DIM)
        add(f"blk.{i}.ffn_gate.weight", FFN, WIDTH)
        add(f"blk.{i}.ffn_up.weight", FFN, WIDTH)
        add(f"blk.{i}.ffn_down.weight", WIDTH, FFN)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def llama3_divisors(factor=32.0, low=1.0, high=4.0, original=8192.0):
    wave = 2 * np.pi * 500000.0 ** (np.arange(HEAD_DIM // 2) * 2 / HEAD_DIM)
    smooth = np.clip((original / wave - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
