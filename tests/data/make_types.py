"""Writes tests/data/types/: what Hugging Face computes on tiny models of Scout's shape whose matrices use every other block type.

    pip install torch transformers gguf numpy
    python tests/data/make_types.py

Most of these types have no quantizer, and any valid block is a weight: the matrices are pseudo-random bytes under scales that
give the values the usual size. The test makes the same bytes, so no matrix is in the repository. skeleton.gguf holds what the
models share (metadata, vocabulary, norms, routers); types.json holds for each model the recipe of its matrices and the
expectations, as tests/data/make_logits.py makes them from the weights that `gguf.quants.dequantize` sees.

A recipe is [name, type, dimensions as in GGUF, seed, d, dmin]: block `i` is the next bytes of `stream(seed)` with the halves
`d + 16 * (i % 5)` and `dmin` (bits of f16, or for MXFP4 an exponent, to which `i % 2` is added) put where the type has its
scales. Each type is in the attention, in the experts and in the embedding or the output of some model.
"""

import json

import gguf
import make_logits as ml
import numpy as np
import torch

T = gguf.GGMLQuantizationType
OUT = ml.OUT.parent / "types"
# Offset of d, offset of dmin, and dmin for d = 1 such that random codes are about zero on average.
TYPES = {
    T.Q4_1: (0, 2, -7.5), T.Q5_0: (0, None, 0), T.Q5_1: (0, 2, -15.5), T.Q2_K: (80, 82, 1.5), T.Q3_K: (108, None, 0),
    T.Q5_K: (0, 2, 15.5), T.IQ1_S: (0, None, 0), T.IQ1_M: (None, None, 0), T.IQ2_XXS: (0, None, 0), T.IQ2_XS: (0, None, 0),
    T.IQ2_S: (0, None, 0), T.IQ3_XXS: (0, None, 0), T.IQ3_S: (0, None, 0), T.IQ4_NL: (0, None, 0), T.IQ4_XS: (0, None, 0),
    T.TQ1_0: (52, None, 0), T.TQ2_0: (64, None, 0), T.MXFP4: (None, None, 0),
}  # fmt: skip
ORDER = list(TYPES)
LAYERS = 2
MATRICES = (
    "attn_q attn_k attn_v attn_output ffn_gate_exps ffn_up_exps ffn_down_exps ffn_gate_shexp ffn_up_shexp ffn_down_shexp".split()
)


def stream(seed, count):
    """SplitMix64, little-endian."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count // 8 + 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return (z ^ z >> np.uint64(31)).view(np.uint8)[:count]


def blocks(ty, count, seed, d, dmin):
    size = gguf.GGML_QUANT_SIZES[ty][1]
    out = stream(seed, count * size).reshape(count, size).copy()
    d_at, min_at, _ = TYPES[ty]
    for i in range(count):
        bits = d + 16 * (i % 5)
        if ty == T.MXFP4:
            out[i, 0] = d + i % 2
        elif ty == T.IQ1_M:
            for j in range(4):
                out[i, 49 + 2 * j] = out[i, 49 + 2 * j] & 15 | (bits >> 4 * j & 15) << 4
        else:
            out[i, d_at : d_at + 2] = [bits & 255, bits >> 8]
        if min_at is not None:
            out[i, min_at : min_at + 2] = [dmin & 255, dmin >> 8]
    return out


def half(x):
    return int(np.float16(x).view(np.uint16))


def recipe(name, ty, shape, seed, std):
    """A recipe whose values deviate by about `std`, and the values."""
    count = int(np.prod(shape)) // gguf.GGML_QUANT_SIZES[ty][0]
    values = lambda d, dmin: gguf.dequantize(blocks(ty, count, seed, d, dmin), ty).reshape(shape)
    if ty == T.MXFP4:
        d, dmin = 127 + round(np.log2(std / values(127, 0).std())), 0
    else:
        ratio = TYPES[ty][2]
        scale = std / values(half(1), half(ratio)).std()
        d, dmin = half(scale), half(scale * ratio)
    return [name, ty.name, [int(n) for n in shape[::-1]], seed, d, dmin], values(d, dmin)


def kind(name, model):
    """Embedding and output go through the types two by two; the blocks' matrices follow."""
    if name in ("token_embd.weight", "output.weight"):
        return ORDER[2 * model + (name == "output.weight")]
    _, layer, matrix, _ = name.split(".")
    return ORDER[(2 * model + 2 + 9 * int(layer) + MATRICES.index(matrix)) % len(ORDER)]


def main():
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    all_slots, skeleton = ml.slots, OUT / "skeleton.gguf"
    small = lambda slot: slot.param.ndim == 1 or "ffn_gate_inp" in slot.name
    models = []
    for m in range(len(ORDER) // 2):
        model = ml.llama4(11, hidden_size=256, intermediate_size=256, intermediate_size_mlp=256, num_hidden_layers=LAYERS,
                          num_attention_heads=8, num_key_value_heads=2, num_local_experts=4, rope_parameters=ml.SCOUT_ROPE,
                          max_position_embeddings=10485760)  # fmt: skip
        ml.slots = lambda of: (slot for slot in all_slots(of) if small(slot))
        ml.write_gguf(skeleton, model, "types", lambda name: T.F32, {})
        ml.slots = all_slots
        recipes = []
        for slot in (slot for slot in list(all_slots(model)) if not small(slot)):
            old = slot.read()
            made, values = recipe(slot.name, kind(slot.name, m), old.shape, 1000 * m + len(recipes), old.std())
            recipes.append(made)
            slot.write(values)
        ml.write_expected(skeleton.with_suffix(".json"), model, 7, 72, list(range(71)), "", [], ())
        said = json.loads(skeleton.with_suffix(".json").read_text())
        models.append({"tensors": recipes, "ids": said["ids"], "next_logprobs": said["next_logprobs"]})
    skeleton.with_suffix(".json").unlink()
    versions = said["_comment"].split("with ")[1].split(";")[0]
    head = f"Written by tests/data/make_types.py with {versions}; see there for what each field holds."
    lines = ",\n".join(json.dumps(model, separators=(",", ":")) for model in models)
    (OUT / "types.json").write_text(f'{{"_comment":"{head}","models":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
