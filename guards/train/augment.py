"""What happens to a composed text before the encoder sees it: typing errors, lost punctuation, foreign words, residues."""

import re

LOOKALIKE = {"a": "@4", "e": "3", "i": "1!", "o": "0", "s": "$5", "t": "7"}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def typo(word, rng):
    i = rng.randrange(len(word))
    roll = rng.random()
    if roll < 0.25:
        return word[:i] + word[i + 1 :]
    if roll < 0.5 and i + 1 < len(word):
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if roll < 0.65:
        return word[:i] + word[i] + word[i:]
    if roll < 0.8:
        return rng.choice(LETTERS) + word
    if roll < 0.9 and word[i].lower() in LOOKALIKE:
        return word[:i] + rng.choice(LOOKALIKE[word[i].lower()]) + word[i + 1 :]
    return word[:i] + rng.choice(LETTERS) + word[i + 1 :]


def noisy(text, rng):
    """Typing errors in two texts of five."""
    roll = rng.random()
    if roll < 0.6:
        return text
    rate = 0.03 if roll < 0.85 else 0.1
    words = [typo(w, rng) if len(w) > 3 and rng.random() < rate else w for w in text.split(" ")]
    if roll > 0.93:
        words = [w.strip(".,?!:;¿¡") for w in words]
    return " ".join(words)


def mixed(text, rng, lexicon):
    """A text in which some words were replaced by a translation: {english: [[words of one language], …]}."""
    rate = rng.choice((0.3, 0.6, 0.9))
    lang = rng.randrange(7)

    def swap(match):
        found = lexicon.get(match.group(0).lower())
        if not found or rng.random() > rate:
            return match.group(0)
        return rng.choice(found[lang % len(found)])

    return re.sub(r"[A-Za-z]+", swap, text)


def spread_residue(text, rng):
    """Marks and stray letters between words, as they remain when a disguise was undone in part."""
    marks = rng.choice(("*", "_", "|", "~", "-", ".", "\u00b7", "#"))
    return "".join(c + marks if c == " " and rng.random() < 0.4 else c for c in text)


def torn(text, rng, harmless):
    """A text whose start or end is missing, as units of a stream and windows show it. An unsafe one loses little."""
    words = text.split(" ")
    if len(words) < 9:
        return text
    most = len(words) // 2 if harmless else max(1, len(words) // 8)
    cut = rng.randint(1, most)
    return " ".join(words[cut:] if rng.random() < 0.5 else words[:-cut])


def padded(text, rng, calm):
    """The text among harmless ones, as in a long message or several joined ones."""
    before, after = rng.choices(calm, k=rng.randint(0, 5)), rng.choices(calm, k=rng.randint(0, 5))
    return rng.choice((" ", " ", "\n")).join([*before, text, *after])


def augmented(item, rng, lexicon, calm):
    """One example's text as training shows it; `calm` holds short harmless texts by language."""
    text, lang = item["text"], item.get("lang", "en")
    if rng.random() < 0.25 and calm.get(lang):
        text = padded(text, rng, calm[lang])
    if rng.random() < 0.08:
        text = torn(text, rng, not item["labels"])
    if lexicon and lang == "en" and rng.random() < 0.12:
        text = mixed(text, rng, lexicon)
    text = noisy(text, rng)
    if rng.random() < 0.02:
        text = spread_residue(text, rng)
    return text
