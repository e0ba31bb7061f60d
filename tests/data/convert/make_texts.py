"""Writes calibration.txt and judged.txt: what visitors and the demo model say to each other, from two seeds.

    python tests/data/convert/make_texts.py
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent.parent / "examples" / "demo-model"))
import corpus  # noqa: E402

for name, seed, size in (("calibration.txt", 501, 12000), ("judged.txt", 502, 4000)):
    text = ""
    for dialog in corpus.generate(seed, 200, True):
        if len(text) > size:
            break
        text += "\n".join(message["content"] for message in dialog["messages"]) + "\n"
    (HERE / name).write_text(text, encoding="utf-8")
