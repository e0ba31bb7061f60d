"""Writes english.txt: the English words that the views' word test knows, the most frequent first.

python guards/words/make.py

The words are those of the embedded classifier's vocabulary, whose order is one of frequency, and those that the English
training texts use twice or more, without those that the training texts of other languages use more. Only authored training
texts are read.
"""

import collections
import json
import pathlib
import re

HERE = pathlib.Path(__file__).parent
GUARDS = HERE.parent
# Behind these places the vocabulary holds pieces of words and other languages.
WHOLE_WORDS = 10_500
ENGLISH = re.compile(r"(S\d+|JB|PI|general|framings|pad)(_\w+)?\.txt")
# What templates and contractions leave, and letters that stand alone.
NO_WORDS = {"ll", "ve", "re", "vp", "np", "ii", "iii"}
SHORT = set(
    "a i am an as at be by do go he hi if in is it me my no of oh ok on or so to up us we id tv uk".split()
)


def vocabulary():
    model = json.loads((GUARDS / "classifier" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    words = [word for word, _ in model["vocab"] if re.fullmatch("[a-z]{3,}", word)]
    return words[:WHOLE_WORDS]


def training():
    """How often the English texts use each word, and the others."""
    english, other = collections.Counter(), collections.Counter()
    for file in sorted((GUARDS / "data" / "authored").iterdir()):
        lines = file.read_text(encoding="utf-8").replace("\u2019", "'").lower().split("\n")
        words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", "\n".join(line for line in lines if not line.startswith("#")))
        counts = english if ENGLISH.fullmatch(file.name) else other
        counts.update(w for w in words if re.fullmatch("[a-z]+", w))
    return english, other


def is_word(word):
    if len(word) < 3:
        return word in SHORT
    # No vowel, or one letter three times in a row, is an abbreviation or a noise.
    return word not in NO_WORDS and re.search("[aeiouy]", word) and not re.search(r"(.)\1\1", word)


def main():
    english, other = training()
    used = [w for w, n in sorted(english.items(), key=lambda p: (-p[1], p[0])) if n >= 2]
    ranks = {}
    for words in (vocabulary(), used):
        for rank, word in enumerate(words):
            ranks[word] = min(rank, ranks.get(word, rank))
    for word in SHORT:
        ranks.setdefault(word, 0)
    words = [w for w in ranks if is_word(w) and (w in SHORT or other[w] <= max(4, 2 * english[w]))]
    words.sort(key=lambda w: (ranks[w], w))
    (HERE / "english.txt").write_text("".join(f"{w}\n" for w in words), encoding="utf-8")


if __name__ == "__main__":
    main()
