"""How the library reads a text: windows of its tokens, begun behind sentences where there are any."""

import re

WINDOW, STRIDE = 64, 40
# Tokens of the shortest paragraph that is read by itself.
PARAGRAPH = 8
# Tokens that end a sentence; white space is no token. The next window begins behind the last one that lies in the second
# half of the stride, so that a sentence is seldom read from its middle only.
SENTENCE_ENDS = [".", "!", "?", "。", "।", "？", "؟"]


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


def windows(tok, text, ends, size=WINDOW - 1, stride=STRIDE):
    """The windows of a text and its paragraphs, and whether each is one of several of its part."""
    out = {}
    for ids in parts(tok, text):
        found = positions(ids, ends, size, stride)
        for places in found:
            row = tuple(ids[p] for p in places)
            out[row] = out.get(row, True) and len(found) > 1
    return list(out.items())


def read(tok, items, ends):
    """Rows of ids of all windows, the side's marker in front, whose text each is of, and whether it is one of several."""
    marker = {side: tok.token_to_id(f"[{side.upper()}]") for side in ("input", "output")}
    rows, owner, several = [], [], []
    for i, item in enumerate(items):
        for ids, among in windows(tok, item["text"], ends):
            rows.append([marker[item["side"]], *ids])
            owner.append(i)
            several.append(among)
    return rows, owner, several
