"""Writes src/tokenizer/unicode_16.rs: which of the pre-tokenizer's classes each code point belongs to.

The classes are read off the `tiktoken` package itself (pip install tiktoken), because its regex engine defines the ids:
a pattern of one class, run over a text of all code points, keeps exactly the members of that class.

    python tests/data/tokenizer/unicode_classes.py > src/tokenizer/unicode_16.rs && cargo fmt
"""

import tiktoken

ALL = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
BYTES = {bytes([i]): i for i in range(256)}


def members(pattern):
    encoding = tiktoken.Encoding(name=pattern, pat_str=pattern, mergeable_ranks=BYTES, special_tokens={})
    return set(bytes(encoding.encode_ordinary(ALL)).decode())


# The order of `classes::Class`; the first pattern that holds wins.
CLASSES = [(7, r"[\r\n]"), (6, r"\s"), (1, r"[\p{Lu}\p{Lt}]"), (2, r"\p{Ll}"), (3, r"[\p{Lm}\p{Lo}]"), (4, r"\p{M}"), (5, r"\p{N}")]


def main():
    sets = [(number, members(pattern)) for number, pattern in CLASSES]
    starts, last = [], None
    for c in range(0x110000):
        number = next((n for n, held in sets if chr(c) in held), 0)
        if number != last:
            starts.append(c << 4 | number)
            last = number
    print("//! Pre-tokenizer classes of Unicode 16.0.0, written by tests/data/tokenizer/unicode_classes.py.")
    print()
    print("/// Each entry opens a range that lasts until the next: `first code point << 4 | class`.")
    print(f"pub(super) static RANGES: [u32; {len(starts)}] = [")
    for i in range(0, len(starts), 12):
        print("    " + " ".join(f"{s:#x}," for s in starts[i : i + 12]))
    print("];")


if __name__ == "__main__":
    main()
