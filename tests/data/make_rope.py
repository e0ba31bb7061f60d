"""Writes tests/data/rope.json: rotations and temperatures at far positions, in 60-digit arithmetic.

    pip install mpmath numpy
    python tests/data/make_rope.py

The frequencies are those of the published models rounded to single precision, as their reference implementation has them;
everything after that (position times frequency, sine, cosine, logarithm) is computed by mpmath.
"""

import json
from pathlib import Path

import mpmath
import numpy as np

mpmath.mp.dps = 60
POSITIONS = [0, 1, 2, 8190, 8191, 8192, 16383, 16384, 131071, 1048575, 2**24 - 1, 2**24 + 1, 10_000_000, 10_485_759, 50_000_001, 2**29 - 1]
PAIRS = [0, 1, 17, 34, 35, 50, 63]


def frequency(pair):
    """Scout: theta 500000, heads of 128, divisor 16 for wavelengths over 8192."""
    plain = np.float32(1.0 / 500000.0 ** (2.0 * pair / 128.0))
    divisor = np.float32(16.0 if 2 * mpmath.pi / mpmath.mpf(float(plain)) > 8192 else 1.0)
    return plain / divisor


def main():
    rows = []
    for p in POSITIONS:
        angles = [mpmath.mpf(p) * mpmath.mpf(float(frequency(i))) for i in PAIRS]
        steps = (p + 1) // 8192
        rows.append({
            "position": p,
            "cos": [float(mpmath.cos(a)) for a in angles],
            "sin": [float(mpmath.sin(a)) for a in angles],
            "temperature": float(1 + mpmath.mpf("0.1") * mpmath.log(1 + steps)),
        })
    doc = {"_comment": "Written by tests/data/make_rope.py; see there.", "pairs": PAIRS,
           "frequencies": [float(frequency(i)) for i in PAIRS], "rows": rows}
    path = Path(__file__).with_name("rope.json")
    path.write_text(json.dumps(doc, separators=(",", ":")).replace("},{", "},\n{") + "\n")
    print(f"{path.name}: {len(rows)} positions")


if __name__ == "__main__":
    main()
