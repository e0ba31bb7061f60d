"""Compares all three routes into the tokenizer with the `tiktoken` package on megabytes of mixed text.

    pip install tiktoken tokenizers gguf
    cargo build --release
    python tests/data/tokenizer/differential.py MODEL target/release/palisade [--megabytes 12] [--seed 1]

MODEL is Meta's tokenizer.model. The command reads it, and the same vocabulary as a tokenizer.json and as a GGUF file
(real.py), as `palisade tokenize … --file FILE`, which prints {"ids":[...]}; `--decode` must give the text again. The
text is sentences in the twelve supported languages, composed and decomposed (NFC, NFD), this vocabulary's own words in
every script, mutated, the Python standard library as code, and adversarial strings; it is the same for the same seed.
Exit code 1 when any id differs. Speed is compared by benches/tokenizer.py.
"""

import argparse
import collections
import json
import pathlib
import random
import subprocess
import sys
import sysconfig
import tempfile
import unicodedata

from generate import CORPUS, FORMS, SPECIALS, random_texts
from languages import LANGUAGES
from real import write
from reference import Reference, load_ranks

SCRIPTS = ["LATIN", "ARABIC", "DEVANAGARI", "THAI", "CYRILLIC", "CJK", "HANGUL", "HIRAGANA", "GREEK", "HEBREW", "BENGALI", "TAMIL"]  # fmt: skip
SEPARATORS = ["", "", " ", " ", " ", ", ", ". ", "'s ", "\n", "\n\n", "  ", " — ", " 2024 ", "’"]


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
        out.append(rng.choice(SEPARATORS))
    return "".join(out)


def sentences(rng, text):
    """Whole sentences or their words in any order, composed or decomposed, now and then in capitals."""
    lines = text.strip().split("\n")
    part = " ".join(rng.choice(lines) for _ in range(rng.randrange(5, 40)))
    if rng.random() < 0.5:
        words = part.split(" ")
        rng.shuffle(words)
        part = "".join(word + rng.choice(SEPARATORS) for word in words)
    part = unicodedata.normalize(rng.choice(["NFC", "NFD", "NFKD"]), part)
    return part.upper() if rng.random() < 0.1 else part


def adversarial(rng):
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(FORMS.split("|") + SPECIALS) * rng.randrange(1, 5)
    if kind == 1:
        return "".join(random_texts(rng))
    if kind == 2:
        codes = (rng.randrange(0x110000) for _ in range(200))
        return "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)
    if kind == 3:
        unit = rng.choice(["a", " ", "\n", "é", "न", "!", "=", "\u0301", "0", "aB", "中", "\t ", "ha", "'s", "\r\n", "า", "\u0e49", "\u094d"])
        return unit * rng.randrange(1, 3000)
    if kind == 4:
        # Marks where no letter expects them, stacked and between cases.
        letters = "aAéßนकىщ中 !1'\n"
        marks = ["\u0301", "\u0323", "\u0e34", "\u0e49", "\u093f", "\u094d", "\u064b", "\u0651", "\u200d", "\ufe0f", "\u20dd"]
        return "".join(rng.choice(letters) + "".join(rng.choices(marks, k=rng.randrange(4))) for _ in range(100))
    return " ".join(rng.choice(SPECIALS) for _ in range(10))


def mixed_text(ranks, size, seed):
    """The text, and how many of its bytes are of which kind."""
    rng = random.Random(seed)
    scripts = words_by_script(ranks)
    library = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    parts, kinds, total = [], collections.Counter(), 0
    while total < size:
        kind = rng.random()
        if kind < 0.45:
            name = rng.choice(sorted(LANGUAGES))
            part = sentences(rng, LANGUAGES[name])
        elif kind < 0.55:
            name, part = "vocabulary's words", prose(rng, rng.choice(scripts))
        elif kind < 0.6:
            name, part = "corpus", " ".join(rng.choice(CORPUS.split("\n")) for _ in range(10))
        elif kind < 0.75:
            source = rng.choice(library).read_text(encoding="utf-8", errors="ignore")
            start = rng.randrange(max(1, len(source) - 4000))
            name, part = "code", source[start : start + 2000]
        else:
            name, part = "adversarial", adversarial(rng)
        parts.append(part)
        size_of_part = len(part.encode())
        kinds[name] += size_of_part
        total += size_of_part
    return "".join(parts), kinds


def tool(command, *arguments, **options):
    return subprocess.run([command, "tokenize", *map(str, arguments)], capture_output=True, check=True, **options).stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("command")
    parser.add_argument("--megabytes", type=float, default=12)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ranks = load_ranks(args.model)
    text, kinds = mixed_text(ranks, int(args.megabytes * 1e6), args.seed)
    expected = {family: Reference(ranks, family).encode(text) for family in ["llama4", "llama3"]}
    print(f"{len(text.encode())} bytes, {len(expected['llama4'])} ids:", ", ".join(f"{n} {k}" for k, n in sorted(kinds.items())))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        as_json, as_gguf = write(args.model, folder)
        file = pathlib.Path(folder, "text.txt")
        file.write_bytes(text.encode())
        # The other family's pattern on the same ranks.
        routes = {
            "tiktoken": ["--tiktoken", args.model],
            "tokenizer.json": ["--tokenizer-json", as_json],
            "GGUF": [as_gguf],
            "tiktoken, Llama 3's pattern": ["--tiktoken", args.model, "--family", "llama3"],
        }
        for name, route in routes.items():
            ids = expected["llama3" if "llama3" in route else "llama4"]
            answer = tool(args.command, *route, "--file", file)
            found = json.loads(answer)["ids"]
            back = tool(args.command, *route, "--decode", "--file", "-", input=answer) == text.encode()
            print(f"{name}: {'all ids equal' if found == ids else 'DIFFERS'}; {'decodes to the text' if back else 'DECODES TO ANOTHER TEXT'}")
            failed |= found != ids or not back
            if found != ids:
                at = next((i for i, (a, b) in enumerate(zip(found, ids)) if a != b), min(len(found), len(ids)))
                before = Reference(ranks, "llama4").encoding.decode(ids[max(0, at - 5) : at])
                print(f"at id {at}: {found[at:at+5]} for {ids[at:at+5]} after {before!r}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
