"""Short texts sewn together of sentences that have nothing to do with each other, an unsafe one among some, and one window of each."""

import random

from data import LABELS
from prose import SENTENCE, Prose
from windows import WINDOW

SIZE = WINDOW - 1
# Characters a sentence may have that is put around another.
SHORT = 140
JOINTS = (" ", " ", " ", " ", "\n", "  ")


class Patchwork:
    """Cores with one to four harmless sentences before, behind or around them. Harmless cores are of the same make-up, so that
    company says nothing and the one sentence everything."""

    def __init__(self, source, split):
        self.source, self.split = source, split
        self.prose = Prose(source, split)

    def sentence(self, rng, lang="en"):
        """One short harmless sentence, now and then one about something unsafe."""
        for _ in range(8):
            text = self.harmless(rng, lang)
            if len(text) > SHORT:
                text = rng.choice(SENTENCE.split(text))
            if 8 <= len(text) <= SHORT:
                return text
        return text[:SHORT]

    def harmless(self, rng, lang):
        source, split, roll = self.source, self.split, rng.random()
        if lang != "en" and rng.random() > 0.1:
            lines = self.prose.sentences.get(lang) or self.prose.paragraphs.get(lang)
            if lines and roll < 0.75:
                return self.prose.sample(rng, lines)
            return source.draw_foreign(rng, split, lang, False)[0]
        if roll < 0.3:
            return source.draw(rng, split, "pad", "benign")[0]
        if roll < 0.6:
            return source.draw(rng, split, "general", "benign")[0]
        if roll < 0.72:
            found = source.draw_contrast(rng, split, rng.choice(LABELS))
            return found[0] if found else source.draw_benign(rng, split)[0]
        if roll < 0.85 and self.prose.paragraphs.get("en"):
            return self.prose.sample(rng, self.prose.paragraphs["en"])
        return source.draw_benign(rng, split)[0]

    def some(self, rng, lang, most=3):
        return [self.sentence(rng, lang) for _ in range(rng.choice((1, 1, 2, 2, most, most + 1)))]

    def core(self, rng, unsafe, lang):
        source, split = self.source, self.split
        for _ in range(1 + 2 * (rng.random() < 0.3)):
            if lang != "en":
                found = source.draw_foreign(rng, split, lang, unsafe)
            else:
                found = source.draw_unsafe(rng, split) if unsafe else source.draw_benign(rng, split)
            if found[2] == "output":
                break
        return found

    def example(self, rng, unsafe, lang="en"):
        """A text in three parts as those of `Prose`."""
        if not unsafe and rng.random() < 0.25:
            # A sentence or two of a coherent text, read by themselves.
            found = SENTENCE.split(self.prose.paragraph(rng, lang))
            at, side = rng.randrange(len(found)), rng.choice(("input", "output"))
            core = " ".join(found[at : at + rng.choice((1, 1, 2))])
            return {"text": core, "parts": ("", core, ""), "labels": [], "side": side, "lang": lang}
        core, labels, side = self.core(rng, unsafe, lang)
        roll = rng.random()
        before = self.some(rng, lang) if roll < 0.72 else []
        after = self.some(rng, lang) if not 0.27 <= roll < 0.72 else []
        mark = rng.choice(JOINTS)
        before, after = mark.join(before), mark.join(after)
        text = mark.join(x for x in (before, core, after) if x)
        labels = sorted(set(labels), key=LABELS.index)
        return {"text": text, "parts": (before, core, after), "labels": labels, "side": side, "lang": lang}

    def build(self, count, seed, unsafe_share=0.45, foreign_share=0.3):
        rng = random.Random(f"{self.split}-{seed}-patchwork")
        names = self.prose.languages()
        out = []
        for _ in range(count):
            lang = rng.choices([*names], [*names.values()])[0] if rng.random() < foreign_share else "en"
            out.append(self.example(rng, rng.random() < unsafe_share, lang))
        return out


def window_of(parts, ends, rng):
    """One window of a text in three token lists that shows all of the middle one, or as much of it as goes into a window."""
    before, core, after = parts
    ids = [*before, *core, *after]
    if len(ids) <= SIZE:
        return ids
    if len(core) >= SIZE:
        return core[:SIZE]
    low, high = max(0, len(before) + len(core) - SIZE), min(len(before), len(ids) - SIZE)
    starts = [k for k in range(low, high + 1) if k == 0 or ids[k - 1] in ends] if rng.random() < 0.7 else []
    start = rng.choice(starts) if starts else rng.randint(min(low, high), high)
    return ids[start : start + SIZE]
