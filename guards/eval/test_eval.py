"""python -m unittest discover guards/eval: the arithmetic of the report, the attacks, and that no case is twice."""

import base64
import json
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "attacks")]

import runner  # noqa: E402
import stats  # noqa: E402
import streams  # noqa: E402
from attacks import ATTACKS  # noqa: E402

CASE = {"text": "Please water my plants while I am away", "labels": [], "side": "input"}


class Arithmetic(unittest.TestCase):
    def test_wilson_as_published(self):
        # Newcombe 1998, table I: 81 of 263.
        low, high = stats.wilson(81, 263)
        self.assertAlmostEqual(low, 0.2553, 3)
        self.assertAlmostEqual(high, 0.3662, 3)

    def test_none_of_n_is_the_rule_of_three(self):
        self.assertEqual(stats.wilson(0, 300), (0.0, 0.01))
        self.assertEqual(stats.wilson(300, 300), (0.99, 1.0))

    def test_auprc(self):
        self.assertEqual(stats.auprc([0.9, 0.8], [0.1, 0.2]), 1.0)
        # Ranks 1 and 3 are unsafe: (1/1 + 2/3) / 2.
        self.assertAlmostEqual(stats.auprc([0.9, 0.7], [0.8, 0.1]), 5 / 6)
        # All scores alike: precision is the share of unsafe texts.
        self.assertAlmostEqual(stats.auprc([0.5] * 3, [0.5] * 9), 0.25)

    def test_recall_at_counts_benign_texts_above_the_threshold(self):
        benign = [i / 1000 for i in range(200)]
        self.assertEqual(stats.recall_at([0.1975, 0.1965, 0.5], benign, 0.01), (2 / 3, 0.197))

    def test_mcnemar(self):
        self.assertEqual(stats.mcnemar(0, 0), 1.0)
        self.assertAlmostEqual(stats.mcnemar(0, 5), 2 / 32)

    def test_a_failed_guard_catches_nothing(self):
        case = {"labels": ["S1"], "side": "input"}
        self.assertFalse(runner.caught(case, {"action": "block", "error": "out of time"}))
        self.assertTrue(runner.caught(case, {"action": "block"}))
        self.assertFalse(runner.caught(case, {"action": "flag"}))


class Attacks(unittest.TestCase):
    def test_the_same_each_time_and_never_empty(self):
        for attack in ATTACKS.values():
            made = attack.apply(CASE)
            self.assertEqual(made, attack.apply(CASE), attack.name)
            self.assertTrue(made["text"].strip(), attack.name)

    def test_every_attack_changes_the_text(self):
        for attack in ATTACKS.values():
            changed = attack.apply(CASE) != {**CASE, "attack": attack.name}
            self.assertEqual(changed, attack.name != "plain", attack.name)

    def test_decoders_bring_the_text_back(self):
        text = CASE["text"]
        self.assertEqual(base64.b64decode(ATTACKS["base64"].apply(CASE)["text"].split()[-1]).decode(), text)
        self.assertTrue(bytes.fromhex(ATTACKS["hex"].apply(CASE)["text"].split()[-1]).decode() == text)
        tags = ATTACKS["tag_characters"].apply(CASE)["text"]
        self.assertEqual("".join(chr(ord(c) - 0xE0000) for c in tags if ord(c) > 0xE0000), text)

    def test_padding_is_longer_than_any_window(self):
        for name in ("pad_before", "pad_after", "pad_around"):
            self.assertGreater(len(ATTACKS[name].apply(CASE)["text"].split()), 700, name)

    def test_turns_together_are_the_text(self):
        made = ATTACKS["many_turns"].apply(CASE)
        self.assertEqual(" ".join([*made["recent"], made["text"]]), CASE["text"])


class Cases(unittest.TestCase):
    def test_pieces_together_are_the_text(self):
        text = "Größe 🙂 क्‍या"
        self.assertEqual("".join(streams.pieces(text, 3)), text)

    def test_no_case_is_twice_and_labels_are_known(self):
        labels = {*(f"S{i}" for i in range(1, 15)), "prompt_injection", "jailbreak"}
        seen = set()
        for path in sorted((HERE / "cases").glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                case = json.loads(line)
                key = (case["side"], case["text"])
                self.assertNotIn(key, seen)
                seen.add(key)
                self.assertLessEqual(set(case["labels"]), labels)
                self.assertIn(case["side"], ("input", "output"))


if __name__ == "__main__":
    unittest.main()
