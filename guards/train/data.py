"""Builds the classifier's splits from the authored lists in guards/data/authored.

Every authored line and every framing belongs to exactly one split, chosen by hash order,
so a test example is built only from intents and framings that training never saw.
"""

import base64
import codecs
import hashlib
import json
import random
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AUTHORED = ROOT / "data" / "authored"
LABELS = [f"S{i}" for i in range(1, 15)] + ["prompt_injection", "jailbreak"]
FILE_LABEL = {"PI": "prompt_injection", "JB": "jailbreak"}
# The broadest labels are drawn more often, and those that say least in their words.
WEIGHTS = [{"S1": 1.8, "S2": 2.0, "S4": 1.2, "S6": 1.5, "S11": 1.5}.get(x, 1.0) for x in LABELS]
SPLITS = ("train", "dev", "test")
# How the names of lists end that are split line by line.
GROWING = ("_eighth", "_ninth", "_tenth", "_eleventh", "_twelfth")
LANGUAGE = re.compile("[a-z]{2}")


def assign_splits(texts, least_dev=0):
    """Of each list 5 % (at least one) goes to test and 3 % to dev, chosen by hash order; short lists have no dev."""
    order = sorted(set(texts), key=lambda t: hashlib.sha256(t.encode()).digest())
    if len(order) < 4:
        return dict.fromkeys(order, "train")
    test, dev = max(1, round(0.05 * len(order))), round(0.03 * len(order)) if len(order) >= 17 else 0
    if len(order) >= 8:
        dev = max(dev, least_dev)
    return {t: "test" if i < test else "dev" if i < test + dev else "train" for i, t in enumerate(order)}


def splits_by_hash(texts):
    """5 % to test and 6 % to dev by the line's own hash: a list may grow while training reads it, and no line changes sides."""

    def split(text):
        share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) / 2**32
        return "test" if share < 0.05 else "dev" if share < 0.11 else "train"

    return {t: split(t) for t in texts}


def splits_of(path, texts, least_dev=0):
    return splits_by_hash(texts) if path.stem.endswith(GROWING) else assign_splits(texts, least_dev)


def parse_alternatives(text):
    """`a {b|c {d|e}}` as a nested list: a sequence of strings and lists of sequences."""

    def sequence(i, depth):
        out, buf = [], []
        while i < len(text):
            ch = text[i]
            if ch == "\\" and i + 1 < len(text):
                buf.append(text[i + 1])
                i += 2
            elif ch == "{":
                out.append("".join(buf))
                buf, options = [], []
                i += 1
                while True:
                    seq, i = sequence(i, depth + 1)
                    options.append(seq)
                    if i >= len(text):
                        raise ValueError(f"unclosed brace: {text}")
                    closed = text[i] == "}"
                    i += 1
                    if closed:
                        break
                out.append(options)
            elif ch in "|}" and depth:
                break
            elif ch in "|}":
                raise ValueError(f"stray {ch}: {text}")
            else:
                buf.append(ch)
                i += 1
        out.append("".join(buf))
        return out, i

    return sequence(0, 0)[0]


class Line:
    """One authored line: an intent, a statement or an answer, with alternatives and slots."""

    def __init__(self, text, labels, kind, split, lang="en"):
        match = re.search(r" @([\w,]+)$", text)
        if match:
            labels = labels + [x for x in match.group(1).split(",") if x not in labels]
            text = text[: match.start()]
        self.text, self.labels, self.kind = text, labels, kind
        self.split, self.lang = split, lang
        self.tree = parse_alternatives(text)

    def sample(self, rng, slots):
        def render(seq):
            return "".join(p if isinstance(p, str) else render(rng.choice(p)) for p in seq)

        out = render(self.tree)
        if self.lang != "en":
            # French sets a space before these marks; half of the time it stays.
            marks = ".," if self.lang == "fr" and rng.random() < 0.5 else ".,?!:;"
            return re.sub(rf"\s+([{marks}])", r"\1", re.sub(r"\s+", " ", out)).strip()
        while match := re.search(r"<([a-z0-9]+)>", out):
            name = match.group(1)
            if name not in slots:
                break
            out = out[: match.start()] + rng.choice(slots[name]) + out[match.end() :]
        return re.sub(r"\s+([.,?!:;])", r"\1", re.sub(r"\s+", " ", out)).strip()


def read_sections(path):
    heading = None
    for raw in path.read_text(encoding="utf-8").splitlines():
        if raw.startswith("# ") and (raw[2:] in HEADINGS or FOREIGN_HEADING.fullmatch(raw[2:])):
            heading = raw[2:]
        elif raw.strip():
            yield heading, raw.strip()


def grouped_sections(path):
    groups = {}
    for heading, text in read_sections(path):
        groups.setdefault(heading, []).append(text)
    return groups.items()


HEADINGS = {f"{p} {k}" for p in ("unsafe", "benign") for k in ("vp", "gen", "text", "out")} | {
    "input vp", "input gen", "output vp", "output gen", "safe any",
    "refusal output", "threat suffix",
}
# In the files of other languages: `unsafe text S2`, `benign out PI`; without a label it is that of the file's name.
FOREIGN_HEADING = re.compile(r"(unsafe|benign) (text|out)(?: (S\d+|PI|JB|general))?")

IRREGULAR = {"die": "dying", "lie": "lying", "tie": "tying", "be": "being", "see": "seeing", "free": "freeing"}
DOUBLED = set(
    "rob get cut hit stab stop plan drug put set run kidnap rig dox strip ship sit shop trim plot hug grab skim spam "
    "beg bet drop scrap zip tap rip sip wrap step chat quit swap trap scan blog spot win begin let dig bug slip".split()
)


def gerund(vp):
    word, _, rest = vp.partition(" ")
    low = word.lower()
    if low in IRREGULAR:
        form = IRREGULAR[low]
    elif low in DOUBLED:
        form = low + low[-1] + "ing"
    elif low.endswith("e") and not low.endswith(("ee", "oe", "ye")):
        form = low[:-1] + "ing"
    else:
        form = low + "ing"
    return f"{form} {rest}".strip()


def scrambled(rng, text):
    """Unreadable text as the guard's decoding views may show it: harmless as it stands."""
    roll = rng.random()
    if roll < 0.2:
        return text[::-1]
    if roll < 0.4:
        return codecs.encode(text, "rot13")
    if roll < 0.55:
        return base64.b64encode(text.encode()).decode()
    if roll < 0.7:
        return text.encode().hex()
    if roll < 0.85:
        letters = "abcdefghijklmnopqrstuvwxyz"
        return " ".join("".join(rng.choice(letters) for _ in range(rng.randint(1, 9))) for _ in range(rng.randint(1, 14)))
    return " ".join(str(rng.randint(0, 99999)) for _ in range(rng.randint(1, 20)))


class Source:
    """All authored lines, grouped by split, category, polarity and kind."""

    def __init__(self):
        self.slots = {}
        for raw in (AUTHORED / "slots.txt").read_text(encoding="utf-8").splitlines():
            if raw.strip():
                name, values = raw.split(" = ", 1)
                self.slots[name.strip()] = values.split("|")
        self.framings = {}
        for path in sorted(AUTHORED.glob("framings*.txt")):
            for heading, texts in grouped_sections(path):
                for text, split in assign_splits(texts).items():
                    self.framings.setdefault((split, heading), []).append(text)
        self.lines = {}
        self.foreign = {}
        for path in sorted(AUTHORED.glob("*.txt")):
            stem = path.stem.split("_")[0]
            if stem in ("slots", "framings"):
                continue
            if LANGUAGE.fullmatch(stem):
                self.read_foreign(path, stem)
                continue
            cat = FILE_LABEL.get(stem, stem)
            for heading, texts in grouped_sections(path):
                polarity, kind = heading.split(" ")
                labels = [cat] if polarity == "unsafe" else []
                for text, split in splits_of(path, texts).items():
                    line = Line(text, labels, kind, split)
                    self.lines.setdefault((split, cat, polarity), []).append(line)

    def read_foreign(self, path, lang):
        """A file of another language, `es_S2.txt` or `es_hazards.txt`: complete texts, no framings and no slots."""
        for heading, texts in grouped_sections(path):
            match = FOREIGN_HEADING.fullmatch(heading or "")
            if not match:
                raise ValueError(f"{path.name}: a line before any heading, or a heading of English files: {heading}")
            polarity, kind, name = match.groups()
            name = name or path.stem.split("_")[1]
            cat = FILE_LABEL.get(name, name)
            if cat not in LABELS and (cat != "general" or polarity == "unsafe"):
                raise ValueError(f"{path.name}: no label: {heading}")
            labels = [cat] if polarity == "unsafe" else []
            for text, split in splits_of(path, texts, least_dev=1).items():
                if text.startswith("#"):
                    raise ValueError(f"{path.name}: unknown heading {text}")
                line = Line(text, labels, kind, split, lang)
                self.foreign.setdefault((split, lang, cat, polarity), []).append(line)

    def languages(self, split="train", polarity=None):
        """Those with lines in a split; small lists have none in dev."""
        return sorted({x for where, x, _, p in self.foreign if where == split and polarity in (None, p)})

    def draw_foreign(self, rng, split, lang, unsafe):
        """One example of another language as (text, labels, side)."""
        cat = rng.choices(LABELS, WEIGHTS)[0] if unsafe else rng.choice(LABELS)
        if not unsafe and rng.random() < 0.4:
            cat = "general"
        polarity = "unsafe" if unsafe else "benign"
        pool = self.foreign.get((split, lang, cat, polarity))
        if not pool:
            places = sorted(k for k in self.foreign if k[1] == lang and k[3] == polarity)
            pool = [x for k in places if k[0] == split for x in self.foreign[k]]
            # As in `pool`: harmless padding may come from training where a small split has none.
            pool = pool or [x for k in places if k[0] == "train" for x in self.foreign[k]]
        return self.render(rng, split, rng.choice(pool), polarity)

    def foreign_padded(self, rng, split, lang, text, low, high):
        """The text among harmless ones of its language, now and then an English one."""
        around = [
            self.draw_benign(rng, split)[0] if rng.random() < 0.15 else self.draw_foreign(rng, split, lang, False)[0]
            for _ in range(rng.randint(low, high))
        ]
        at = rng.randint(0, len(around))
        return rng.choice([" ", " ", "\n"]).join([*around[:at], text, *around[at:]])

    def foreign_example(self, rng, split, unsafe, lang=None):
        if lang is None:
            # Languages are drawn by the number of their unsafe lines: small lists would repeat themselves.
            names = self.languages(split, "unsafe" if unsafe else "benign")
            count = Counter(x for (_, x, _, p), v in self.foreign.items() if p == "unsafe" for _ in v)
            lang = rng.choices(names, [count[x] for x in names])[0]
        text, labels, side = self.draw_foreign(rng, split, lang, unsafe)
        roll = rng.random()
        if roll < 0.07:
            text = self.foreign_padded(rng, split, lang, text, 0, 6)
        elif roll < 0.17:
            text = self.foreign_padded(rng, split, lang, text, 1, 1)
        return {"text": text, "labels": sorted(set(labels), key=LABELS.index), "side": side, "lang": lang}

    def measure_foreign(self, split, seed, most=6):
        """The fixed set of a split in the other languages, made like that of `measure`."""
        rng = random.Random(f"{split}-{seed}-foreign")
        seen, out = set(), []
        for (where, lang, _, polarity), lines in sorted(self.foreign.items(), key=lambda x: x[0]):
            if where != split:
                continue
            for line in lines:
                for _ in range(most):
                    text, labels, side = self.render(rng, split, line, polarity)
                    roll = rng.random()
                    if roll < 0.06:
                        text = self.foreign_padded(rng, split, lang, text, 0, 6)
                    elif roll < 0.125:
                        text = self.foreign_padded(rng, split, lang, text, 1, 1)
                    if (text.lower(), side) not in seen:
                        seen.add((text.lower(), side))
                        labels = sorted(set(labels), key=LABELS.index)
                        out.append({"text": text, "labels": labels, "side": side, "lang": lang})
        return out

    def framing(self, rng, split, heading):
        return rng.choice(self.framings.get((split, heading)) or self.framings[("train", heading)])

    def frame(self, rng, split, heading, vp):
        frame = self.framing(rng, split, heading)
        if vp.endswith((".", "!", "?", ":")) and "{vp}" in frame:
            vp = vp[:-1]
        return (
            frame.replace("{vp}", vp)
            .replace("{Vp}", vp[:1].upper() + vp[1:])
            .replace("{ving}", gerund(vp))
        )

    def pool(self, split, cat, polarity):
        """The lines of a split, those of training where a small split has none (padding only)."""
        return self.lines.get((split, cat, polarity)) or self.lines[("train", cat, polarity)]

    def draw(self, rng, split, cat, polarity):
        """One example as (text, labels, side)."""
        return self.render(rng, split, rng.choice(self.pool(split, cat, polarity)), polarity)

    def render(self, rng, split, line, polarity):
        text = line.sample(rng, self.slots)
        if line.kind == "vp":
            roll = rng.random()
            if roll < 0.12:
                return text, line.labels, "input"
            if polarity == "unsafe" and roll < 0.2:
                text = f"{text} {self.framing(rng, split, 'threat suffix')}"
            if roll < 0.78:
                return self.frame(rng, split, "input vp", text), line.labels, "input"
            return self.frame(rng, split, "output vp", text), line.labels, "output"
        if line.kind == "gen":
            if rng.random() < 0.93:
                return self.frame(rng, split, "input gen", text), line.labels, "input"
            return self.frame(rng, split, "output gen", text), line.labels, "output"
        if line.kind == "out":
            return text, line.labels, "output"
        return text, line.labels, "input" if rng.random() < 0.75 else "output"

    def draw_unsafe(self, rng, split):
        return self.draw(rng, split, rng.choices(LABELS, WEIGHTS)[0], "unsafe")

    def draw_contrast(self, rng, split, cat):
        """A benign sentence about an unsafe intent: prevention, law, news, or a refusal."""
        lines = [x for x in self.pool(split, cat, "unsafe") if x.kind == "vp"]
        if not lines:
            return None
        return self.contrast(rng, split, rng.choice(lines))

    def contrast(self, rng, split, line):
        text = line.sample(rng, self.slots)
        roll = rng.random()
        if roll < 0.3:
            return self.frame(rng, split, "refusal output", text), [], "output"
        heading = "safe any"
        return self.frame(rng, split, heading, text), [], "input" if roll < 0.85 else "output"

    def draw_benign(self, rng, split):
        roll = rng.random()
        if roll < 0.38:
            return self.draw(rng, split, "general", "benign")
        if roll < 0.41:
            text, labels, side = self.draw(rng, split, "pad", "benign")
            return (scrambled(rng, text), labels, side) if rng.random() < 0.5 else (text, labels, side)
        cat = rng.choice(LABELS)
        if roll < 0.56:
            found = self.draw_contrast(rng, split, cat)
            if found:
                return found
        return self.draw(rng, split, cat, "benign")

    def padding(self, rng, split, low, high):
        count = rng.randint(low, high)
        out = []
        for _ in range(count):
            out.append(
                self.draw(rng, split, "pad", "benign")[0]
                if rng.random() < 0.5
                else self.draw_benign(rng, split)[0]
            )
        return out

    def measure(self, split, seed, most=6):
        """The fixed set of a split: up to `most` different renderings of each of its lines, one in eight padded."""
        rng = random.Random(f"{split}-{seed}")
        seen, out = set(), []

        def keep(text, labels, side):
            roll = rng.random()
            if roll < 0.06:
                before, after = self.padding(rng, split, 0, 4), self.padding(rng, split, 0, 4)
                text = " ".join([*before, text, *after])
            elif roll < 0.125:
                text = " ".join([*self.padding(rng, split, 1, 1), text])
            if (text.lower(), side) not in seen:
                seen.add((text.lower(), side))
                out.append({"text": text, "labels": sorted(set(labels), key=LABELS.index), "side": side, "lang": "en"})

        for (where, cat, polarity), lines in sorted(self.lines.items(), key=lambda x: x[0]):
            if where != split:
                continue
            for line in lines:
                for _ in range(most):
                    keep(*self.render(rng, split, line, polarity))
                if polarity == "unsafe" and line.kind == "vp":
                    for _ in range(2):
                        keep(*self.contrast(rng, split, line))
        return out

    def example(self, rng, split, unsafe):
        if unsafe:
            text, labels, side = self.draw_unsafe(rng, split)
        else:
            text, labels, side = self.draw_benign(rng, split)
        roll = rng.random()
        if roll < 0.07:
            before, after = self.padding(rng, split, 0, 5), self.padding(rng, split, 0, 4)
            text = rng.choice([" ", " ", "\n"]).join([*before, text, *after])
        elif roll < 0.17:
            other = self.padding(rng, split, 1, 1)
            text = " ".join([*other, text] if rng.random() < 0.6 else [text, *other])
        return {"text": text, "labels": sorted(set(labels), key=LABELS.index), "side": side, "lang": "en"}

    def build(self, split, count, seed, unsafe_share=0.45, foreign_share=0.0):
        rng = random.Random(f"{split}-{seed}")
        seen, out = set(), []
        tries = 0
        while len(out) < count and tries < count * 20:
            tries += 1
            unsafe = rng.random() < unsafe_share
            # No draw where the share is none: the English examples stay what they were.
            foreign = foreign_share > 0 and rng.random() < foreign_share
            item = self.foreign_example(rng, split, unsafe) if foreign else self.example(rng, split, unsafe)
            key = (item["text"].lower(), item["side"])
            if key not in seen:
                seen.add(key)
                out.append(item)
        return out


def write_jsonl(path, items):
    with path.open("w", encoding="utf-8") as f:
        for item in items:
            f.write(json.dumps(item, ensure_ascii=False) + "\n")


def read_jsonl(path):
    return [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines() if x.strip()]


def main():
    from patchwork import Patchwork
    from prose import Prose, measure

    source = Source()
    for split in ("dev", "test"):
        items = source.measure(split, 2)
        write_jsonl(ROOT / "data" / f"{split}.jsonl", items)
        print(split, len(items), sum(bool(x["labels"]) for x in items), "unsafe")
        items = source.measure_foreign(split, 2)
        write_jsonl(ROOT / "data" / f"{split}_languages.jsonl", items)
        print(split, "other languages", len(items), sum(bool(x["labels"]) for x in items), "unsafe")
        items = measure(Prose(source, split), 500, 2)
        write_jsonl(ROOT / "data" / f"{split}_long.jsonl", items)
        print(split, "long", len(items), sum(bool(x["labels"]) for x in items), "unsafe")
        items = measure(Patchwork(source, split), 600, 2)
        write_jsonl(ROOT / "data" / f"{split}_sewn.jsonl", items)
        print(split, "sewn", len(items), sum(bool(x["labels"]) for x in items), "unsafe")
    for polarity in ("unsafe", "benign"):
        for split in SPLITS:
            n = sum(len(v) for (s, _, p), v in source.lines.items() if s == split and p == polarity)
            print(polarity, split, n, "authored lines")
    for lang in source.languages():
        n = Counter(p for (_, x, _, p), v in source.foreign.items() if x == lang for _ in v)
        print(lang, n["unsafe"], "unsafe,", n["benign"], "benign authored lines")


if __name__ == "__main__":
    main()
