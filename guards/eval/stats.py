"""Rates with their intervals, and curves over all thresholds."""

import math


def wilson(k, n, z=1.96):
    """The 95 % interval of k of n; for none (or all) of n the rule of three."""
    if n == 0:
        return 0.0, 1.0
    if k == 0:
        return 0.0, min(1.0, 3 / n)
    if k == n:
        return max(0.0, 1 - 3 / n), 1.0
    p, d = k / n, 1 + z * z / n
    mid, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (mid - half) / d), min(1.0, (mid + half) / d)


def rate(k, n):
    low, high = wilson(k, n)
    return {"k": k, "n": n, "rate": k / n if n else None, "low": low, "high": high}


def auprc(unsafe, benign):
    """Area under precision over recall (average precision); equal scores are one step."""
    marked = sorted([(s, 1) for s in unsafe] + [(s, 0) for s in benign], reverse=True)
    area, hits, at = 0.0, 0, 0
    while at < len(marked):
        to = at
        while to < len(marked) and marked[to][0] == marked[at][0]:
            to += 1
        new = sum(m for _, m in marked[at:to])
        hits += new
        area += new / max(1, len(unsafe)) * hits / to
        at = to
    return area


def recall_at(unsafe, benign, fpr):
    """The highest recall of any threshold that lets at most `fpr` of the benign texts be blocked, and that threshold."""
    allowed = math.floor(fpr * len(benign) + 1e-9)
    best = sorted(benign, reverse=True)
    cut = best[allowed] if allowed < len(best) else -1.0
    return sum(s > cut for s in unsafe) / max(1, len(unsafe)), cut


def roc(unsafe, benign):
    """(false-positive rate, recall) at every threshold, from the strictest score down."""
    points = [(0.0, 0.0)]
    for cut in sorted({*unsafe, *benign}, reverse=True):
        false = sum(s >= cut for s in benign) / max(1, len(benign))
        points.append((false, sum(s >= cut for s in unsafe) / max(1, len(unsafe))))
    return points


def thinned(points, step=0.004):
    """A curve without the points that cannot be seen."""
    kept = points[:1]
    for x, y in points[1:-1]:
        if abs(x - kept[-1][0]) > step or abs(y - kept[-1][1]) > step:
            kept.append((x, y))
    return kept + points[-1:]


def percentile(values, share):
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def mcnemar(only_first, only_second):
    """The exact two-sided p of McNemar's test: cases that only one of two guards gets right."""
    n, k = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, i) for i in range(k + 1))
    return min(1.0, 2 * tail / 2**n)
