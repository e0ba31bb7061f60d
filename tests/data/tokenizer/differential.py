"""Compares a tokenizer command with the `tiktoken` package on megabytes of mixed text, and their speed on one thread.

    pip install tiktoken
    cargo build --release
    python tests/data/tokenizer/differential.py MODEL target/release/palisade [--megabytes 10] [--seed 1]

MODEL is Meta's tokenizer.model. The command is called as `palisade tokenize --tiktoken MODEL --file FILE` and prints
{"ids":[...]}. The text is made of this vocabulary's own words in every script, mutated, of the Python standard library
as code, and of adversarial strings; it is the same for the same seed. Exit code 1 when any id differs.
"""

import argparse
import json
import pathlib
import random
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
import unicodedata

from generate import CORPUS, FORMS, SPECIALS, random_texts
from reference import Reference, load_ranks

SCRIPTS = ["LATIN", "ARABIC", "DEVANAGARI", "THAI", "CYRILLIC", "CJK", "HANGUL", "HIRAGANA", "GREEK", "HEBREW", "BENGALI", "TAMIL"]  # fmt: skip


def words_by_script(ranks):
    """The vocabulary's whole-word tokens, by the script of their first letter."""
    found = {script: [] for script in SCRIPTS}
    for token in ranks:
        try:
            text = token.decode()
        except UnicodeDecodeError:
            continue
        letter = next((c for c in text if c.isalpha()), None)
        script = unicodedata.name(letter, "").split()[0:1] if letter else None
        if script and script[0] in found:
            found[script[0]].append(text)
    return [words for words in found.values() if words]


def prose(rng, words):
    out = []
    for _ in range(rng.randrange(20, 200)):
        word = rng.choice(words)
        kind = rng.random()
        if kind < 0.05:
            word = word.upper()
        elif kind < 0.08:
            word = word.title()
        elif kind < 0.1:
            word = unicodedata.normalize("NFD", word)
        out.append(word)
        out.append(rng.choice(["", "", " ", " ", " ", ", ", ". ", "'s ", "\n", "\n\n", "  ", " — ", " 2024 ", "’"]))
    return "".join(out)


def adversarial(rng):
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(FORMS.split("|") + SPECIALS) * rng.randrange(1, 5)
    if kind == 1:
        return "".join(random_texts(rng))
    if kind == 2:
        codes = (rng.randrange(0x110000) for _ in range(200))
        return "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)
    if kind == 3:
        return rng.choice(["a", " ", "\n", "é", "न", "!", "=", "\u0301", "0", "aB", "中", "\t ", "ha"]) * rng.randrange(1, 3000)
    return " ".join(rng.choice(SPECIALS) for _ in range(10))


def mixed_text(ranks, size, seed):
    rng = random.Random(seed)
    scripts = words_by_script(ranks)
    library = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    parts, total = [], 0
    while total < size:
        kind = rng.random()
        if kind < 0.55:
            part = prose(rng, rng.choice(scripts))
        elif kind < 0.65:
            part = " ".join(rng.choice(CORPUS.split("\n")) for _ in range(10))
        elif kind < 0.75:
            source = rng.choice(library).read_text(encoding="utf-8", errors="ignore")
            start = rng.randrange(max(1, len(source) - 4000))
            part = source[start : start + 4000]
        else:
            part = adversarial(rng)
        parts.append(part)
        total += len(part.encode())
    return "".join(parts)


def timed(command):
    """The command's result and its CPU time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return answer, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("command")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ranks = load_ranks(args.model)
    text = mixed_text(ranks, int(args.megabytes * 1e6), args.seed)
    reference = Reference(ranks, "llama4")
    reference.encode(text[:1000])
    start = time.process_time()
    expected = reference.encode(text)
    took = time.process_time() - start
    size = len(text.encode())
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="", suffix=".txt") as file:
        file.write(text)
        file.flush()
        command = [args.command, "tokenize", "--tiktoken", args.model, "--file"]
        answer, whole = timed([*command, file.name])
        idle = min(timed([*command, "/dev/null"])[1] for _ in range(5))
    ids = json.loads(answer.stdout)["ids"]
    own = whole - idle
    print(f"{size} bytes, {len(expected)} ids; seconds of CPU time:")
    print(f"tiktoken: {took:.2f} s, {size / took / 1e6:.2f} MB/s")
    print(f"command: {own:.2f} s, {size / own / 1e6:.2f} MB/s with reading and JSON; {took / own:.2f} times tiktoken's speed")
    print(f"command on an empty file (start, load, exit): {idle * 1000:.0f} ms at best of 5")
    print(answer.stderr.decode(), end="")
    if ids != expected:
        at = next((i for i, (a, b) in enumerate(zip(ids, expected)) if a != b), min(len(ids), len(expected)))
        before = reference.encoding.decode(expected[max(0, at - 5) : at])
        print(f"DIFFERS at id {at}: {ids[at:at+5]} for {expected[at:at+5]} after {before!r}")
        sys.exit(1)
    print("all ids equal")


if __name__ == "__main__":
    main()
