"""Long texts: coherent harmless paragraphs, an unsafe text among some of them, and the windows such texts are read in."""

import random
import re

from data import LABELS
from windows import STRIDE, positions

# Characters from which a harmless text counts as a paragraph; Thai sets no spaces and needs fewer.
COHERENT, COHERENT_THAI = 150, 90
SENTENCE = re.compile(r"(?<=[.!?।。])\s+")
BREAKS = (" ", " ", "\n", "\n\n")


class Prose:
    """The harmless lines of a split from which paragraphs are made, by language."""

    def __init__(self, source, split):
        self.source, self.split = source, split
        self.paragraphs, self.sentences = {}, {}
        for (where, _, polarity), lines in sorted(source.lines.items()):
            if where == split and polarity == "benign":
                self.sort("en", lines)
        for (where, lang, _, polarity), lines in sorted(source.foreign.items()):
            if where == split and polarity == "benign":
                self.sort(lang, lines)

    def sort(self, lang, lines):
        least = COHERENT_THAI if lang == "th" else COHERENT
        for line in lines:
            if line.kind in ("text", "out"):
                long = len(line.sample(random.Random(0), self.source.slots)) >= least
                (self.paragraphs if long else self.sentences).setdefault(lang, []).append(line)

    def sample(self, rng, lines):
        return rng.choice(lines).sample(rng, self.source.slots)

    def paragraph(self, rng, lang):
        """Mostly one coherent text; else some sentences that have nothing to do with each other, or the ends of two texts."""
        if lang != "en" and rng.random() < 0.1:
            lang = "en"
        whole, parts = self.paragraphs.get(lang, []), self.sentences.get(lang, [])
        roll = rng.random()
        if whole and (roll < 0.7 or not parts):
            text = self.sample(rng, whole)
            if roll < 0.12:
                text = self.part(rng, text)
            elif roll < 0.22:
                text = f"{self.part(rng, text)} {self.part(rng, self.sample(rng, whole))}"
            return text
        if lang == "en" and roll < 0.85:
            return " ".join(self.source.draw_benign(rng, self.split)[0] for _ in range(rng.randint(1, 4)))
        return " ".join(self.sample(rng, parts or whole) for _ in range(rng.randint(2, 5)))

    def part(self, rng, text):
        """Some sentences in a row of a text."""
        found = SENTENCE.split(text)
        first = rng.randrange(len(found))
        return " ".join(found[first : first + rng.randint(1, len(found))])

    def around(self, rng, lang, most):
        return [self.paragraph(rng, lang) for _ in range(rng.randint(0, most))]

    def example(self, rng, unsafe, lang="en"):
        """A long text in three parts, the unsafe or harmless `core` in the middle; `text` is all of it."""
        source, split = self.source, self.split
        for _ in range(1 + 3 * (rng.random() < 0.5)):
            if lang != "en":
                core, labels, side = source.draw_foreign(rng, split, lang, unsafe)
            elif unsafe:
                core, labels, side = source.draw_unsafe(rng, split)
            else:
                core, labels, side = source.draw_benign(rng, split)
            if side == "output":
                break
        if not unsafe and rng.random() < 0.5:
            core, side = self.paragraph(rng, lang), rng.choice(("input", "output"))
        before, after = self.around(rng, lang, 4), self.around(rng, lang, 3)
        while sum(map(len, [*before, core, *after])) < (220 if lang in ("th", "zh", "ja") else 420):
            (before if rng.random() < 0.6 else after).append(self.paragraph(rng, lang))
        mark = rng.choice(BREAKS)
        if before and rng.random() < 0.25:
            # In the middle of a paragraph, at the end of a sentence.
            found = SENTENCE.split(before[-1])
            cut = rng.randint(1, len(found))
            before[-1], rest = " ".join(found[:cut]), " ".join(found[cut:])
            after = [rest, *after] if rest else after
        before, after = mark.join(before), mark.join(after)
        text = mark.join(x for x in (before, core, after) if x)
        labels = sorted(set(labels), key=LABELS.index)
        return {"text": text, "parts": (before, core, after), "labels": labels, "side": side, "lang": lang}

    def languages(self):
        """Languages but English, and how many harmless lines each has."""
        names = sorted({*self.paragraphs, *self.sentences} - {"en"})
        return {x: len(self.paragraphs.get(x, ())) + len(self.sentences.get(x, ())) for x in names}

    def build(self, count, seed, unsafe_share=0.55, foreign_share=0.3):
        rng = random.Random(f"{self.split}-{seed}-prose")
        names = self.languages()
        out = []
        for _ in range(count):
            lang = rng.choices([*names], [*names.values()])[0] if rng.random() < foreign_share else "en"
            out.append(self.example(rng, rng.random() < unsafe_share, lang))
        return out


def measure(maker, count, seed):
    """A fixed set of what a `Prose` or a `Patchwork` makes, half of it unsafe or nearly so, a quarter of it in other languages."""
    items = maker.build(count, seed, foreign_share=0.25)
    return [{k: v for k, v in x.items() if k != "parts"} for x in items]


def windows_of(parts, ends, rng, unsafe):
    """Windows of a text in three token lists, each with whether it is unsafe: [(ids, unsafe)]. Those that hold a piece of the
    unsafe part too small to judge are left out. Reading begins anywhere in the first tokens."""
    before, core, after = parts
    before = before[rng.randint(0, min(len(before), STRIDE)) :] if rng.random() < 0.7 else before
    ids = [*before, *core, *after]
    first, last = len(before), len(before) + len(core)
    # Of a text longer than a window some sentences are enough.
    enough = 0.7 * len(core) if len(core) < 60 else 24
    out = []
    for places in positions(ids, ends):
        held = sum(first <= p < last for p in places)
        if not unsafe or held == 0 or held >= enough:
            out.append(([ids[p] for p in places], unsafe and held > 0))
    return out
