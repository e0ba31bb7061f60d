"""Invents visitor centres: names, hours, prices, rooms, exhibits, people. Everything is drawn from a seeded
random generator; proper names whose hash falls in the held-out tenth appear in validation only."""

import re
import zlib

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
KINDS = (
    "Museum|Castle|Aquarium|Park|Gallery|Zoo|Botanical Garden|Science Centre|Observatory|Railway Museum|Planetarium|"
    "Wildlife Park|Abbey|Lighthouse|Palace|Maritime Museum|Art Museum|History Centre|Nature Reserve|Visitor Centre|"
    "Toy Museum|Air Museum|Farm|Mine|Mill|Manor|Fort|Glasshouse|Discovery Centre|Folk Museum"
).split("|")
HEADS = (
    "River Stone Oak Maple Thorn Ash Silver Raven Fox Black White Red Green North South East West Hazel Elm Birch "
    "Winter Summer Kings Queens Bishop Abbot Market Mill Glen Strand Harbour Amber Copper Iron Cedar Heron Otter Wolf "
    "Swan Salt Sand Clay Moor Fern Holly Lark Marsh Mead New Old High Long Bright Cold Clear Gold Rose Lily"
).split()
TAILS = (
    "side bridge field ford wick ton ham mere gate haven dale well worth stead croft brook burn cliff combe den hurst "
    "ley mouth port shaw wood bury by thorpe holm fell beck bourne cote minster stow view"
).split()
ONSETS = "B C D F G H J K L M N P R S T V W Z Br Cr Dr Fr Gr Pr Tr Bl Cl Fl Gl Pl Sl St Sk Th Sh Ch Kv Sv".split()
VOWELS = "a e i o u ai ea ou ei ie oa aa y ".split()
CODAS = "l m n r s t d k g nd lt rn ck st nn ll rt sk ng v x lm rd nt th".split()
ENDS = "a e o en er in um ia us ov sson sen sky ska ini etti ez ano berg strom qvist mann ley son ova ard".split() + [""] * 4
FIRST = (
    "Maria Anna John Peter Lena Omar Fatima Wei Yuki Carlos Sofia Ingrid Lars Nadia Priya Arjun Emma Oliver Amelia Noah "
    "Grace Hugo Ines Jonas Katya Liam Mei Nina Oscar Paula Quentin Rosa Samir Tara Uma Victor Wanda Xavier Yara Zoe Alan "
    "Beatrice Colin Diana Edward Fiona George Helen Ivan Julia Kevin Laura Martin Nora Owen Petra Ralph Sarah Tom Ursula "
    "Viktor Walter Yasmin Zane Aisha Bruno Clara David Elena Felix Greta Hassan Irene Jakob Kofi Leila Marco Naomi Otto "
    "Pablo Renata Stefan Teresa Umberto Vera William Ximena Ana Bjorn Chloe Daniel Esther Frank Gina Harald Isla James"
).split()
LAST = (
    "Lindqvist Smith Jones Okafor Tanaka Garcia Novak Muller Rossi Dubois Jensen Kowalski Silva Haddad Patel Chen Kim "
    "Nguyen Brown Taylor Wilson Evans Walker Wright Hughes Green Baker Carter Turner Parker Morris Murphy Kelly Cooper "
    "Reed Bailey Bell Ward Fisher Webb Marsh Hart Lane Stone West Ford Fox Hunt Cole Berg Holm Lund Dahl Nilsen Virtanen"
).split()
ADJ = (
    "Bronze Golden Silver Amber Blue Red Green White Black Giant Tiny Ancient Roman Viking Greek Egyptian Persian Royal "
    "Painted Carved Glass Marble Wooden Iron Stone Crystal Flying Sleeping Singing Dancing Lost Hidden Frozen Coral Desert "
    "Forest Jungle Arctic Ocean River Mountain Midnight Morning Summer Winter Great Little Old Mechanical Electric Paper "
    "Silk Ivory Copper Emerald Ruby Jade Living Whispering"
).split()
NOUN = (
    "Chariot Globe Clock Ship Sword Crown Mask Statue Mosaic Throne Helmet Shield Coins Scrolls Map Telescope Engine "
    "Locomotive Rocket Compass Organ Piano Violin Carpet Tapestry Portrait Vase Fountain Garden Tunnel Tower Bridge Skeleton "
    "Dinosaur Mammoth Whale Squid Turtle Penguins Sharks Otters Seahorses Jellyfish Butterflies Owls Wolves Bears Lions "
    "Tigers Monkeys Orchids Cacti Ferns Meteorite Crystals Volcano Waterfall Cave Treasure Lantern Mirror Puppets Dolls "
    "Dollhouse Kites Windmill Loom Anchor Canoe Submarine Aeroplane Balloon Carriage Bicycle Tram Printing Press Library"
).split()
SPOTS = (
    "the main entrance|the ticket desk|the gift shop|the north gate|the south gate|the courtyard|the lobby|the cloakroom|"
    "the information desk|the fountain|the garden|the café|the library|the tower|the west door|the east stairs|the lift|"
    "the car park|the picnic area|the chapel|the bridge|the old stables|the great hall|the ticket office|the playground"
).split("|")
ROLES = (
    "curator|director|education officer|head of visitor services|press officer|events manager|shop manager|head keeper|"
    "head gardener|tour manager|conservator|archivist|membership secretary|facilities manager|duty manager"
).split("|")
STOPS = "Market Square|Town Hall|Station Road|High Street|Church Lane|Castle Hill|Harbour Road|Mill Lane|Park Avenue|Bridge Street|University|Central Station".split("|")
DISHES = (
    "soup|sandwiches|cakes|fresh bread|salads|pancakes|waffles|hot chocolate|ice cream|pies|pasta|scones|vegan meals|"
    "fruit juices|pizza|coffee and cakes|fish and chips|apple pie|tea and scones|noodles"
).split("|")


def held_out(name):
    return zlib.crc32(name.lower().encode()) % 10 == 0


def draw(rng, make, val):
    """A name of the wanted side of the split."""
    while True:
        name = make(rng)
        if held_out(name) == val:
            return name


def invented(rng):
    word = "".join(
        rng.choice(ONSETS if i == 0 else [o.lower() for o in ONSETS]) + rng.choice(VOWELS[:-1]) + rng.choice(CODAS)
        for i in range(rng.choice([1, 1, 2]))
    )
    return word + rng.choice(ENDS)


def place(rng):
    if rng.random() < 0.55:
        return rng.choice(HEADS) + rng.choice(TAILS)
    if rng.random() < 0.3:
        return rng.choice(HEADS) + " " + rng.choice(TAILS).capitalize()
    return invented(rng)


def surname(rng):
    return rng.choice(LAST) if rng.random() < 0.35 else invented(rng)


def exhibit(rng):
    if rng.random() < 0.12:
        return invented(rng) + " " + rng.choice(NOUN)
    return rng.choice(ADJ) + " " + rng.choice(NOUN)


def room(rng):
    return rng.choice(
        [
            lambda: f"Room {rng.randint(1, 60)}",
            lambda: f"Hall {rng.choice('ABCDEFGH')}",
            lambda: f"Gallery {rng.randint(1, 30)}",
            lambda: f"the {rng.choice(['East', 'West', 'North', 'South', 'Upper', 'Lower', 'Long'])} "
            + rng.choice(["Gallery", "Wing", "Hall", "Room"]),
            lambda: f"the {rng.choice(ADJ)} Room",
            lambda: f"the {surname(rng)} {rng.choice(['Wing', 'Hall', 'Room', 'Gallery'])}",
            lambda: f"Building {rng.randint(1, 9)}",
            lambda: f"Zone {rng.randint(1, 12)}",
        ]
    )()


def where(rng):
    """A place phrase that begins with its preposition."""
    floor = rng.choice(["ground", "first", "second", "third", "lower", "upper"])
    return rng.choice(
        [
            f"on the {floor} floor",
            f"on level {rng.randint(1, 6)}",
            f"next to {rng.choice(SPOTS)}",
            f"behind {rng.choice(SPOTS)}",
            f"opposite {rng.choice(SPOTS)}",
            f"near {rng.choice(SPOTS)}",
            f"in {room(rng)}",
            f"beside {rng.choice(SPOTS)}",
        ]
    )


def clock(rng, style, lo, hi):
    hour, minute = rng.randint(lo, hi), rng.choice([0, 0, 0, 30, 30, 15, 45])
    if style == 0:
        return f"{hour}:{minute:02d}"
    if style == 1:
        return f"{hour:02d}:{minute:02d}"
    half, hour12 = ("am" if hour < 12 else "pm"), (hour - 1) % 12 + 1
    return f"{hour12} {half}" if minute == 0 else f"{hour12}:{minute:02d} {half}"


def hours(rng, style):
    """[(label, days, (open, close) or None)], covering the seven days."""
    span = lambda: (clock(rng, style, 7, 11), clock(rng, style, 15, 21))
    pick = rng.random()
    if pick < 0.15:
        return [("daily", DAYS, span())]
    if pick < 0.35:
        closed = rng.choice([0, 0, 1, 2, 6])
        if closed in (0, 6):
            rest = [d for i, d in enumerate(DAYS) if i != closed]
            return [(f"{rest[0]} to {rest[-1]}", rest, span()), (DAYS[closed], [DAYS[closed]], None)]
        return [("daily", [d for i, d in enumerate(DAYS) if i != closed], span()), (DAYS[closed], [DAYS[closed]], None)]
    out, first = [], 0
    if rng.random() < 0.4:
        first = rng.choice([1, 1, 2])
        label = "Monday" if first == 1 else "Monday and Tuesday"
        out.append((label, DAYS[:first], None))
    out.insert(0, (f"{DAYS[first]} to Friday", DAYS[first:5], span()))
    if rng.random() < 0.4:
        out.insert(1, ("Saturday and Sunday", DAYS[5:], span()))
    else:
        out.insert(1, ("Saturday", DAYS[5:6], span()))
        out.insert(2, ("Sunday", DAYS[6:], span() if rng.random() < 0.85 else None))
    return out


def money(rng, sign, lo, hi):
    whole = rng.randint(lo, hi)
    cents = rng.choice(["", "", "", ".50", ".50", ".20", ".90", ".75"])
    return sign.replace("#", f"{whole}{cents}")


def phone(rng):
    d = lambda n: "".join(str(rng.randint(0, 9)) for _ in range(n))
    return rng.choice(
        [
            lambda: f"+44 20 7946 0{d(3)}",
            lambda: f"+44 1632 960 {d(3)}",
            lambda: f"01632 960{d(3)}",
            lambda: f"+1 555 01{d(2)}",
            lambda: f"(555) 01{d(1)}-{d(4)}",
            lambda: f"555-01{d(2)}",
            lambda: f"+46 8 {d(3)} {d(2)} {d(2)}",
            lambda: f"+49 30 {d(6)}",
            lambda: f"+33 1 {d(2)} {d(2)} {d(2)} {d(2)}",
        ]
    )()


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def person(rng, val, site, role):
    first, last = rng.choice(FIRST), draw(rng, surname, val)
    local = rng.choice(
        [f"{first}.{last}", f"{first}.{last}", f"{first}", f"{first[0]}.{last}", f"{last}", f"{first}_{last}", slug(role)]
    )
    return {"role": role, "person": f"{first} {last}", "email": f"{local.lower()}@{site}", "phone": phone(rng)}


def make(rng, val):
    """One centre: every fact it could state; a system prompt tells some of them."""
    kind = rng.choice(KINDS)
    name = f"{draw(rng, place, val)} {kind}"
    if rng.random() < 0.12:
        name = f"the {kind} of {draw(rng, place, val)}"
    style = rng.choice([0, 0, 1, 2])
    sign = rng.choice(["£#", "£#", "$#", "€#", "# euros", "# euros", "# pounds", "# dollars", "# kr"])
    adult = money(rng, sign, 6, 60)
    site = slug(name.removeprefix("the ")) + rng.choice([".example", ".example", ".org", ".com", ".net", ".co.uk"])
    if rng.random() < 0.2:
        site = slug(name.split()[0 if not name.startswith("the ") else -1]) + site[site.index(".") :]
    roles = rng.sample(ROLES, 2)
    names = []
    while len(names) < 4:
        names = sorted({draw(rng, exhibit, val) for _ in range(5)}, key=lambda n: zlib.crc32(n.encode()))
    return {
        "name": name,
        "hours": hours(rng, style),
        "last_entry": clock(rng, style, 14, 19),
        "adult": adult,
        "child": money(rng, sign, 2, 20),
        "student": money(rng, sign, 4, 30),
        "senior": money(rng, sign, 4, 30),
        "family": money(rng, sign, 20, 120),
        "free_age": str(rng.randint(2, 18)),
        "exhibits": [(n, room(rng), str(rng.randint(1050, 1990))) for n in names[:4]],
        "cafe_name": rng.choice([draw(rng, place, val) + " Café", "The " + draw(rng, exhibit, val), invented(rng) + "'s"]),
        "cafe_where": where(rng),
        "cafe_open": clock(rng, style, 7, 11),
        "cafe_close": clock(rng, style, 14, 20),
        "dish": rng.choice(DISHES),
        "toilets_where": where(rng),
        "shop_where": where(rng),
        "cloak_where": where(rng),
        "lost_where": where(rng),
        "lift_where": where(rng),
        "chair_where": rng.choice(SPOTS),
        "baby_where": where(rng),
        "bus": str(rng.randint(1, 199)),
        "stop": rng.choice(STOPS) if rng.random() < 0.5 else draw(rng, place, val) + rng.choice([" Road", " Street", " Square", ""]),
        "walk": str(rng.randint(2, 35)),
        "parking_where": where(rng),
        "parking_price": money(rng, sign, 1, 15),
        "tour_time": clock(rng, style, 9, 17),
        "tour_where": rng.choice(SPOTS) if rng.random() < 0.6 else room(rng),
        "tour_length": str(rng.choice([20, 25, 30, 35, 40, 45, 50, 60, 70, 75, 80, 90, 105, 120])),
        "tour_price": money(rng, sign, 2, 25),
        "member_price": money(rng, sign, 15, 150),
        "member_perk": rng.choice(
            ["free entry all year", "a discount in the shop", "free parking", "two guest tickets", "a monthly newsletter",
             "free guided tours", "invitations to previews", "a discount in the café"]
        ),
        "wifi": rng.choice([invented(rng) + "Guest", slug(name) + "-free", "Visitor" + str(rng.randint(1, 99)), name.split()[-1] + "Wifi"]),
        "dogs": rng.choice(["Dogs are welcome on a lead", "Dogs are not allowed", "Only assistance dogs are allowed"]),
        "photos": rng.choice(
            ["Photography is allowed without flash", "Photography is not allowed", "Photography is allowed everywhere"]
        ),
        "staff": [person(rng, val, site, r) for r in roles],
    }
