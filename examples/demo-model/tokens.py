"""The demo's tokenizer: byte-level BPE with Meta's pre-tokenizer pattern, and the chat format as ids.

    python tokens.py OUT_FOLDER      trains it on generated dialogs and writes tokenizer.json
"""

import argparse
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import corpus

SPECIAL = [
    f"<|{n}|>"
    for n in "begin_of_text end_of_text header_start header_end eom eot step finetune_right_pad image_start image_end image patch "
    "python_start python_end".split()
]
VOCAB = 2048
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERN = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]*[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]+{CONTRACTION}",
        rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]+[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]*{CONTRACTION}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def around(model):
    """The tokenizer of a BPE model: Meta's pattern before it, bytes after it."""
    tok = Tokenizer(model)
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tok.decoder = decoders.ByteLevel()
    return tok


def specials():
    return [AddedToken(s, special=True, normalized=False) for s in SPECIAL]


def rebuild(pieces, kinds, merges):
    """The tokenizer of a GGUF file's lists."""
    vocab = {piece: i for i, (piece, kind) in enumerate(zip(pieces, kinds)) if kind == 1}
    tok = around(models.BPE(vocab, [tuple(m.split(" ")) for m in merges]))
    tok.add_special_tokens(specials())
    return tok


def train(texts):
    tok = around(models.BPE())
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCAB - len(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    tok.train_from_iterator(texts, trainer)
    tok.add_special_tokens(specials())
    return tok


class Chat:
    """Renders dialogs as ids; text never becomes a special id."""

    def __init__(self, tok):
        self.tok = tok
        self.special = {s: tok.token_to_id(s) for s in SPECIAL}
        self.bos, self.eot = self.special["<|begin_of_text|>"], self.special["<|eot|>"]
        tok.encode_special_tokens = True
        self.blank = self.text("\n\n")

    @classmethod
    def load(cls, folder):
        return cls(Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json")))

    def text(self, s):
        return self.tok.encode(s, add_special_tokens=False).ids

    def header(self, role):
        return [self.special["<|header_start|>"], *self.text(role), self.special["<|header_end|>"], *self.blank]

    def prompt(self, messages):
        """Ids up to and including the open assistant header."""
        return self.dialog(messages)[0] + self.header("assistant")

    def dialog(self, messages):
        """(ids, mask): mask is 1 where the id is part of an answer or its closing eot."""
        ids, mask = [self.bos], [0]
        for m in messages:
            head, body = self.header(m["role"]), self.text(m["content"].strip()) + [self.eot]
            ids += head + body
            mask += [0] * len(head) + [int(m["role"] == "assistant")] * len(body)
        return ids, mask


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("out")
    args.add_argument("--dialogs", type=int, default=12000)
    args = args.parse_args()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    texts = (m["content"] for d in corpus.generate(0, args.dialogs) for m in d["messages"])
    tok = train([*texts, *["system", "user", "assistant", "ipython", "\n\n"] * 3000])
    assert tok.get_vocab_size() == VOCAB, tok.get_vocab_size()
    assert [tok.token_to_id(s) for s in SPECIAL] == list(range(VOCAB - len(SPECIAL), VOCAB))
    tok.save(str(out / "tokenizer.json"))


if __name__ == "__main__":
    main()
