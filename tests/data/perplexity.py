"""A perplexity curve over a text that crosses the attention chunk of 8,192 positions, beside Hugging Face's.

    pip install torch transformers gguf numpy
    cargo build --release
    python tests/data/perplexity.py target/release/palisade [--tokens 12800] [--window 256] [--out benches/results/perplexity.json]

A tiny random model of Scout's kind (chunks of 8,192, every fourth layer without RoPE, temperature) speaks for itself: the text is
sampled from it by Hugging Face. Such a text has the same expected log-probability everywhere, so a wrong mask, rotation or
temperature past a border shows as a step. Prints one line a window and fails when a window departs from Hugging Face's by more
than 1e-3, or when the step at the border is larger than four standard errors of the windows.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

sys.argv, argv = sys.argv[:1], sys.argv  # make_logits reads names from the command line
import make_logits as m  # noqa: E402

CHUNK = 8192


def speak(model, count, seed):
    """`count` ids sampled from the model at temperature 1, one at a time over Hugging Face's cache."""
    torch.manual_seed(seed)
    ids = [m.token_ids(1, seed)[0]]
    cache, last = None, torch.tensor([ids])
    with torch.no_grad():
        while len(ids) < count:
            out = model(input_ids=last, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            last = torch.multinomial(torch.softmax(out.logits[0, -1].float(), -1), 1)[None]
            ids.append(int(last))
    return ids


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("palisade")
    a.add_argument("--tokens", type=int, default=12800)
    a.add_argument("--window", type=int, default=256)
    a.add_argument("--out")
    o = a.parse_args(argv[1:])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.gguf"
        model = m.long(21, num_attention_heads=1)
        m.write_gguf(path, model, "long", lambda n: m.T.F32, {})
        model = model.float()
        ids = speak(model, o.tokens + 1, 5)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        theirs = torch.log_softmax(logits.double(), -1)[torch.arange(o.tokens), torch.tensor(ids[1:])].numpy()
        (Path(folder) / "ids.txt").write_text(" ".join(map(str, ids)))
        command = [o.palisade, "score", str(path), "--tokens", str(Path(folder) / "ids.txt"), "--window", str(o.window)]
        ours = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    got = np.array(ours["next_logprobs"])
    means = [(-got[i : i + o.window].mean(), -theirs[i : i + o.window].mean()) for i in range(0, o.tokens, o.window)]
    for i, (mine, hf) in enumerate(means):
        print(f"positions {i * o.window:6} .. {(i + 1) * o.window - 1:6}  perplexity {math.exp(mine):9.4f}  Hugging Face {math.exp(hf):9.4f}")
    border = CHUNK // o.window
    before, after = (np.array([v for v, _ in part]) for part in (means[:border], means[border:]))
    error = math.hypot(before.std(ddof=1) / math.sqrt(len(before)), after.std(ddof=1) / math.sqrt(len(after)))
    step, gap, most = after.mean() - before.mean(), max(abs(x - y) for x, y in means), np.abs(got - theirs).max()
    doc = {
        "command": "python tests/data/perplexity.py target/release/palisade", "transformers": transformers.__version__,
        "tokens": o.tokens, "window": o.window, "perplexity_before": math.exp(before.mean()), "perplexity_after": math.exp(after.mean()),
        "step_nats": step, "standard_error_nats": error, "largest_window_gap_to_hugging_face": gap, "largest_token_gap": float(most),
        "curve": [round(math.exp(v), 4) for v, _ in means], "curve_hugging_face": [round(math.exp(v), 4) for _, v in means],
    }
    print(f"step at {CHUNK}: {step:+.4f} nats, standard error {error:.4f}; largest gap to Hugging Face {gap:.2e} a window, {most:.2e} a token")
    if o.out:
        Path(o.out).write_text(json.dumps(doc, indent=1) + "\n")
    assert gap < 1e-3 and abs(step) < 4 * error, "the curve jumps or departs"


if __name__ == "__main__":
    main()
