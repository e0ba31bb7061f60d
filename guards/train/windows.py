"""How the library reads a text: windows of its tokens, two sentences each where sentences end."""

WINDOW, STRIDE = 64, 40
# Tokens that end a sentence; white space is no token.
SENTENCE_ENDS = [".", "!", "?", "。", "।", "？", "؟"]
# Tokens of the least window that ends with a sentence, and of the least way to the next one.
LEAST, LEAST_STEP = 24, 12


def ends_of(tok):
    return frozenset(tok.token_to_id(x) for x in SENTENCE_ENDS)


def positions(ids, ends=frozenset(), size=WINDOW - 1, stride=STRIDE):
    """The windows of `ids` as lists of places. A text of several is read by pairs of sentences, each of which shares one with
    the next pair, in strides where no sentence ends; head and tail are joined in one more."""
    n = len(ids)
    if n <= size:
        return [list(range(n))]
    out, start = [], 0
    while True:
        most = min(size, n - start)
        behind = [k for k in range(1, most + 1) if ids[start + k - 1] in ends and (start + k >= n or ids[start + k] not in ends)]
        end = next((k for k in behind[1:] if k >= LEAST), most)
        out.append(list(range(start, start + end)))
        if start + end == n:
            break
        inner = [k for k in behind if k < end]
        start += next((k for k in inner if k >= LEAST_STEP), inner[-1] if inner else min(stride, end))
    half = size // 2
    out.append([*range(half), *range(n - (size - half), n)])
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
