"""The report's figures, as small SVG files that come out the same each time."""

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "palisade",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)

import matplotlib.pyplot as plt  # noqa: E402

BLUE, RED, GREY = "#2b6a99", "#b5483a", "#9a9a9a"


def save(figure, folder, name):
    figure.tight_layout()
    path = folder / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")


def bars(folder, name, rows, title, colour, line=None):
    """Horizontal bars in per cent, with their 95 % intervals. rows: (label, rate)."""
    figure, axis = plt.subplots(figsize=(7, 0.6 + 0.19 * len(rows)))
    values = [100 * r["rate"] for _, r in rows]
    spread = [
        [max(0, v - 100 * r["low"]) for v, (_, r) in zip(values, rows)],
        [max(0, 100 * r["high"] - v) for v, (_, r) in zip(values, rows)],
    ]
    colours = colour if isinstance(colour, list) else [colour] * len(rows)
    axis.barh(range(len(rows)), values, color=colours, xerr=spread, error_kw={"lw": 0.8, "ecolor": "#444444"})
    axis.set_yticks(range(len(rows)), [label for label, _ in rows])
    axis.invert_yaxis()
    axis.margins(y=0.01)
    axis.set_xlim(0, None if max(values, default=0) < 40 else 100)
    axis.set_xlabel(title)
    if line is not None:
        axis.axvline(100 * line, color="#444444", lw=0.8, ls="--")
    save(figure, folder, name)


def curve(folder, found):
    points = found["english"]["roc"]
    figure, axis = plt.subplots(figsize=(5, 3.4))
    axis.plot([100 * x for x, _ in points], [100 * y for _, y in points], color=BLUE, drawstyle="steps-post")
    here = found["english"]["both"]
    axis.plot(100 * here["fpr"]["rate"], 100 * here["recall"]["rate"], "o", color=RED, label="as shipped")
    axis.axvline(1, color="#444444", lw=0.8, ls="--")
    axis.set_xlim(0, 25)
    axis.set_ylim(0, 100)
    axis.set_xlabel("false positives on hard benign texts, %")
    axis.set_ylabel("recall, %")
    axis.legend(loc="lower right", frameon=False)
    save(figure, folder, "curve")


def draw(found, folder, goals):
    folder.mkdir(exist_ok=True)
    curve(folder, found)
    categories = [(k, v["recall"]) for k, v in found["categories"].items()]
    bars(folder, "categories", categories, "recall by category, %", BLUE, goals["recall"])
    bars(
        folder,
        "benign",
        sorted(found["benign"].items(), key=lambda x: -x[1]["rate"]),
        "false positives by kind, %",
        RED,
        goals["fpr"],
    )
    languages = [
        (f"{k} {what}", v[key])
        for k, v in found["languages"].items()
        for what, key in (("recall", "recall"), ("false positives", "fpr"))
    ]
    bars(folder, "languages", languages, "by language, %", [BLUE, RED] * (len(languages) // 2))
    attacks = sorted((r for r in found["attacks"] if r["family"] != "plain"), key=lambda r: -r["evasion"]["rate"])
    shade = [RED if r["promised"] else BLUE if r["recoverable"] else GREY for r in attacks]
    title = "of the cases blocked undisguised, so many pass, % (red: promised, blue: recoverable, grey: neither)"
    bars(folder, "attacks", [(r["name"], r["evasion"]) for r in attacks], title, shade)
