"""Writes tests/data/gguf/pypi.gguf and the split model pypi-split-*: files made by the PyPI package `gguf`, for tests/gguf.rs.

Run from the repository root, with `gguf` and `numpy` installed:

    python tests/data/make_gguf.py

The expected values are formulas that tests/gguf.rs repeats: element i of a tensor is ((i * 7 + 3) % 29 - 14) / 8.
"""

from pathlib import Path

import gguf
import numpy as np

OUT = Path(__file__).parent / "gguf"


def ramp(*shape):
    i = np.arange(int(np.prod(shape)), dtype=np.int64)
    return (((i * 7 + 3) % 29 - 14) / 8).astype(np.float32).reshape(shape)


def all_types(path):
    w = gguf.GGUFWriter(path, "llama4")
    w.add_uint8("t.u8", 200)
    w.add_int8("t.i8", -100)
    w.add_uint16("t.u16", 60000)
    w.add_int16("t.i16", -30000)
    w.add_uint32("t.u32", 4000000000)
    w.add_int32("t.i32", -2000000000)
    w.add_float32("t.f32", 0.1)
    w.add_bool("t.bool", True)
    w.add_string("t.string", "naïve café")
    w.add_uint64("t.u64", 2**63 + 1)
    w.add_int64("t.i64", -(2**62))
    w.add_float64("t.f64", 0.1)
    w.add_array("t.a_i32", [-1, 0, 7])
    w.add_array("t.a_f32", [0.5, -0.25])
    w.add_array("t.a_bool", [True, False, True])
    w.add_array("t.a_string", ["Ġthe", "", "漢字", "x" * 300])
    w.add_uint32("general.alignment", 64)
    w.data_alignment = 64
    w.add_tensor("token_embd.weight", ramp(5, 64))
    w.add_tensor("half.weight", ramp(3, 7).astype(np.float16))
    for name in ("BF16", "Q8_0", "Q4_0"):
        ty = gguf.GGMLQuantizationType[name]
        w.add_tensor(f"blk.0.{name}.weight", gguf.quantize(ramp(2, 3, 64), ty), raw_dtype=ty)
    # A type that Palisade does not read.
    w.add_tensor("other.weight", np.arange(72, dtype=np.uint8).reshape(2, 36), raw_dtype=gguf.GGMLQuantizationType.NVFP4)
    finish(w)


def split(path):
    w = gguf.GGUFWriter(path, "llama4", split_max_tensors=2)
    w.add_uint32("llama4.block_count", 1)
    for i in range(5):
        w.add_tensor(f"t{i}.weight", ramp(i + 1, 32))
    finish(w)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


OUT.mkdir(exist_ok=True)
all_types(OUT / "pypi.gguf")
split(OUT / "pypi-split.gguf")
