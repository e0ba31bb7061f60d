//! What the guard costs: megabytes a second of stage 0 (views and rules, no classifier) on texts of several kinds,
//! milliseconds a window of the embedded classifier, and milliseconds of a guarded stream for each hundred tokens. Prints
//! one line of JSON for each figure: the best of the rounds and their median. `guarded --model FILE` decodes an answer with
//! that model, in turn without and with the guard, and prints a step of each, their ratio and its spread.
#![allow(clippy::print_stdout, reason = "a program that prints")]
#![allow(clippy::expect_used, reason = "a program that may end where it cannot go on")]

#[path = "common/beside.rs"]
mod beside;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade::CancelFlag;
use palisade::guard::{Check, Control, Guard, GuardOptions, InputContext, JudgedText, OutputContext, RuleSet, Side};

const ROUNDS: usize = 15;
const BYTES: usize = 200_000;
/// Stage 0 is given messages of this many bytes.
const MESSAGE: usize = 4000;
/// Ordinary English text has about so many characters for each token of Llama 4.
const CHARS_PER_TOKEN: f64 = 4.4;

fn main() {
    let only = std::env::args().nth(1).filter(|a| !a.starts_with("--"));
    let wanted = |name: &str| only.as_deref().is_none_or(|o| name.starts_with(o));
    if wanted("stage0") {
        stage0();
    }
    let guard = Arc::new(Guard::open(&GuardOptions::default()).expect("the embedded guard"));
    if wanted("classifier") {
        classifier(&guard);
    }
    if wanted("stream") {
        stream(&guard);
    }
    if let Some(model) = std::env::args().skip_while(|a| a != "--model").nth(1).filter(|_| wanted("guarded")) {
        beside::run(Path::new(&model), &guard, &Words(9).sentences(600, 14));
    }
}

fn stage0() {
    let rules = RuleSet::embedded(&[]).expect("the embedded rules");
    let control = Control::new(CancelFlag::new(), Duration::from_secs(3600));
    for (kind, text) in texts() {
        let messages = pieces(&text);
        let views: usize = messages.iter().filter_map(|m| JudgedText::new(m).ok()).map(|j| j.views().len()).sum();
        let views = views as f64 / messages.len() as f64;
        let judge = || {
            for message in &messages {
                let judged = JudgedText::new(message).expect("a text within its limits");
                black_box(rules.judge(&judged, Side::Output, &control).expect("rules that run"));
            }
        };
        let [best, median] = seconds(judge);
        let [view, _] = seconds(|| messages.iter().for_each(|m| drop(black_box(JudgedText::new(m)))));
        let rate = |s: f64| text.len() as f64 / s / 1e6;
        println!(
            "{{\"stage0\":\"{kind}\",\"views\":{views:.1},\"mb_s\":{:.1},\"mb_s_median\":{:.1},\"views_alone_mb_s\":{:.1}}}",
            rate(best),
            rate(median),
            rate(view)
        );
    }
    // What one message costs: the rest of a short judgement is not the scan.
    let text = "When does the museum open on Sundays, and where do I buy tickets for the two of us?";
    let [best, _] = seconds(|| {
        for _ in 0..1000 {
            let judged = JudgedText::new(text).expect("a text within its limits");
            black_box(rules.judge(&judged, Side::Input, &control).expect("rules that run"));
        }
    });
    println!("{{\"stage0\":\"one message of {} bytes\",\"us\":{:.2}}}", text.len(), best * 1e3);
}

fn classifier(guard: &Guard) {
    let mut words = Words(3);
    for words_long in [8, 30, 85] {
        let text = words.sentences(words_long, usize::MAX);
        let context = InputContext { text: &text, ..InputContext::default() };
        let [best, median] = seconds(|| drop(black_box(guard.judge_input(&context, &CancelFlag::new()))));
        println!(
            "{{\"classifier\":\"one window\",\"words\":{words_long},\"ms\":{:.3},\"ms_median\":{:.3}}}",
            best * 1e3,
            median * 1e3
        );
    }
}

fn stream(guard: &Arc<Guard>) {
    let mut words = Words(9);
    let sentences = words.sentences(600, 14);
    let endless = words.sentences(600, usize::MAX);
    let list: String =
        (0..60).map(|i| format!("{}. {}\n", i + 1, words.sentences(10, usize::MAX).trim_end())).collect();
    for (kind, text) in [("sentences", sentences), ("no sentence ends", endless), ("list", list)] {
        let tokens = text.chars().count() as f64 / CHARS_PER_TOKEN;
        let letters: Vec<char> = text.chars().collect();
        let pieces: Vec<String> = letters.chunks(4).map(|c| c.iter().collect()).collect();
        let mut last = [0.0; 2];
        let mut units = 0;
        let mut all: Vec<[f64; 2]> = (0..ROUNDS)
            .map(|_| {
                let mut stream = guard.output_stream(OutputContext::default());
                let start = Instant::now();
                for piece in &pieces {
                    let step = stream.push(piece);
                    assert!(step.blocked.is_none(), "{kind}: {:?}", step.verdicts);
                }
                let pushed = start.elapsed().as_secs_f64();
                drop(black_box(stream.end()));
                units = stream.stats().judgements;
                last = [pushed, start.elapsed().as_secs_f64()];
                last
            })
            .collect();
        all.sort_unstable_by(|a, b| a[1].total_cmp(&b[1]));
        let per_100 = |s: f64| s * 1e3 / tokens * 100.0;
        println!(
            "{{\"stream\":\"{kind}\",\"tokens\":{tokens:.0},\"judgements\":{units},\"ms_per_100_tokens\":{:.2},\
             \"ms_per_100_tokens_median\":{:.2},\"before_the_end\":{:.2}}}",
            per_100(all[0][1]),
            per_100(all[ROUNDS / 2][1]),
            per_100(all[0][0])
        );
    }
}

/// A text as messages of some kilobytes.
fn pieces(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut at = MESSAGE.min(rest.len());
        while !rest.is_char_boundary(at) {
            at += 1;
        }
        let (piece, after) = rest.split_at(at);
        out.push(piece);
        rest = after;
    }
    out
}

/// The best and the median of the rounds.
fn seconds(mut work: impl FnMut()) -> [f64; 2] {
    work();
    let mut all: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    all.sort_unstable_by(f64::total_cmp);
    [all[0], all[ROUNDS / 2]]
}

fn texts() -> Vec<(&'static str, String)> {
    let mut words = Words(1);
    let one_line = words.sentences(BYTES / 6, 14);
    let prose = words.paragraphs(BYTES);
    let typographic = prose.replace('\'', "\u{2019}").replace("and ", "\u{2013} and ");
    let spread =
        |phrase: &str, by: &str| phrase.chars().flat_map(|c| [c.to_string(), by.to_owned()]).collect::<String>();
    let hidden = prose.replace("museum", &spread("museum", "\u{200b}"));
    let leet = prose.replace("museum", "mus3um").replace("the ", "th3 ");
    vec![
        ("English prose, one line", one_line),
        ("English prose in paragraphs", prose.clone()),
        ("English prose with typographic marks", typographic),
        ("English prose with numbers and an e-mail address", numbers(&mut words)),
        ("code", repeat(&mut words, code)),
        ("JSON", repeat(&mut words, json)),
        ("French", repeat(&mut words, |w| format!("{} ", w.of(&FRENCH)))),
        ("Russian", repeat(&mut words, |w| format!("{} ", w.of(&RUSSIAN)))),
        ("Hindi", repeat(&mut words, |w| format!("{} ", w.of(&HINDI)))),
        ("Thai", repeat(&mut words, |w| w.of(&THAI).to_owned())),
        ("Chinese", repeat(&mut words, |w| w.of(&CHINESE).to_owned())),
        ("mixed scripts and emoji", repeat(&mut words, mixed)),
        ("disguised: zero-width characters", hidden),
        ("disguised: digits for letters", leet),
    ]
}

#[rustfmt::skip]
const ENGLISH: [&str; 60] = [
    "the", "museum", "opens", "at", "nine", "and", "closes", "five", "in", "evening", "visitors", "who", "come", "early", "find",
    "galleries", "quiet", "with", "paintings", "of", "harbour", "people", "worked", "there", "a", "guide", "tells", "story",
    "old", "town", "its", "walls", "gates", "children", "like", "model", "ships", "on", "second", "floor", "tickets", "are",
    "sold", "desk", "near", "entrance", "it's", "possible", "to", "borrow", "wheelchair", "from", "cloakroom", "for", "free",
    "photographs", "show", "bridges", "over", "river",
];
const FRENCH: [&str; 8] = [
    "Le musée",
    "ouvre à",
    "neuf heures,",
    "et la",
    "visite guidée",
    "dure une",
    "heure environ.",
    "Où est l'entrée ?",
];
const RUSSIAN: [&str; 7] = ["Музей", "открывается", "в девять", "утра,", "и билеты", "продаются", "у входа."];
const HINDI: [&str; 7] = ["संग्रहालय", "सुबह", "नौ बजे", "खुलता है।", "टिकट", "प्रवेश द्वार पर", "मिलते हैं।"];
const THAI: [&str; 6] = ["พิพิธภัณฑ์", "เปิด", "เก้าโมงเช้า ", "ซื้อตั๋ว", "ที่ทางเข้า", "ทุกวัน "];
const CHINESE: [&str; 6] = ["博物馆", "早上九点开门", "。门票在入口处", "出售", "、", "孩子们喜欢二楼的模型"];
const EMOJI: [&str; 4] = ["\u{1F600}", "\u{1F3DB}", "\u{1F44D}", "\u{1F469}\u{200D}\u{1F52C}"];

/// Pseudo-random choices, the same on every machine (splitmix64).
struct Words(u64);

impl Words {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as usize % n
    }

    fn of(&mut self, words: &'static [&'static str]) -> &'static str {
        words[self.below(words.len())]
    }

    /// So many words, in sentences of `each` words.
    fn sentences(&mut self, count: usize, each: usize) -> String {
        let mut out = String::new();
        for i in 1..=count {
            out.push_str(self.of(&ENGLISH));
            out.push_str(if i % each == 0 { ". " } else { " " });
        }
        out
    }

    fn paragraphs(&mut self, bytes: usize) -> String {
        let mut out = String::new();
        while out.len() < bytes {
            out.push_str(&self.sentences(70, 14));
            out.push_str("\n\n");
        }
        out
    }
}

fn repeat(words: &mut Words, part: impl Fn(&mut Words) -> String) -> String {
    let mut out = String::new();
    while out.len() < BYTES {
        out.push_str(&part(words));
    }
    out
}

fn numbers(words: &mut Words) -> String {
    repeat(words, |w| {
        let (year, price) = (1800 + w.below(220), w.below(5000));
        let text = w.sentences(40, 14);
        format!(
            "{text}In {year} it cost {}.{:02} to see it; write to desk@museum.example for more. ",
            price / 100,
            price % 100
        )
    })
}

fn code(w: &mut Words) -> String {
    let (a, b) = (w.of(&ENGLISH).replace('\'', "_"), w.of(&ENGLISH).replace('\'', "_"));
    format!(
        "    /// The {a} of a {b}.\n    pub fn {a}_{b}(&self, {b}: usize) -> Result<Vec<u8>> {{\n        \
         let {a} = self.{b}.get({b} + {}).ok_or(Error::Missing)?;\n        if {a}.len() > MOST_{} {{\n            \
         return Err(Error::limit(format!(\"{{}} is too long\", {a})));\n        }}\n        Ok({a}.to_vec())\n    }}\n\n",
        w.below(64),
        b.to_uppercase()
    )
}

fn json(w: &mut Words) -> String {
    format!(
        "{{\"id\": {}, \"name\": \"{} {}\", \"open\": true, \"price\": {}.5, \"rooms\": [{}, {}, {}], \"created_at\": \
         \"2024-0{}-1{}T09:00:00Z\"}},\n",
        w.below(1_000_000),
        w.of(&ENGLISH),
        w.of(&ENGLISH),
        w.below(90),
        w.below(900),
        w.below(900),
        w.below(900),
        1 + w.below(9),
        w.below(10)
    )
}

fn mixed(w: &mut Words) -> String {
    let parts = [w.of(&ENGLISH), w.of(&HINDI), w.of(&THAI), w.of(&CHINESE), w.of(&EMOJI), w.of(&ENGLISH)];
    format!("{} ", parts.join(" "))
}
