"""Disguises and framings of the threats T1 to T15, as seeded transformations of JSON-lines cases.

python guards/attacks/attacks.py --list
python guards/attacks/attacks.py --apply zero_width < guards/eval/cases/unsafe.jsonl
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import random
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from disguises import DISGUISES  # noqa: E402
from framings import FRAMINGS, HARMLESS, PROMISED, PROMISED_NAMES  # noqa: E402

SEED = 20


@dataclasses.dataclass(frozen=True)
class Attack:
    name: str
    family: str  # plain, disguise, framing or stacked
    threat: str  # T1 to T15
    recoverable: bool  # a reader or a decoder sees through it
    promised: bool  # guards/README.md says that the guard does
    sides: str  # "i", "o" or "io"
    change: Callable

    @property
    def harmless(self):
        """Whether honest people write so too."""
        return self.name in HARMLESS

    def fits(self, case):
        return case["side"][0] in self.sides

    def apply(self, case):
        """The case as the attack writes it. The same case, attack and seed give the same text on every machine."""
        digest = hashlib.sha256(f"{SEED}\0{self.name}\0{case['text']}".encode()).digest()
        made = self.change(case["text"], random.Random(int.from_bytes(digest[:8], "big")))
        text, recent = made if isinstance(made, tuple) else (made, [])
        out = {**case, "text": text, "attack": self.name}
        return {**out, "recent": recent} if recent else out


def step(name):
    """The transformation behind a name, for stacks."""
    return DISGUISES[name][3] if name in DISGUISES else FRAMINGS[name][2]


def stack(*names):
    def change(text, rng):
        for name in names:
            text = step(name)(text, rng)
        return text

    return change


# One disguise on the other, the inner first. The flags say what the sum of both is.
STACKED = {
    "homoglyph+zero_width": (True, True),
    "fullwidth+soft_hyphen": (True, True),
    "math_alphanumerics+combining": (True, True),
    "leet+spaced": (True, True),
    "leet+homoglyph": (True, True),
    "accents+dotted": (True, True),
    "small_capitals+bidi_marks": (True, True),
    "token_break+homoglyph": (True, False),
    "reversed+base64": (True, True),
    "zero_width+base64": (True, True),
    "rot13+fullwidth": (True, True),
    "fiction+leet": (True, False),
    "fiction+zero_width": (True, False),
    "role_play+base64": (True, False),
    "homoglyph+pad_around": (True, True),
    "spaced+pad_short": (True, True),
    "base64+pad_short": (True, True),
    "research+translation": (True, False),
    "emotion+prefix_injection": (True, False),
    "fiction+forged_tokens": (True, False),
}


def every_attack():
    found = [Attack("plain", "plain", "-", True, True, "io", lambda t, r: t)]
    found += [Attack(n, "disguise", t, rec, pro, "io", f) for n, (t, rec, pro, f) in DISGUISES.items()]
    kept = {n for n, (t, *_) in FRAMINGS.items() if t in PROMISED or n in PROMISED_NAMES}
    found += [Attack(n, "framing", t, True, n in kept, sides, f) for n, (t, sides, f) in FRAMINGS.items()]
    found += [Attack(n, "stacked", "T4+", rec, pro, "i", stack(*n.split("+"))) for n, (rec, pro) in STACKED.items()]
    return {a.name: a for a in found}


ATTACKS = every_attack()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--list", action="store_true", help="name, family, threat, recoverable, promised, sides")
    ap.add_argument("--apply", metavar="NAME", choices=ATTACKS, help="disguise the cases of standard input")
    args = ap.parse_args()
    if args.list or not args.apply:
        for a in ATTACKS.values():
            print(f"{a.name}\t{a.family}\t{a.threat}\trecoverable={a.recoverable}\tpromised={a.promised}\t{a.sides}")
        return
    for line in sys.stdin:
        if line.strip() and ATTACKS[args.apply].fits(case := json.loads(line)):
            print(json.dumps(ATTACKS[args.apply].apply(case), ensure_ascii=False))


if __name__ == "__main__":
    main()
