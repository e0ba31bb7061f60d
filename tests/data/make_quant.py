"""Writes tests/data/quant/blocks.json: blocks and their values as the PyPI package `gguf` converts them.

Run from the repository root, with `gguf`, `numpy` and `llama-cpp-python` installed:

    python tests/data/make_quant.py [path of libggml-base.so]

The package gguf cannot write the K types; their bytes come from ggml's own reference quantizers, in the library that
`llama-cpp-python` brings along unless a path is given.

Everything in the file but `digests` is hexadecimal: bytes as they lie in a GGUF file, f32 as little-endian bits.
"""

import ctypes
import hashlib
import importlib.util
import json
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

COMMENT = (
    "Written by tests/data/make_quant.py with the PyPI package gguf. dequantize: blocks (random, the first ones with extreme "
    "scales) and the f32 bits gguf.dequantize makes of them. digests: SHA-256 of what it makes of 256 blocks of pseudo-random "
    "bytes (see `stream`). quantize: f32 values and the bytes gguf.quantize makes of them; for the K and IQ4 types those that "
    "ggml's quantize_row_*_ref make (x86-64, no fused multiply-add)."
)
# f16 bits: 0, -0, smallest, largest subnormal, smallest normal, 1, largest, -largest, -1/3
SCALES = [0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0x7BFF, 0xFBFF, 0xB555]
# Offsets of the f16 scales in a block.
SCALE_AT = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_K: [0, 2], T.Q6_K: [208]}
# The same for the types that came later; IQ1_M has its scale in four pieces, MXFP4 a power of two.
LATER = {
    T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q2_K: [80, 82], T.Q3_K: [108], T.Q5_K: [0, 2], T.IQ1_S: [0], T.IQ1_M: [],
    T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0], T.IQ4_NL: [0], T.IQ4_XS: [0],
    T.TQ1_0: [52], T.TQ2_0: [64], T.MXFP4: [],
}  # fmt: skip
FROM_GGUF = (T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.TQ1_0, T.TQ2_0)
FROM_GGML = (T.Q4_K, T.Q6_K, T.Q2_K, T.Q3_K, T.Q5_K, T.IQ4_NL, T.IQ4_XS)
# The scale of row 4 (up to 3e6) is too large for an f16 in these. In F16 its values become infinite.
NOT_ROW_4 = (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.TQ1_0, T.TQ2_0, T.Q2_K)
rng = np.random.default_rng(20260101)


def hexed(array):
    return np.ascontiguousarray(array).tobytes().hex()


def dequantize_case(ty):
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[ty]
    later = ty in LATER
    n = (5 if later else 12) if block_len == 256 else (14 if later else 24)
    blocks = rng.integers(0, 256, (n, block_bytes), dtype=np.uint8)
    for at in {**SCALE_AT, **LATER}[ty]:
        for i in range(n):
            bits = SCALES[(i + at) % len(SCALES)] if i < len(SCALES) else int(np.float16(rng.normal() * 0.01).view(np.uint16))
            blocks[i, at : at + 2] = [bits & 255, bits >> 8]
    if ty == T.IQ1_M:
        blocks[:, 55] &= 0xBF  # a finite scale
    return {"blocks": hexed(blocks), "f32": hexed(gguf.dequantize(blocks, ty))}


def stream(count):
    """Upper bytes of a linear congruential generator, as the test makes them too."""
    state, out = 1, bytearray()
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(state >> 56)
    return np.frombuffer(bytes(out), dtype=np.uint8)


def digest(ty):
    """Of the values of 256 blocks whose scales are below 2."""
    size = gguf.GGML_QUANT_SIZES[ty][1]
    blocks = stream(256 * size).reshape(256, size).copy()
    for at in [55] if ty == T.IQ1_M else [at + 1 for at in {**SCALE_AT, **LATER}[ty]]:
        blocks[:, at] &= 0xBF
    return hashlib.sha256(np.ascontiguousarray(gguf.dequantize(blocks, ty)).tobytes()).hexdigest()


def float_case(ty):
    # Zeros, subnormals, largest, infinities, quiet NaNs, then random bits that are no NaN.
    first = [0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0x7C00, 0xFC00, 0x7E01, 0x7F7F, 0x7F80, 0xFF80, 0x7FC1, 0x0080]
    random = rng.integers(0, 0x7C00, 131, dtype=np.uint16) | (rng.integers(0, 2, 131, dtype=np.uint16) << np.uint16(15))
    halves = np.concatenate([np.array(first, dtype=np.uint16), random])
    if ty == T.F16:
        halves = halves[(halves & 0x7FFF <= 0x7C00) | (halves & 0x0200 != 0)]
    blocks = halves.view(np.uint8).reshape(-1, 2)
    return {"blocks": hexed(blocks), "f32": hexed(gguf.dequantize(blocks, ty))}


def values():
    rows = [rng.normal(size=256) * s for s in (1, 0.02, 1e-6, 300, 1e6)]
    rows.append(np.zeros(256))
    rows.append(np.linspace(-1, 1, 256))
    rows.append(np.where(np.arange(256) % 37 == 5, -50.0, 0.01))
    # Ties between two steps, and both ends of the range.
    rows.append((np.arange(256) % 17 - 8) / 2.0)
    rows.append((np.arange(256) % 33 - 16) * 7.9375)
    rows.append(np.full(256, -3.5))
    rows.append(np.full(256, 2.0**-20))
    return np.array(rows, dtype=np.float32)


def ggml_quantize(ty, x):
    if len(sys.argv) > 1:
        library = sys.argv[1]
    else:
        library = Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib" / "libggml-base.so"
    base = ctypes.CDLL(str(library))
    function = getattr(base, f"quantize_row_{ty.name.lower().replace('_k', '_K')}_ref")
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[ty]
    x = np.ascontiguousarray(x)
    blocks = np.zeros(x.size // block_len * block_bytes, np.uint8)
    function(x.ctypes.data, blocks.ctypes.data, x.size)
    return blocks


out = {"_comment": COMMENT, "dequantize": {}, "quantize": {}}
x = rng.integers(0, 2**32, 64, dtype=np.uint32).view(np.float32)
x = x[~np.isnan(x)]
out["dequantize"]["F32"] = {"blocks": hexed(x), "f32": hexed(x)}
for ty in (T.F16, T.BF16):
    out["dequantize"][ty.name] = float_case(ty)
for ty in SCALE_AT:
    out["dequantize"][ty.name] = dequantize_case(ty)
x = values()
out["quantize"]["values"] = hexed(x)
for ty in FROM_GGUF:
    kept = np.delete(x, 4, axis=0) if ty in NOT_ROW_4 else x
    with np.errstate(over="ignore"):
        out["quantize"][ty.name] = hexed(gguf.quantize(kept, ty))
for ty in FROM_GGML:
    out["quantize"][ty.name] = hexed(ggml_quantize(ty, np.delete(x, 4, axis=0) if ty in NOT_ROW_4 else x))
rng = np.random.default_rng(20260102)
for ty in LATER:
    out["dequantize"][ty.name] = dequantize_case(ty)
out["digests"] = {ty.name: digest(ty) for ty in [*SCALE_AT, *LATER]}
path = Path(__file__).parent / "quant" / "blocks.json"
path.parent.mkdir(exist_ok=True)
path.write_text(json.dumps(out, indent=0) + "\n")
