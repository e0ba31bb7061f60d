"""Writes imatrix.gguf, an importance file as llama.cpp's tool lays it out, with the `gguf` package.

    pip install gguf numpy
    python tests/data/convert/make_imatrix.py

Its two entries fit the folder maverick/: sums of squares are column + 1 (times expert + 1), tokens are 4; the last expert met none.
"""

from pathlib import Path

import gguf
import numpy as np

w = gguf.GGUFWriter(Path(__file__).parent / "imatrix.gguf", "imatrix")
w.add_type("imatrix")
w.add_array("imatrix.datasets", ["by hand"])
w.add_uint32("imatrix.chunk_count", 1)
w.add_uint32("imatrix.chunk_size", 512)
columns = np.arange(1, 33, dtype=np.float32)
experts = np.arange(1, 5, dtype=np.float32)[:, None]
for name, sums, counts in (
    ("blk.0.attn_q.weight", columns[None, :], np.array([[4.0]])),
    ("blk.1.ffn_down_exps.weight", columns[None, :] * experts, np.array([[4.0], [4.0], [4.0], [0.0]])),
):
    w.add_tensor(f"{name}.in_sum2", sums.astype(np.float32))
    w.add_tensor(f"{name}.counts", counts.astype(np.float32))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
