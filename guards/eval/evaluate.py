"""Runs a built `palisade` over the cases and attacks; writes results.json, plots/ and ../REPORT.md.

python guards/eval/evaluate.py target/release/palisade               everything
python guards/eval/evaluate.py target/release/palisade --quick       a fifth of it, in under a minute; nothing is written
python guards/eval/evaluate.py target/release/palisade --failures    what is wrong, case by case, to standard error
"""

import argparse
import collections
import hashlib
import json
import pathlib
import sys

import report
import runner
import stats
import streams

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "attacks"))

from attacks import ATTACKS  # noqa: E402

KIOSK_POLICY = HERE.parent / "policies" / "kiosk.toml"
# The attacks tried in every language: those that do not depend on Latin letters.
LANGUAGE_ATTACKS = (
    "zero_width",
    "soft_hyphen",
    "base64",
    "url",
    "html_entities",
    "spaced",
    "reversed",
    "pad_around",
    "fiction",
)
# So many benign texts are disguised too, to see whether a disguise alone is taken for an attack.
DISGUISED_BENIGN = 120


def read(name, every):
    with open(HERE / "cases" / f"{name}.jsonl", encoding="utf-8") as file:
        cases = [{**json.loads(line), "case": f"{name}:{i + 1}"} for i, line in enumerate(file)]
    return cases[::every]


class Evaluation:
    def __init__(self, guard, quick, step, stream_step=1):
        self.guard, self.quick = guard, quick
        # Every so many-th unsafe case is attacked; 47 is prime, so that a quick run meets all categories.
        self.step = 47 if quick else step
        self.every = 5 if quick else 1
        self.stream_step = stream_step
        self.failed, self.errors, self.judged = [], 0, 0
        self.verdicts = {}
        self.latency = collections.defaultdict(list)

    def ask(self, cases, **options):
        verdicts = self.guard.judge(cases, **options)
        self.note(cases, verdicts)
        return verdicts

    def note(self, cases, verdicts):
        for case, verdict in zip(cases, verdicts):
            self.judged += 1
            if "error" in verdict:
                self.errors += 1
                self.fail("guard failure", case, verdict)
            if "ms" in verdict:
                size = len(case["text"])
                bucket = "up to 200 characters" if size <= 200 else "up to 1,000" if size <= 1000 else "longer"
                self.latency[f"{case['side']}, {bucket}"].append(verdict["ms"])

    def fail(self, kind, case, verdict):
        self.failed.append({**case, "kind": kind, "verdict": verdict})

    def judge_set(self, name):
        """Cases with their verdicts; misses and false alarms are noted."""
        cases = read(name, self.every)
        pairs = list(zip(cases, self.ask(cases)))
        for case, verdict in pairs:
            if case["labels"] and not runner.caught(case, verdict):
                self.fail("miss", case, verdict)
            if not case["labels"] and runner.blocked(verdict):
                self.fail("false alarm", case, verdict)
            right = runner.caught(case, verdict) if case["labels"] else not runner.blocked(verdict)
            self.verdicts[case["case"]] = right
        return pairs

    def plain(self):
        unsafe, benign = self.judge_set("unsafe"), self.judge_set("benign")
        kiosk, languages = self.judge_set("kiosk"), self.judge_set("multilingual")
        sides = {"both": ("input", "output"), "input": ("input",), "output": ("output",)}
        english = {n: figures([p for p in unsafe + benign if p[0]["side"] in s]) for n, s in sides.items()}
        english["roc"] = stats.thinned(stats.roc(scores(unsafe), scores(benign)))
        strict = self.ask([c for c, _ in kiosk], policy=KIOSK_POLICY)
        strict = list(zip((c for c, _ in kiosk), strict))
        return {
            "english": english,
            "categories": {k: category(k, v) for k, v in grouped(unsafe, lambda c: c["labels"][0]).items()},
            "benign": {k: false(v) for k, v in grouped(benign, lambda c: c["source"].split(":")[1]).items()},
            "alarms": dict(
                collections.Counter(v.get("category") or v.get("stage") for _, v in benign if runner.blocked(v))
            ),
            "kiosk": {"default": kiosk_rows(kiosk), "kiosk.toml": kiosk_rows(strict)},
            "languages": {k: figures(v) for k, v in grouped(languages, lambda c: c["lang"]).items()},
            "all_languages": figures(languages),
        }

    def attacked(self):
        """Every attack on English unsafe cases; the benign ones tell what the disguise alone does."""
        unsafe, benign = read("unsafe", self.step), read("benign", 97 if self.quick else 5)
        before = {c["text"]: runner.caught(c, v) for c, v in zip(unsafe, self.guard.judge(unsafe))}
        calm = {c["text"] for c, v in zip(benign, self.guard.judge(benign)) if not runner.blocked(v)}
        benign = [c for c in benign if c["text"] in calm][:DISGUISED_BENIGN]
        hostile = self.disguised([c for c in unsafe if not flagged_only(c)])
        innocent = self.disguised(benign)
        rows, by_category = [], collections.defaultdict(lambda: [0, 0])
        for name, attack in ATTACKS.items():
            passed = [(c, made, not runner.caught(made, v), v) for c, made, v in hostile[name]]
            for case, made, through, verdict in passed:
                by_category[case["labels"][0]][0] += through
                by_category[case["labels"][0]][1] += 1
                if through and name != "plain":
                    self.fail(f"attack {name}", made, verdict)
            seen = [through for c, _, through, _ in passed if before[c["text"]]]
            alarms = sum(runner.blocked(v) for _, _, v in innocent[name])
            row = {
                key: getattr(attack, key) for key in ("name", "family", "threat", "recoverable", "promised", "harmless")
            }
            times = [v["ms"] for *_, v in passed if "ms" in v]
            row |= {
                "success": stats.rate(sum(p[2] for p in passed), len(passed)),
                "evasion": stats.rate(sum(seen), len(seen)),
            }
            row |= {"benign_blocked": stats.rate(alarms, len(innocent[name])), "p95_ms": stats.percentile(times, 0.95)}
            rows.append(row)
        return {"attacks": rows, "attack_categories": {k: stats.rate(*v) for k, v in by_category.items()}}

    def disguised(self, cases):
        """attack: [(case, the case in disguise, verdict)]. All in one run, because a guard takes time to open."""
        pairs = [(name, case) for name, attack in ATTACKS.items() for case in cases if attack.fits(case)]
        made = [ATTACKS[name].apply(case) for name, case in pairs]
        verdicts = self.guard.turns(made)
        self.note(made, verdicts)
        out = collections.defaultdict(list)
        for (name, case), text, verdict in zip(pairs, made, verdicts):
            out[name].append((case, text, verdict))
        return out

    def attacked_languages(self):
        cases = [c for c in read("multilingual", self.every) if c["labels"]]
        out = collections.defaultdict(dict)
        for name in ("plain", *LANGUAGE_ATTACKS):
            chosen = [ATTACKS[name].apply(c) for c in cases if ATTACKS[name].fits(c) and not flagged_only(c)]
            pairs = list(zip(chosen, self.ask(chosen)))
            for lang, group in grouped(pairs, lambda c: c["lang"]).items():
                out[lang][name] = stats.rate(sum(not runner.caught(c, v) for c, v in group), len(group))
        return {"attack_languages": out}

    def streamed(self):
        every = [c for c in read("unsafe", self.every * self.stream_step) if c["side"] == "output"]
        if not self.quick:
            every += [c for c in read("multilingual", self.stream_step) if c["side"] == "output" and c["labels"]]
        benign = [c for c in read("benign", self.every * self.stream_step) if c["side"] == "output"]
        rows, failures = streams.evaluate(
            self.guard, every, benign, ("alone", "amid paragraphs") if self.quick else tuple(streams.SHAPES)
        )
        self.failed += failures
        self.errors += sum(r["failures"] for r in rows)
        return {"streams": rows}

    def results(self):
        found = {"quick": self.quick, "attack_step": self.step, "stream_step": self.stream_step, "guard": fingerprint(self.guard)}
        for part in (self.plain, self.attacked, self.attacked_languages, self.streamed):
            print(f"{part.__name__} …", file=sys.stderr, flush=True)
            found |= part()
        found["groups"] = groups(found["attacks"])
        times = {
            k: {"n": len(v), "p50_ms": stats.percentile(v, 0.5), "p95_ms": stats.percentile(v, 0.95)}
            for k, v in self.latency.items()
        }
        found |= {"latency": dict(sorted(times.items())), "judged": self.judged, "failures": self.errors}
        found["targets"] = report.targets(found)
        return found


def grouped(pairs, key):
    out = collections.defaultdict(list)
    for case, verdict in pairs:
        out[key(case)].append((case, verdict))
    return dict(sorted(out.items()))


def scores(pairs):
    return [runner.score(v) for _, v in pairs]


def flagged_only(case):
    return any((label, case["side"]) in runner.FLAGGED_ONLY for label in case["labels"])


def false(pairs):
    return stats.rate(sum(runner.blocked(v) for _, v in pairs), len(pairs))


def figures(pairs):
    unsafe = [p for p in pairs if p[0]["labels"]]
    benign = [p for p in pairs if not p[0]["labels"]]
    hits, alarms = sum(runner.caught(*p) for p in unsafe), sum(runner.blocked(v) for _, v in benign)
    # What the policy only flags has no place on a curve of blocking.
    high, low = scores([p for p in unsafe if not flagged_only(p[0])]), scores(benign)
    best, cut = stats.recall_at(high, low, 0.01)
    return {
        "recall": stats.rate(hits, len(unsafe)),
        "fpr": stats.rate(alarms, len(benign)),
        "f1": 2 * hits / max(1, len(unsafe) + hits + alarms),
        "auprc": stats.auprc(high, low),
        "recall_at_1_percent": best,
        "threshold_at_1_percent": cut,
    }


def category(label, pairs):
    seen = [(c, v) for c, v in pairs if runner.caught(c, v)]
    right = sum(v.get("category") in c["labels"] for c, v in seen)
    sides = grouped(pairs, lambda c: c["side"])
    out = {k: stats.rate(sum(runner.caught(*p) for p in v), len(v)) for k, v in sides.items()}
    return out | {"recall": stats.rate(len(seen), len(pairs)), "attributed": stats.rate(right, len(seen))}


def kiosk_rows(pairs):
    english = [p for p in pairs if p[0]["lang"] == "en"]
    other = [p for p in pairs if p[0]["lang"] != "en"]
    rows = {"English": false(english), "other languages": false(other), "all": false(pairs)}
    return rows | {k: false(v) for k, v in grouped(other, lambda c: c["lang"]).items()}


def groups(rows):
    """Sums over attacks: how many disguised cases passed, and how many of those that were blocked undisguised."""
    tests = {
        "all": lambda r: True,
        "promised to be undone": lambda r: r["promised"] and r["family"] == "disguise",
        "recoverable disguises": lambda r: r["recoverable"] and r["family"] == "disguise",
        "framings": lambda r: r["family"] == "framing",
        "stacked, promised": lambda r: r["promised"] and r["family"] == "stacked",
        "not recoverable": lambda r: not r["recoverable"],
        "dress of honest people": lambda r: r["harmless"],
        "padding beyond a window": lambda r: r["name"] in ("pad_before", "pad_after", "pad_around"),
    }
    tests |= {
        t: lambda r, t=t: r["threat"] == t
        for t in sorted({r["threat"] for r in rows}, key=lambda t: (len(t), t))
        if t != "-"
    }
    out = {}
    for name, test in tests.items():
        chosen = [r for r in rows if r["family"] != "plain" and test(r)]
        sums = {
            key: stats.rate(*(sum(r[key][x] for r in chosen) for x in "kn"))
            for key in ("success", "evasion", "benign_blocked")
        }
        out[name] = {"attacks": len(chosen), **sums}
    return out


def fingerprint(guard):
    """What was judged with: digests of the files as given; without a policy or classifier the embedded ones are in force."""

    def digest(path):
        return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()

    home = HERE.parent
    model = pathlib.Path(guard.classifier) if guard.classifier else home / "classifier"
    policy = guard.policy or home / "policies" / "default.toml"
    cases = b"".join(p.read_bytes() for p in sorted((HERE / "cases").glob("*.jsonl")))
    return {
        "policy_sha256": digest(policy),
        "classifier_sha256": digest(model / "model.onnx"),
        "cases_sha256": hashlib.sha256(cases).hexdigest(),
        "embedded": not guard.classifier,
    }


def compare(mine, path):
    """McNemar's test against the verdicts of another guard on the same cases."""
    with open(path, encoding="utf-8") as file:
        other = json.load(file)
    both = [k for k in mine if k in other]
    gained, lost = sum(mine[k] and not other[k] for k in both), sum(other[k] and not mine[k] for k in both)
    return f"on {len(both)} cases: right only now {gained}, right only before {lost}, p = {stats.mcnemar(gained, lost):.4f}"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument(
        "binary", nargs="?", help="a built palisade; without it the report is written again from results.json"
    )
    ap.add_argument("--policy", help="policy file; without it the embedded default")
    ap.add_argument("--classifier", help="classifier folder; without it the embedded one")
    ap.add_argument(
        "--quick",
        action="store_true",
        help="every fifth case, attacks on every 47th; prints the summary and writes nothing",
    )
    ap.add_argument("--stream-step", type=int, default=1, help="stream every so many-th answer (default 1: all)")
    ap.add_argument(
        "--attack-step", type=int, default=2, help="attack every so many-th unsafe case (default 2; 1 is all)"
    )
    ap.add_argument("--failures", action="store_true", help="print every failing case as a JSON line to standard error")
    ap.add_argument("--verdicts", help="write here which cases were judged right, for --against")
    ap.add_argument("--against", help="compare with an earlier --verdicts file (McNemar)")
    ap.add_argument("--name", default="the shipped classifier", help="what the report calls this guard")
    args = ap.parse_args()
    if not args.binary:
        report.write(json.loads((HERE / "results.json").read_text(encoding="utf-8")), HERE)
        return
    evaluation = Evaluation(runner.Guard(args.binary, args.policy, args.classifier), args.quick, args.attack_step, args.stream_step)
    found = evaluation.results()
    found["name"] = args.name
    print("\n".join(report.summary(found)))
    if args.failures:
        for case in evaluation.failed:
            print(json.dumps(case, ensure_ascii=False), file=sys.stderr)
    if args.against:
        print(compare(evaluation.verdicts, args.against))
    if args.verdicts:
        pathlib.Path(args.verdicts).write_text(json.dumps(evaluation.verdicts, indent=0), encoding="utf-8")
    if not args.quick:
        report.write(found, HERE)


if __name__ == "__main__":
    main()
