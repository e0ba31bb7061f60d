"""Turns a centre into a system prompt: which facts it tells, in what order and in what words."""

OPENERS = [
    "You are the visitor guide of {name}.",
    "You are the kiosk assistant at {name}.",
    "You are the friendly assistant of {name}. Answer briefly.",
    "You help visitors at {name}.",
    "You work at the information desk of {name}. Use only these facts.",
    "You answer questions from visitors to {name}.",
    "Welcome assistant for {name}.",
    "This is {name}. You help its visitors.",
    "You are a helpful assistant for {name}. Be polite and short.",
    "Name: {name}.",
]

# One list of wordings for each fact a prompt may tell. Slots are fields of the centre.
LINES = {
    "last_entry": ["Last entry is at {last_entry}.", "Last admission: {last_entry}.", "The last admission is at {last_entry}."],
    "adult": ["Adult tickets cost {adult}.", "Adult ticket: {adult}.", "Adults pay {adult}.", "Entry costs {adult} for adults.", "Tickets: adults {adult}."],
    "child": ["Child tickets cost {child}.", "Child ticket: {child}.", "Children pay {child}.", "Entry costs {child} for children."],
    "student": ["Student tickets cost {student}.", "Student ticket: {student}.", "Students pay {student}."],
    "senior": ["Senior tickets cost {senior}.", "Senior ticket: {senior}.", "Seniors pay {senior}."],
    "family": ["A family ticket costs {family}.", "Family ticket: {family}.", "Families pay {family}."],
    "free_age": ["Children under {free_age} enter free.", "Free entry for children under {free_age}.", "Under {free_age}: free."],
    "cafe": [
        "The café, {cafe_name}, is {cafe_where}.",
        "{cafe_name}, our café, is {cafe_where}.",
        "Café: {cafe_name}, {cafe_where}.",
    ],
    "cafe_hours": ["The café is open from {cafe_open} to {cafe_close}.", "Café hours: {cafe_open} to {cafe_close}.", "The café opens at {cafe_open} and closes at {cafe_close}."],
    "dish": ["The café serves {dish}.", "The café is known for {dish}.", "Café menu: {dish}."],
    "toilets": ["The toilets are {toilets_where}.", "Toilets: {toilets_where}.", "Restrooms are {toilets_where}."],
    "shop": ["The gift shop is {shop_where}.", "Gift shop: {shop_where}.", "The shop is {shop_where}."],
    "cloak": ["The cloakroom is {cloak_where}.", "Cloakroom: {cloak_where}.", "Lockers and cloakroom: {cloak_where}."],
    "lost": ["Lost property is kept {lost_where}.", "Lost property: {lost_where}.", "The lost property desk is {lost_where}."],
    "lift": ["The lift is {lift_where}.", "Lift: {lift_where}.", "There is a lift {lift_where}."],
    "chair": ["Wheelchairs can be borrowed at {chair_where}.", "Wheelchairs: {chair_where}.", "Free wheelchairs are available at {chair_where}."],
    "baby": ["Baby changing is {baby_where}.", "Baby changing: {baby_where}.", "The baby changing room is {baby_where}."],
    "bus": ["Bus {bus} stops at {stop}.", "Bus: line {bus}, stop {stop}.", "Take bus {bus} to {stop}.", "Bus line {bus} stops at {stop}."],
    "walk": ["The station is {walk} minutes away on foot.", "Walk from the station: {walk} minutes.", "It is a {walk} minute walk from the station."],
    "parking": ["The car park is {parking_where}.", "Parking: {parking_where}.", "Parking is {parking_where}."],
    "parking_price": ["Parking costs {parking_price}.", "Parking fee: {parking_price}.", "Parking is {parking_price} per day."],
    "tour": [
        "Guided tours start at {tour_time} from {tour_where}.",
        "Guided tour: {tour_time}, meeting point {tour_where}.",
        "The guided tour leaves at {tour_time} from {tour_where}.",
        "There is a guided tour at {tour_time}. It starts at {tour_where}.",
    ],
    "tour_length": ["The tour takes {tour_length} minutes.", "Tour length: {tour_length} minutes.", "The tour lasts {tour_length} minutes."],
    "tour_price": ["The tour costs {tour_price}.", "Tour price: {tour_price}.", "A place on the tour costs {tour_price}."],
    "member": ["Membership costs {member_price} per year and includes {member_perk}.", "Membership: {member_price} a year, with {member_perk}.", "A yearly membership is {member_price} and brings {member_perk}."],
    "wifi": ["The free wifi is called {wifi}.", "Wifi: {wifi}.", "Guest wifi network: {wifi}."],
    "dogs": ["{dogs}."],
    "photos": ["{photos}."],
}
EXHIBIT = [
    "The {e} is in {r}.",
    "{e}: {r}.",
    "In {r}: the {e}.",
    "See the {e} in {r}.",
    "{r} shows the {e}.",
]
EXHIBIT_YEAR = ["The {e} in {r} dates from {y}.", "The {e} ({y}) is in {r}.", "{e}: {r}, from {y}."]
STAFF = [
    "Staff contact: {person}, {role}, {email}, phone {phone}.",
    "The {role} is {person}, {email}, phone {phone}.",
    "{role_cap}: {person}, e-mail {email}, phone {phone}.",
    "Contact for the {role}: {person}, {email}, {phone}.",
]
STAFF_ALONE = ["Staff contact: {person}, {email}, phone {phone}.", "Contact: {person}, {email}, {phone}."]


def capital(text):
    return text[:1].upper() + text[1:]


def hours_text(rng, table, prose=None):
    """The opening hours as one sentence."""
    prose = rng.random() < 0.6 if prose is None else prose
    joint = rng.choice([" from {} to {}", " {} to {}", " {}-{}", ": {} to {}", " {} - {}"]) if not prose else " from {} to {}"
    parts = [label + joint.format(*span) for label, _, span in table if span]
    closed = [label for label, _, span in table if not span]
    if prose:
        text = "Open " + (", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0])
    else:
        text = rng.choice(["Open ", "Opening hours: ", "Hours: "]) + ", ".join(parts)
    if not closed:
        return text + "."
    tail = " and ".join(closed)
    return text + rng.choice([f", closed on {tail}.", f". Closed on {tail}.", f", {tail} closed."])


TICKETS = [
    "Tickets cost {adult} for adults and {child} for children.",
    "Tickets: adults {adult}, children {child}.",
    "Adults pay {adult}, children {child}.",
    "Entry is {adult} for adults and {child} for children.",
]
DAILY = ["We open at {} and close at {} every day.", "Open every day from {} to {}.", "Opening hours: {} to {} daily."]


def facts(rng, c, keys, staff_role=True):
    """One sentence for each fact in `keys` of centre `c` ("hours", "exhibits:N", "staff:N" or a key of LINES)."""
    lines, keys = [], list(keys)
    if "adult" in keys and "child" in keys and rng.random() < 0.5:
        keys.remove("adult")
        keys.remove("child")
        lines.append(rng.choice(TICKETS).format(**c))
    for key in keys:
        what, _, n = key.partition(":")
        if what == "hours" and len(c["hours"]) == 1 and rng.random() < 0.5:
            lines.append(rng.choice(DAILY).format(*c["hours"][0][2]))
        elif what == "hours":
            lines.append(hours_text(rng, c["hours"]))
        elif what == "exhibits":
            for e, r, y in c["exhibits"][: int(n)]:
                form = rng.choice(EXHIBIT_YEAR if c["with_years"] else EXHIBIT)
                lines.append(capital(form.format(e=e, r=r, y=y)))
        elif what == "staff":
            for s in c["staff"][: int(n)]:
                form = rng.choice(STAFF if staff_role else STAFF_ALONE)
                lines.append(form.format(role_cap=capital(s["role"]), **s))
        else:
            lines.append(capital(rng.choice(LINES[key]).format(**c)))
    return lines


def build(rng, c, lines):
    """The prompt text that tells `lines` of centre `c`."""
    lines = list(lines)
    if rng.random() < 0.7:
        rng.shuffle(lines)
    opener = capital(rng.choice(OPENERS).format(**c))
    if rng.random() < 0.3:
        return opener + "\n" + "\n".join(("- " if rng.random() < 0.15 else "") + line for line in lines)
    return opener + " " + " ".join(lines)
