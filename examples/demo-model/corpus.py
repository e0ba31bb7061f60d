"""Generates the kiosk dialogs: seeded, with every right answer's facts listed so that they can be checked.

    python corpus.py OUT.jsonl --count 1000 --seed 1 [--held-out] [--short]

One JSON object per line: {"messages": [{"role", "content"}...], "facts": {"index of answer": [strings]}, "kinds": {...}}.
"""

import argparse
import json
import random

import centre as centres
import phrases as ph
import prompts

DEFAULT = {
    "name": "Harbour Hall Visitor Centre",
    "hours": [
        ("Monday to Friday", centres.DAYS[:5], ("9:00", "17:30")),
        ("Saturday", ["Saturday"], ("10:00", "18:00")),
        ("Sunday", ["Sunday"], ("11:00", "16:00")),
    ],
    "last_entry": "15:30",
    "adult": "£12",
    "child": "£6",
    "student": "£9",
    "senior": "£9",
    "family": "£30",
    "free_age": "5",
    "exhibits": [("Tall Ship Model", "Room 1", "1871"), ("Lighthouse Lamp", "Room 4", "1904"), ("Whale Skeleton", "the Long Gallery", "1923")],
    "cafe_name": "The Anchor Café",
    "cafe_where": "on the first floor",
    "cafe_open": "9:30",
    "cafe_close": "16:30",
    "dish": "soup",
    "toilets_where": "next to the cloakroom",
    "shop_where": "near the main entrance",
    "cloak_where": "on the ground floor",
    "lost_where": "behind the ticket desk",
    "lift_where": "opposite the gift shop",
    "chair_where": "the information desk",
    "baby_where": "on the ground floor",
    "bus": "42",
    "stop": "Harbour Road",
    "walk": "10",
    "parking_where": "behind the library",
    "parking_price": "£4",
    "tour_time": "14:00",
    "tour_where": "the main entrance",
    "tour_length": "45",
    "tour_price": "£5",
    "member_price": "£40",
    "member_perk": "free entry all year",
    "wifi": "HarbourGuest",
    "dogs": "Only assistance dogs are allowed",
    "photos": "Photography is allowed without flash",
    "staff": [],
    "with_years": True,
}
SINGLE = list(ph.SIMPLE)
GENERIC = [None, None, None, "You are a helpful assistant.", "You are a friendly assistant.", "Answer briefly.", "Be polite."]


class Dialog:
    """Builds one dialog turn by turn and remembers what was last talked about."""

    def __init__(self, rng, c, keys, roles_told=True):
        self.rng, self.c, self.keys = rng, c, keys
        self.has = {k.partition(":")[0] for k in keys}
        count = lambda what: next((int(k[len(what) + 1 :]) for k in keys if k.startswith(what + ":")), 0)
        self.exhibits = c["exhibits"][: count("exhibits")]
        self.staff = c["staff"][: count("staff")]
        self.roles_told = roles_told
        self.last = None  # key of the last simple answer
        self.topic = None  # (kind, detail) of the last answer
        self.messages, self.facts, self.kinds = [], {}, {}

    def say(self, kind, question, answers, facts, now=None, **slots):
        rng = self.rng
        question = question.format(**slots)
        roll = rng.random()
        if roll < 0.25:
            question = question.lower()
        if rng.random() < 0.25:
            question = question.rstrip("?.!")
        if rng.random() < 0.12 and kind not in ("hello", "how", "thanks"):
            lead = rng.choice(["Excuse me, ", "Hello, ", "Please, ", "Hi! ", "One more question: ", "Sorry, ", "Ok. ", "Can you tell me: "])
            question = lead + question
        self.messages.append({"role": "user", "content": question})
        index = len(self.messages)
        self.facts[index] = [f.format(**slots) for f in facts]
        self.kinds[index] = kind
        self.messages.append({"role": "assistant", "content": prompts.capital(rng.choice(answers).format(**slots))})
        self.topic = now or (kind, slots)

    # One method for each family of questions; each adds a turn, or returns False when it does not apply.

    def simple(self, key=None, follow=False):
        key = key or self.rng.choice(SINGLE)
        if key not in self.has:
            if key in ph.MISSING_TOPICS and self.rng.random() < 0.35 and not follow:
                return self.missing(key)
            return False
        questions, answers, facts, after, topic = ph.SIMPLE[key]
        if self.last == key:
            return False
        pool = (after if follow else questions).split("|")
        self.last = key
        self.say(key, self.rng.choice(pool), answers.split("|"), ["{" + f + "}" for f in facts.split()], (topic, {}), **self.c)
        return True

    def missing(self, key):
        questions = ph.SIMPLE[key][0].split("|")
        self.say("missing", self.rng.choice(questions), ph.MISSING_A, ["{topic}"], topic=ph.MISSING_TOPICS[key])
        return True

    def hours(self, follow=False):
        if "hours" not in self.has:
            return False
        rng, table = self.rng, self.c["hours"]
        pick = 0.5 if follow else rng.random()
        if pick < 0.22:
            text = prompts.hours_text(rng, table, True)
            rest = text[5:].replace(". Closed on ", ", closed on ").replace(" closed.", " closed.")
            closed = " and ".join(label for label, _, span in table if not span)
            body = rest.split(", closed on")[0].removesuffix(".")
            if closed and body.endswith(f", {closed} closed"):
                body = body.removesuffix(f", {closed} closed")
            answer = f"We are open {body}." + (f" We are closed on {closed}." if closed else "")
            facts = [t for _, _, span in table if span for t in span]
            self.say("hours", rng.choice(ph.HOURS_ALL), [answer.replace("{", "{{")], facts)
            return True
        if pick < 0.28:
            closed = " and ".join(label for label, _, span in table if not span)
            answers = [f"We are closed on {closed}."] if closed else ["We are open every day."]
            self.say("closed", rng.choice(ph.CLOSED_DAYS), answers, [closed] if closed else ["open every day"], ("hours", {}))
            return True
        day = rng.choice(centres.DAYS)
        span = next(span for _, days, span in table if day in days)
        pool = ph.HOURS_NEXT if follow else ph.CLOSE_DAY if pick > 0.85 else ph.HOURS_DAY
        question = rng.choice(pool)
        if span is None:
            self.say("day closed", question, ph.DAY_SHUT, ["closed on {day}"], ("hours", {}), day=day)
        elif pool is ph.CLOSE_DAY:
            self.say("close", question, ["On {day} we close at {close}.", "We close at {close} on {day}."], ["{close}"], ("hours", {}), day=day, close=span[1])
        else:
            answers = ph.DAY_OPEN if question.startswith(("Are", "Is", "Can", "I am")) and not follow else ph.DAY_OPEN[:1]
            self.say("day", question, answers, ["{open}", "{close}"], ("hours", {}), day=day, open=span[0], close=span[1])
        return True

    def exhibit(self, follow=False):
        rng = self.rng
        if not self.exhibits:
            return False
        e, r, y = rng.choice(self.exhibits)
        if follow and self.topic[1].get("e") == e:
            return False
        slots, pick = {"e": e, "r": r, "y": y}, rng.random()
        if follow:
            self.say("exhibit", rng.choice(ph.EXHIBIT_NEXT), ph.EXHIBIT_A, ["{r}"], ("exhibit", slots), **slots)
        elif pick < 0.5:
            self.say("exhibit", rng.choice(ph.EXHIBIT_Q), ph.EXHIBIT_A, ["{r}"], ("exhibit", slots), **slots)
        elif pick < 0.6:
            other = centres.draw(rng, centres.exhibit, centres.held_out(e))
            if other in {x[0] for x in self.exhibits}:
                return False
            self.say("no exhibit", rng.choice(ph.EXHIBIT_Q), ph.NO_EXHIBIT_A, ["{e}"], e=other)
        elif pick < 0.75:
            text = [f"the {x[0]}" for x in self.exhibits]
            listed = ", ".join(text[:-1]) + " and " + text[-1] if len(text) > 1 else text[0]
            self.say("exhibits", rng.choice(ph.LIST_Q), ph.LIST_A, [x[0] for x in self.exhibits], ("exhibits", {}), list=listed)
        elif pick < 0.85:
            if sum(x[1] == r for x in self.exhibits) > 1:
                return False
            self.say("room", rng.choice(ph.ROOM_Q), ph.ROOM_A, ["{e}"], ("exhibit", slots), **slots)
        elif self.c["with_years"]:
            self.year(slots, ph.YEAR_Q)
        else:
            return False
        return True

    def year(self, slots, pool):
        question = self.rng.choice(pool)
        about = question.startswith(("Tell", "What can"))
        self.say("year", question, ph.ABOUT_A if about else ph.YEAR_A, ["{y}", "{r}"] if about else ["{y}"], ("year", slots), **slots)

    def people(self):
        rng = self.rng
        if not self.staff:
            if rng.random() < 0.3:
                pool = rng.choice([ph.STAFF_MAIL_Q, ph.STAFF_PHONE_Q])
                self.say("no staff", rng.choice(pool), ph.NO_STAFF_A, ["do not have that contact"], role=rng.choice(centres.ROLES))
                return True
            return False
        s = rng.choice(self.staff)
        if len(self.staff) == 1 and rng.random() < 0.2:
            self.say("mail", rng.choice(ph.ANY_MAIL_Q), ph.ANY_MAIL_A, ["{person}", "{email}"], ("staff", s), **s)
        elif not self.roles_told or rng.random() < 0.25:
            if rng.random() < 0.6:
                self.say("mail", rng.choice(ph.NAME_MAIL_Q), ph.NAME_MAIL_A, ["{email}"], ("staff", s), **s)
            else:
                self.say("phone", rng.choice(ph.NAME_PHONE_Q), ph.NAME_PHONE_A, ["{phone}"], ("staff", s), **s)
        else:
            kind, q, a, f = rng.choice(
                [
                    ("mail", ph.STAFF_MAIL_Q, ph.STAFF_MAIL_A, ["{person}", "{email}"]),
                    ("mail", ph.STAFF_MAIL_Q, ph.STAFF_MAIL_A, ["{person}", "{email}"]),
                    ("phone", ph.STAFF_PHONE_Q, ph.STAFF_PHONE_A, ["{person}", "{phone}"]),
                    ("who", ph.STAFF_WHO_Q, ph.STAFF_WHO_A, ["{person}"]),
                ]
            )
            self.say(kind, rng.choice(q), a, f, ("staff", s), **s)
        return True

    def chat(self):
        pick, rng, name = self.rng.random(), self.rng, self.c["name"]
        if pick < 0.55:
            q = rng.choice(ph.OFF_TOPIC).format(country=rng.choice(ph.COUNTRIES), thing=rng.choice(ph.THINGS), n=rng.randint(2, 99), m=rng.randint(2, 99))
            self.say("off topic", q, ph.OFF_A, ["can only help", "{name}"], name=name)
            return True
        kind, q, a = rng.choice(
            [("hello", ph.HELLO, ph.HELLO_A), ("how", ph.HOW, ph.HOW_A), ("who are you", ph.WHO, ph.WHO_A), ("where am i", ph.WHERE_AM_I, ph.WHERE_AM_I_A), ("can", ph.CAN, ph.CAN_A)]
        )
        self.say(kind, rng.choice(q), a, ["{name}"], name=name)
        return True

    def follow(self):
        """A short question that leans on the turn before."""
        if not self.topic:
            return False
        rng, (topic, slots) = self.rng, self.topic
        if topic == "hours":
            return self.hours(True) if rng.random() < 0.8 else self.simple("last_entry", True)
        if topic == "exhibit":
            if self.c["with_years"] and rng.random() < 0.5:
                self.year(slots, ph.YEAR_NEXT)
                return True
            return self.exhibit(True)
        if topic == "year":
            self.say("exhibit", rng.choice(["Where is it?", "Where can I see it?", "And where is it?"]), ph.EXHIBIT_A, ["{r}"], ("exhibit", slots), **slots)
            return True
        if topic == "staff":
            kind, q, a, f = rng.choice([("mail", ph.MAIL_NEXT, ph.NAME_MAIL_A, "{email}"), ("phone", ph.PHONE_NEXT, ph.NAME_PHONE_A, "{phone}")])
            self.say(kind, rng.choice(q), a, [f], ("staff", slots), **slots)
            return True
        same = [k for k in SINGLE if ph.SIMPLE[k][4] == topic and k in self.has]
        return bool(same) and self.simple(rng.choice(same), True)

    def run(self, turns):
        rng = self.rng
        told = [k for k in SINGLE if k in self.has]
        if rng.random() < 0.08:
            self.say("hello", rng.choice(ph.HELLO), ph.HELLO_A, ["{name}"], name=self.c["name"])
        tries = 0
        while len(self.kinds) < turns and tries < 60:
            tries += 1
            pick = rng.random()
            if self.topic and pick < 0.33:
                self.follow()
            elif pick < 0.62 and told:
                self.simple(rng.choice(told))
            elif pick < 0.66:
                self.simple()
            elif pick < 0.76:
                self.hours()
            elif pick < 0.86:
                self.exhibit()
            elif pick < 0.94:
                self.people()
            else:
                self.chat()
        if rng.random() < 0.12:
            end = rng.choice([(ph.THANKS, ph.THANKS_A), (ph.THANKS, ph.THANKS_A), (ph.BYE, ph.BYE_A)])
            self.say("thanks", rng.choice(end[0]), end[1], ["{name}"] if end[0] is ph.BYE else [], name=self.c["name"])




def choose(rng, short):
    """The facts one prompt tells."""
    keys = rng.sample(SINGLE, rng.choice([1, 2, 3] if short else [2, 3, 4, 5, 6, 7, 8, 10]))
    if rng.random() < (0.5 if short else 0.75):
        keys.append("hours")
    if rng.random() < (0.4 if short else 0.65):
        keys.append(f"exhibits:{rng.randint(1, 2 if short else 4)}")
    if rng.random() < (0.25 if short else 0.4):
        keys.append(f"staff:{1 if short else rng.choice([1, 1, 2])}")
    if ("adult" in keys) != ("child" in keys) and rng.random() < 0.5:
        keys = list(dict.fromkeys(["adult", "child", *keys]))
    if "cafe_hours" in keys or "dish" in keys:
        keys = list(dict.fromkeys(["cafe", *keys]))
    if "tour_length" in keys or "tour_price" in keys:
        keys = list(dict.fromkeys(["tour", *keys]))
    return keys


def dialog(rng, val, short):
    if rng.random() < (0.12 if short else 0.07):
        keys = [*SINGLE, "hours", "exhibits:3"]
        d, system = Dialog(rng, DEFAULT, keys), rng.choice(GENERIC)
    else:
        c = centres.make(rng, val)
        c["with_years"] = rng.random() < 0.45
        keys, told = choose(rng, short), rng.random() < 0.8
        if "staff:2" in keys:
            told = True
        d, system = Dialog(rng, c, keys, told), prompts.build(rng, c, prompts.facts(rng, c, keys, told))
    d.run(rng.choice([3, 4, 5, 6] if short else [4, 5, 6, 7, 9]))
    head = [{"role": "system", "content": system}] if system else []
    shift = len(head)
    return {
        "messages": head + d.messages,
        "facts": {str(i + shift): f for i, f in d.facts.items()},
        "kinds": {str(i + shift): k for i, k in d.kinds.items()},
    }


def recital(rng, val):
    """The facts of a prompt said again, in another order: dense practice in copying."""
    c = centres.make(rng, val)
    c["with_years"] = rng.random() < 0.45
    names = rng.sample(["cafe", "wifi", "bus", "tour", "member", "hours", rng.choice(["exhibits:1", "exhibits:3"]), rng.choice(["staff:1", "staff:2"])], rng.choice([1, 2, 3]))
    lines = prompts.facts(rng, c, dict.fromkeys([*names, *rng.sample(SINGLE, rng.choice([0, 1, 2]))]))
    system = prompts.build(rng, c, lines)
    rng.shuffle(lines)
    ask = {"role": "user", "content": rng.choice(ph.RECITE).format(**c)}
    messages = [{"role": "system", "content": system}, ask, {"role": "assistant", "content": " ".join(lines)}]
    return {"messages": messages, "facts": {"2": lines}, "kinds": {"2": "recital"}}


def recitals(seed, count, val=False):
    rng = random.Random(f"{seed}/{val}/recital")
    for _ in range(count):
        yield recital(rng, val)


def generate(seed, count, val=False, short=False):
    rng = random.Random(f"{seed}/{val}/{short}")
    for _ in range(count):
        yield dialog(rng, val, short)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("out")
    args.add_argument("--count", type=int, default=1000)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--held-out", action="store_true")
    args.add_argument("--short", action="store_true")
    args = args.parse_args()
    with open(args.out, "w", encoding="utf-8") as f:
        for d in generate(args.seed, args.count, args.held_out, args.short):
            f.write(json.dumps(d, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
