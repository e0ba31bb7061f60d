"""Meta's Llama tokenizers as they are defined: the `tiktoken` package, Meta's patterns, Meta's cuts in long input."""

import base64

import tiktoken

WORD_TAIL = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
OPENS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
ENDS = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"
BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"

PATTERNS = {
    "llama4": "|".join(
        [
            f"{LEAD}{OPENS}*{ENDS}+{WORD_TAIL}?",
            f"{LEAD}{OPENS}+{ENDS}*{WORD_TAIL}?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            BLANKS,
        ]
    ),
    "llama3": "|".join(
        [WORD_TAIL, rf"{LEAD}\p{{L}}+", r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", BLANKS]
    ),
}


def load_ranks(path):
    with open(path, "rb") as file:
        pairs = (line.split() for line in file if line.strip())
        return {base64.b64decode(token): int(rank) for token, rank in pairs}


def cuts(text):
    """At every 400,000 characters, and where a run of blanks or of non-blanks passes 25,000."""
    for at in range(0, len(text), 400_000):
        block = text[at : at + 400_000]
        start, run, blank = 0, 0, block[0].isspace()
        for i, char in enumerate(block):
            if char.isspace() != blank:
                run, blank = 1, not blank
            elif run == 25_000:
                yield block[start:i]
                start, run = i, 1
            else:
                run += 1
        yield block[start:]


class Reference:
    def __init__(self, ranks, family):
        self.encoding = tiktoken.Encoding(
            name=family, pat_str=PATTERNS[family], mergeable_ranks=ranks, special_tokens={}
        )

    def encode(self, text):
        return [id for part in cuts(text) for id in self.encoding.encode_ordinary(part)]
