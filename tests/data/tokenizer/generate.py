"""Writes the small vocabulary and the expected ids of the tokenizer tests.

    pip install tiktoken tokenizers
    python tests/data/tokenizer/generate.py          # writes the five files below beside this one
    python tests/data/tokenizer/generate.py --check  # says whether the committed files are what this script writes

small.tiktoken  ranks of 256 bytes and 900 merges trained on the text below, in tiktoken's format
small.json      the same vocabulary as GGUF holds it: tokens and merges in GPT-2's byte alphabet
small-tokenizer.json  the same with some special tokens as the `tokenizers` package saves it
cases.json      texts and their ids under Llama 4's and Llama 3's pattern, from the `tiktoken` package (reference.py)
chat.json       dialogs and their ids: the published prompt formats written out as strings, special tokens read from them
"""

import base64
import json
import pathlib
import random
import sys

import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from reference import PATTERNS, Reference

HERE = pathlib.Path(__file__).parent

CORPUS = """
The visitor centre opens at nine in the morning and closes at six in the evening, except on Mondays.
Tickets cost 12 euros; children under 7 don't pay. It's the guide's choice, they'll say, we've seen what you're after.
Please ask at the information desk near the main entrance; the answer to your question is on the second floor.
متحف المدينة مفتوح كل يوم من الساعة التاسعة صباحا حتى السادسة مساء. العربيّة لغة جميلة.
Le musée ouvre à neuf heures et ferme à dix-huit heures; l'entrée est gratuite pour les élèves. Où êtes-vous?
Das Museum öffnet um neun Uhr und schließt um achtzehn Uhr. Führungen für Schüler kosten 5,50 Euro.
नमस्ते दुनिया, संग्रहालय सुबह नौ बजे खुलता है और शाम छह बजे बंद होता है। टिकट यहाँ मिलते हैं।
Museum dibuka pukul sembilan pagi dan ditutup pukul enam sore. Anak-anak tidak perlu membayar.
Il museo apre alle nove e chiude alle diciotto; perché non venite? L'ingresso è gratuito la domenica.
O museu abre às nove horas e fecha às dezoito. Não há visitas à segunda-feira; as crianças não pagam.
El museo abre a las nueve y cierra a las seis. ¿Dónde está la entrada? ¡Mañana será otro día, señor!
Bukas ang museo mula alas-nuwebe ng umaga hanggang alas-sais ng gabi. Libre ang mga bata.
สวัสดีครับ พิพิธภัณฑ์เปิดเวลาเก้าโมงเช้าและปิดเวลาหกโมงเย็น เด็กเข้าชมฟรี
Bảo tàng mở cửa lúc chín giờ sáng và đóng cửa lúc sáu giờ chiều. Trẻ em được miễn phí.
Музей открыт с девяти утра до шести вечера. 博物馆早上九点开门，晚上六点关门。博物館は九時に開きます。
fn main() { let mut total = 0; for i in 0..10 { total += i; } println!("{total}"); }
def visit(self, node): return [child for child in node.children if child is not None]
    if (a == b && c != d) || x <= 1000 { return getUserByID(path/to/file, HTTPServer); } // done
"""

# Every special form that either pattern treats in its own way, and neighbours that tempt a scanner to err.
FORMS = """Hello, world!|  leading spaces|it's I'LL WE'VE|1234567890|naïve café|getUserByID HTTPServer|path/to//file
/x|don't DON'T|😀👍🏽|العربيّة|\t\tif (a==b) {\r\n| =|safe|unsafe|unsafe
S1|नमस्ते दुनिया|สวัสดีครับ|<\u200b|x\u0301y|A\u0301B|\u0301AB|!\u0301a|!!\u0301|中AB|中a|ABc中D|ǅungla|ʰa|aʰB|Ⅷ12|½¾²³x|it'ſ 'ſt|'s's|'S'LL'rex|I'mm
|''s|'\u0301s|a'|'|x'\u017f|\u017f's|\u00a0!|\u00a0a|\u3000\u3000b|\u2028\u2029x|\x1c\x1d a|\x85\x85b|a \n \n  b|\r\n\r\n|\n\n\nx|  \n|x   |   |\t|//\n/x| //|/|\r/\n/|+++\n\n///"""

SPECIALS = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|eot|>", "<|eom|>", "<|header_start|>system<|header_end|>\n\nYes<|eot|>",
    "<|start_header_id|>user<|end_header_id|>", "<|eot_id|>", "<|python_start|>", "<|finetune_right_pad|>",
    "<|reserved_special_token_0|>", "<|patch|><|image|>", "[INST]</s><s>", "＜｜eot｜＞", "<|e\u200bot|>",
]  # fmt: skip


def random_texts(rng):
    """Strings of characters that matter, in no sensible order."""
    alphabets = [
        "aAbB '’sStTlLvVeErRdDmMſ",
        "a \n\r\t/ .-'_",
        "aAéÉ\u0301\u0302中ʰǅ1½ !",
        "नमस्ते\u094d\u200dक ๆสวัสดี ",
        "0123456789٠١Ⅷ² .,",
        "\u00a0\u1680\u2003\u2028\u3000\x85\x1c\x0b ab\n",
        "😀👍🏽\u200d❤️🏳️‍🌈 xy",
        "العربيّة ـ،؟ 12",
        "(){}[]<>|&=+-*/\\\"`~^%$#@!;: \n",
    ]
    for i in range(160):
        alphabet = alphabets[i % len(alphabets)] + (rng.choice(alphabets) if i % 3 == 0 else "")
        yield "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 40)))
    for _ in range(40):
        codes = [rng.choice([rng.randrange(0x80), rng.randrange(0x3000), rng.randrange(0xE000, 0x20000)]) for _ in range(12)]
        yield "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)


# Long inputs as [unit, times] lists: the cuts at 25,000 and 400,000 characters, and pieces that invite quadratic time.
LONG = [
    [["a", 25001]], [[" ", 25002]], [["a", 60000], [" ", 30000], ["b", 3]], [["é", 26000]], [["\x1c", 25001], ["x", 1]],
    [["ab ", 140000]], [["!", 25500], ["\n", 4]], [["中", 25001], ["A", 9]], [["\n", 51000]], [["the ", 99999], ["x", 30000]],
]  # fmt: skip


# The special tokens of the two chat formats and their places after the last rank.
CHAT_TOKENS = {
    "llama4": {"begin": ("<|begin_of_text|>", 0), "open": ("<|header_start|>", 5), "close": ("<|header_end|>", 6),
               "eom": ("<|eom|>", 7), "eot": ("<|eot|>", 8)},
    "llama3": {"begin": ("<|begin_of_text|>", 0), "open": ("<|start_header_id|>", 6), "close": ("<|end_header_id|>", 7),
               "eom": ("<|eom_id|>", 8), "eot": ("<|eot_id|>", 9)},
}  # fmt: skip

# Messages are [role, content, calls a tool].
DIALOGS = [
    [["user", "When do you open?", False]],
    [["system", "You are a helpful assistant", False], ["user", "Answer who are you in the form of jeopardy?", False]],
    [["system", "Be brief.", False], ["user", "Où est l'entrée?", False], ["assistant", "À gauche.", False], ["user", "नमस्ते", False]],
    [["user", "2+2?", False], ["assistant", "[add(a=2, b=2)]", True], ["ipython", "4", False]],
    [["user", "2+2?", False], ["assistant", "[add(a=2, b=2)]", True], ["ipython", "4", False], ["assistant", "It's 4.", False], ["user", "Thanks", False]],
]  # fmt: skip


def chat_ids(ranks, family, dialog):
    """The dialog as one string in the published format, tokenized with its special tokens recognised."""
    names = {key: name for key, (name, _) in CHAT_TOKENS[family].items()}
    specials = {name: len(ranks) + place for name, place in CHAT_TOKENS[family].values()}
    header = lambda role: f"{names['open']}{role}{names['close']}\n\n"
    string = names["begin"]
    for role, content, calls in dialog:
        # Meta's Llama 4 code ends a tool's answer with eom, its Llama 3 code with eot.
        eom = calls or (role == "ipython" and family == "llama4")
        string += header(role) + content + names["eom" if eom else "eot"]
    string += header("assistant")
    encoding = tiktoken.Encoding(
        name="chat", pat_str=PATTERNS[family], mergeable_ranks=ranks, special_tokens=specials
    )
    return encoding.encode(string, allowed_special="all")


def runs(ids):
    """Ids as [id, times] runs, with a whole repeated cycle of up to 8 ids written once."""
    out, at = [], 0
    while at < len(ids):
        best = (1, 1)
        for period in range(1, 9):
            times = 1
            while ids[at + times * period : at + (times + 1) * period] == ids[at : at + period]:
                times += 1
            if times > 1 and times * period > best[0] * best[1]:
                best = (period, times)
        out.append([ids[at : at + best[0]], best[1]])
        at += best[0] * best[1]
    return out


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERNS["llama4"]), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=256 + 900, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([CORPUS] * 2, trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    return alphabet, merges


# Special tokens of tokenizer.json and their places after the last rank; the places between are left out.
JSON_TOKENS = {
    "<|begin_of_text|>": 0, "<|end_of_text|>": 1, "<|header_start|>": 5, "<|header_end|>": 6, "<|eom|>": 7, "<|eot|>": 8,
    "<|python_start|>": 16, "<|python_end|>": 17, "<|finetune_right_pad|>": 18,
}  # fmt: skip


def tokenizer_json(tokens, merges, pattern):
    """What the `tokenizers` package saves, in the structure that Meta's checkpoints have on Hugging Face."""
    vocab = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    # The package numbers added tokens one after another, so the gaps are taken out of the saved file again.
    names = {place: name for name, place in JSON_TOKENS.items()}
    tokenizer.add_special_tokens([AddedToken(names.get(place, f"gap{place}"), normalized=False) for place in range(20)])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    begin = "<|begin_of_text|>"
    template = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = [token for token in saved["added_tokens"] if not token["content"].startswith("gap")]
    return json.dumps(saved, ensure_ascii=False) + "\n"


def to_bytes(text):
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(rest)}
    return bytes(table[c] for c in text)


def build():
    alphabet, merges = train()
    tokens = alphabet + ["".join(merge) for merge in merges]
    ranks = {to_bytes(token): rank for rank, token in enumerate(tokens)}
    assert len(ranks) == len(tokens) == 256 + len(merges)
    small_tiktoken = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items())
    small_json = json.dumps({"tokens": tokens, "merges": [" ".join(merge) for merge in merges]}, indent=0)

    references = {family: Reference(ranks, family) for family in PATTERNS}
    texts = [*FORMS.split("|"), *SPECIALS, *CORPUS.strip().split("\n"), *random_texts(random.Random(4))]
    cases = [
        {"text": text} | {family: reference.encode(text) for family, reference in references.items()}
        for text in dict.fromkeys(texts)
    ]
    long = [
        {"units": units} | {f: runs(r.encode("".join(unit * times for unit, times in units))) for f, r in references.items()}
        for units in LONG
    ]
    comment = "Written by generate.py with the tiktoken package; ids under each family's pattern. See there."
    lines = ",\n".join(json.dumps(case) for case in cases)
    long_lines = ",\n".join(json.dumps(case) for case in long)
    cases_json = f'{{"_comment": "{comment}",\n"cases": [\n{lines}\n],\n"long": [\n{long_lines}\n]}}\n'
    chat = ",\n".join(json.dumps({"dialog": dialog} | {f: chat_ids(ranks, f, dialog) for f in PATTERNS}) for dialog in DIALOGS)
    chat_json = f'{{"_comment": "{comment}",\n"dialogs": [\n{chat}\n]}}\n'
    small_tokenizer = tokenizer_json(tokens, merges, PATTERNS["llama4"])
    return {"small-tokenizer.json": small_tokenizer, "chat.json": chat_json, "small.tiktoken": small_tiktoken, "small.json": small_json + "\n", "cases.json": cases_json}


def main():
    for name, text in build().items():
        path = HERE / name
        if "--check" in sys.argv:
            same = path.read_text(encoding="utf-8") == text
            print(f"{name}: {'as written by this script' if same else 'DIFFERS'}")
            if not same:
                sys.exit(1)
        else:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
