"""How the library reads a text: windows of its tokens, begun behind sentences where there are any."""

import re

WINDOW, STRIDE = 64, 40
# Tokens of the shortest paragraph that is read by itself.
PARAGRAPH = 8
# Tokens that end a sentence; white space is no token. The next window begins behind the last one that lies in the second
# half of the stride, so that a sentence is seldom read from its middle only.
SENTENCE_ENDS = [".", "!", "?", "。", "।", "？", "؟"]
# Tokens of the shortest sentence that is read by itself; shorter ones go with the one behind them.
SENTENCE = 6
# How a window came about: it is all of its text or paragraph, one of several, or one sentence of several.
WHOLE, SEVERAL, ALONE = range(3)


def ends_of(tok):
    return frozenset(tok.token_to_id(x) for x in SENTENCE_ENDS)


def positions(ids, ends=frozenset(), size=WINDOW - 1, stride=STRIDE):
    """The windows of `ids` as lists of places; head and tail are joined in one more where there are several."""
    starts = [0]
    while starts[-1] + size < len(ids):
        at = starts[-1]
        behind = (k for k in range(stride, stride // 2 - 1, -1) if ids[at + k - 1] in ends)
        starts.append(at + next(behind, stride))
    out = [list(range(s, min(s + size, len(ids)))) for s in starts]
    if len(out) > 1:
        half = size // 2
        out.append([*range(half), *range(len(ids) - (size - half), len(ids))])
    return out


def parts(tok, text):
    """The ids of a text and, where it has several paragraphs, of each of them that is no heading."""
    whole = tok.encode(text, add_special_tokens=False).ids
    found = [x for x in re.split(r"\n[^\S\n]*(?:\n|$)", text) if x.strip()]
    if len(whole) <= PARAGRAPH or len(found) < 2:
        return [whole]
    own = (tok.encode(x, add_special_tokens=False).ids for x in found)
    return [*(ids for ids in own if len(ids) >= PARAGRAPH), whole]


def sentences(ids, ends, size=WINDOW - 1, least=SENTENCE):
    """The sentences of `ids` that a window can hold, each with the shorter ones behind it; none where there is but one."""
    out, start = [], 0
    for at, token in enumerate(ids):
        held, rest = at + 1 - start, len(ids) - at - 1
        if rest == 0 or (held >= least and rest >= least and token in ends):
            out.append(ids[start : at + 1])
            start = at + 1
    return [x for x in out if len(x) <= size] if len(out) > 1 else []


def windows(tok, text, ends, size=WINDOW - 1, stride=STRIDE, least=SENTENCE):
    """The windows of a text and its paragraphs and its sentences, and how each came about; where in several ways, the one whose
    logits are lowered least."""
    out = {}

    def put(ids, kind):
        known = out.get(tuple(ids), kind)
        out[tuple(ids)] = WHOLE if WHOLE in (known, kind) else max(known, kind)

    for ids in parts(tok, text):
        found = positions(ids, ends, size, stride)
        for places in found:
            put([ids[p] for p in places], SEVERAL if len(found) > 1 else WHOLE)
    # The last part is all of the text.
    for row in sentences(ids, ends, size, least) if least else ():
        put(row, ALONE)
    return list(out.items())


def read(tok, items, ends):
    """Rows of ids of all windows, the side's marker in front, whose text each is of, and how it came about."""
    marker = {side: tok.token_to_id(f"[{side.upper()}]") for side in ("input", "output")}
    rows, owner, kinds = [], [], []
    for i, item in enumerate(items):
        for ids, kind in windows(tok, item["text"], ends):
            rows.append([marker[item["side"]], *ids])
            owner.append(i)
            kinds.append(kind)
    return rows, owner, kinds
