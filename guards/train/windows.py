"""How the library reads a text: windows of its tokens, begun behind sentences where there are any."""

WINDOW, STRIDE = 64, 40
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


def read(tok, items, ends):
    """Rows of ids of all windows, the side's marker in front, and whose text each is of."""
    marker = {side: tok.token_to_id(f"[{side.upper()}]") for side in ("input", "output")}
    rows, owner = [], []
    for i, (item, enc) in enumerate(zip(items, tok.encode_batch([x["text"] for x in items], add_special_tokens=False))):
        for places in positions(enc.ids, ends):
            rows.append([marker[item["side"]], *(enc.ids[p] for p in places)])
            owner.append(i)
    return rows, owner
