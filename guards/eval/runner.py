"""Asks a built `palisade` for its verdicts. A text without a verdict counts as a guard failure."""

import json
import subprocess
import tempfile


class Guard:
    def __init__(self, binary, policy=None, classifier=None):
        self.binary, self.policy, self.classifier = binary, policy, classifier

    def command(self, side, file, stream, policy):
        command = [self.binary, "guard", "--side", side, "--jsonl", file]
        for flag, value in (
            ("--policy", policy or self.policy),
            ("--classifier", self.classifier),
            ("--stream", stream),
        ):
            if value:
                command += [flag, str(value)]
        return command

    def judge(self, cases, stream=None, policy=None):
        """A verdict for each case, in order: what `palisade guard` prints. Cases of both sides may be mixed."""
        verdicts = [None] * len(cases)
        for side in ("input", "output"):
            numbered = [(i, c) for i, c in enumerate(cases) if c["side"] == side]
            if numbered:
                self.run(side, numbered, stream, policy, verdicts)
        return [v or {"action": "block", "error": "no verdict"} for v in verdicts]

    def run(self, side, numbered, stream, policy, verdicts):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
            for i, case in numbered:
                keys = {k: case[k] for k in ("text", "recent", "pieces") if k in case}
                file.write(json.dumps({"id": i, **keys}, ensure_ascii=False) + "\n")
            file.flush()
            command = self.command(side, file.name, stream, policy)
            done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        if done.returncode != 0 and not done.stdout:
            raise SystemExit(f"{self.binary}: {done.stderr.strip()}")
        # Not splitlines: JSON leaves U+2028 and its like unescaped.
        for line in done.stdout.split("\n"):
            if line:
                verdict = json.loads(line)
                verdicts[verdict["id"]] = verdict

    def turns(self, cases):
        """As `judge`, but each earlier message of a case is judged too when it comes; the first block counts."""
        asked, owner = [], []
        for i, case in enumerate(cases):
            messages = [*case.get("recent", []), case["text"]]
            for n, message in enumerate(messages):
                asked.append({**case, "text": message, "recent": messages[:n]})
                owner.append(i)
        found = [None] * len(cases)
        for i, verdict in zip(owner, self.judge(asked)):
            if found[i] is None or found[i]["action"] != "block":
                found[i] = verdict
        return found


def score(verdict):
    """0 to 1 for curves: a rule that blocks is certain; else the classifier's score nearest to its threshold."""
    if verdict["action"] == "block" and verdict.get("stage") == "rules":
        return 1.0
    return max(verdict.get("scores", {}).values(), default=verdict.get("score") or 0.0)


# The default policy flags these and does not block them: what the model says is no order to the model.
FLAGGED_ONLY = {("prompt_injection", "output")}


def caught(case, verdict):
    """Whether an unsafe case met what the policy has for it: a block of whichever category, by a verdict and not a failure."""
    if "error" in verdict:
        return False
    if any((label, case["side"]) in FLAGGED_ONLY for label in case["labels"]):
        return verdict["action"] != "allow"
    return verdict["action"] == "block"


def blocked(verdict):
    """Whether a benign case was kept from its user; masking changes the text, so it counts."""
    return verdict["action"] in ("block", "mask")
