"""Meta's whole vocabulary as a tokenizer.json and as a GGUF file, written by the packages that own these formats.

    pip install tokenizers gguf
    python tests/data/tokenizer/real.py TOKENIZER_MODEL FOLDER   # writes FOLDER/tokenizer.json and FOLDER/vocab.gguf

The files are for comparison on one machine and are never committed: the vocabulary is Meta's.
"""

import json
import pathlib
import sys

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from reference import PATTERNS, load_ranks

BYTES = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
REST = [byte for byte in range(256) if byte not in BYTES]
ALPHABET = {byte: chr(byte) for byte in BYTES} | {byte: chr(256 + i) for i, byte in enumerate(REST)}


def reserved(group, first, last):
    prefix = f"{group}_" if group else ""
    return [f"{prefix}reserved_special_token_{i}" for i in range(first, last)]


def special_names():
    """The 2,048 names after the ranks, by `models/llama4/tokenizer.py`."""
    names = ["begin_of_text", "end_of_text", "fim_prefix", "fim_middle", "fim_suffix"]
    names += ["header_start", "header_end", "eom", "eot", "step", *reserved("text_post_train", 0, 6)]
    names += ["python_start", "python_end", "finetune_right_pad", *reserved("text_post_train", 8, 69)]
    names += ["image_start", "image_end", *reserved("vision", 0, 2), "tile_x_separator", "tile_y_separator"]
    names += [*reserved("vision", 2, 6), "image", *reserved("vision", 6, 7), "patch", *reserved("vision", 7, 1048)]
    names += [*reserved("reasoning", 0, 8), "reasoning_thinking_start", "reasoning_thinking_end"]
    names += reserved("", 0, 2048 - len(names))
    return [f"<|{name}|>" for name in names]


def split(ranks, token, rank):
    """The two tokens whose merge makes `token`: merging its bytes with the ranks below its own leaves them."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [(ranks.get(a + b, rank), i) for i, (a, b) in enumerate(zip(parts, parts[1:]))]
        best, at = min(joined)
        assert best < rank, token
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def written(token):
    return "".join(ALPHABET[byte] for byte in token)


def vocabulary(model):
    """Tokens and merges in GPT-2's byte alphabet, and the special names."""
    ranks = load_ranks(model)
    in_order = sorted(ranks, key=ranks.get)
    merges = [tuple(map(written, split(ranks, token, ranks[token]))) for token in in_order if len(token) > 1]
    return [written(token) for token in in_order], merges, special_names()


def write_json(path, tokens, merges, names):
    vocab = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERNS["llama4"]), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    tokenizer.save(str(path))
    assert json.loads(path.read_text())["added_tokens"][-1]["id"] == len(tokens) + len(names) - 1


def write_gguf(path, tokens, merges, names):
    writer = gguf.GGUFWriter(path, "llama4")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama4")
    writer.add_token_list(tokens + names)
    writer.add_token_types([1] * len(tokens) + [3] * len(names))
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(len(tokens))
    writer.add_eos_token_id(len(tokens) + 8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write(model, folder):
    folder = pathlib.Path(folder)
    parts = vocabulary(model)
    paths = folder / "tokenizer.json", folder / "vocab.gguf"
    write_json(paths[0], *parts)
    write_gguf(paths[1], *parts)
    return paths


if __name__ == "__main__":
    print(*write(*sys.argv[1:]))
