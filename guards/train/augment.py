"""What happens to a composed text before the encoder sees it: typing errors, lost punctuation, foreign words, residues."""

import re

LOOKALIKE = {"a": "@4", "e": "3", "i": "1!", "o": "0", "s": "$5", "t": "7"}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOWELS = "aeiou"


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


def split_word(word, rng):
    """A word torn by a space or two."""
    i = rng.randrange(1, len(word))
    if len(word) > 6 and rng.random() < 0.3:
        i, k = sorted(rng.sample(range(1, len(word)), 2))
        return f"{word[:i]} {word[i:k]} {word[k:]}"
    return f"{word[:i]} {word[i:]}"


def stretched(word, rng):
    places = [i for i, c in enumerate(word) if c.lower() in VOWELS] or [len(word) - 1]
    i = rng.choice(places)
    return word[:i] + word[i] * rng.randint(2, 5) + word[i + 1 :]


def starred(word, rng):
    """Vowels hidden by a mark: some of them, or all."""
    mark, rate = rng.choice("***#-_.x"), rng.choice((0.4, 0.7, 1.0))
    return word[:1] + "".join(mark if c.lower() in VOWELS and rng.random() < rate else c for c in word[1:])


def glued(text, rate, rng):
    return "".join("" if c == " " and rng.random() < rate else c for c in text)


def by_word(change, least, rate):
    """A noise that meets words of `least` letters or more, each with the chance `rate`."""

    def noise(text, rng):
        return " ".join(change(w, rng) if len(w) >= least and rng.random() < rate else w for w in text.split(" "))

    return noise


def bare(text, rng):
    return " ".join(w.strip(".,?!:;¿¡") for w in by_word(typo, 4, 0.1)(text, rng).split(" "))


def noise(rng):
    """One kind of noise, for all parts of a text; harmless and unsafe texts get the same, so noise says nothing."""
    roll = rng.random()
    if roll < 0.54:
        return None
    if roll < 0.7:
        return by_word(typo, 4, 0.03)
    if roll < 0.77:
        return by_word(typo, 4, 0.1)
    if roll < 0.81:
        return bare
    if roll < 0.87:
        return by_word(typo, 4, rng.uniform(0.15, 0.4))
    if roll < 0.91:
        return by_word(split_word, rng.choice((2, 4)), rng.uniform(0.2, 0.8))
    if roll < 0.925:
        rate = rng.uniform(0.1, 0.9)
        return lambda text, rng: glued(text, rate, rng)
    if roll < 0.95:
        return by_word(stretched, 3, rng.uniform(0.2, 0.8))
    if roll < 0.98:
        return by_word(starred, 3, rng.uniform(0.2, 1.0))
    return spread_residue


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
    if rng.random() < 0.2 and calm.get(lang):
        text = padded(text, rng, calm[lang])
    if rng.random() < 0.08:
        text = torn(text, rng, not item["labels"])
    if lexicon and lang == "en" and rng.random() < 0.12:
        text = mixed(text, rng, lexicon)
    change = noise(rng)
    return change(text, rng) if change else text


def augmented_parts(item, rng, lexicon):
    """The same for a long text in parts, one noise for all of them."""
    parts = list(item["parts"])
    if lexicon and item["lang"] == "en" and rng.random() < 0.06:
        parts = [mixed(x, rng, lexicon) for x in parts]
    change = noise(rng)
    return [change(x, rng) if change else x for x in parts]
