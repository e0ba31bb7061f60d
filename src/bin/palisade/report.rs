//! The page of `palisade audit report`: one file, no script, nothing loaded from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use palisade::audit::Summary;
use serde_json::Value;

/// What a log holds, counted.
#[derive(Default)]
pub struct Page {
    requests: u64,
    /// How often the log was opened: sessions are numbered anew each time.
    opened: u64,
    sessions: BTreeSet<(u64, String)>,
    ends: BTreeMap<String, u64>,
    /// (category, action) of verdicts in force.
    categories: BTreeMap<(String, String), u64>,
    stages: BTreeMap<(String, String), u64>,
    sides: BTreeMap<String, u64>,
    blocks_by_hour: [u64; 24],
    requests_by_hour: [u64; 24],
    guard_ms: Vec<f64>,
    appeals: BTreeMap<String, u64>,
    all_appeals: u64,
    shadow_blocks: u64,
    policies: BTreeMap<String, u64>,
    /// Category of the block of each request that was refused.
    refused: BTreeMap<(u64, String, u64), String>,
    first: Option<i64>,
    last: i64,
}

/// Upper ends of the bars of guard latency, in milliseconds.
const LATENCY: [f64; 8] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, f64::INFINITY];

impl Page {
    /// Counts one record.
    pub fn add(&mut self, record: &Value) {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let time = record["time_unix"].as_i64().unwrap_or_default();
        self.first = Some(self.first.map_or(time, |t| t.min(time)));
        self.last = self.last.max(time);
        let hour = usize::try_from(time.rem_euclid(86_400) / 3600).unwrap_or(0);
        match record["event"].as_str() {
            Some("opened") => self.opened += 1,
            Some("verdict") => self.verdict(record, &text),
            Some("request") => {
                self.requests += 1;
                self.sessions.insert((self.opened, text("session")));
                *self.policies.entry(text("policy")).or_default() += 1;
                let end = text("end");
                if let Some(slot) = self.requests_by_hour.get_mut(hour) {
                    *slot += 1;
                }
                if let (true, Some(slot)) = (end.starts_with("blocked"), self.blocks_by_hour.get_mut(hour)) {
                    *slot += 1;
                }
                *self.ends.entry(end).or_default() += 1;
                self.guard_ms.extend(record["guard_ms"].as_f64());
            }
            Some("appeal") => {
                self.all_appeals += 1;
                let of = (self.opened, text("session"), record["request"].as_u64().unwrap_or_default());
                let category = self.refused.get(&of).cloned().unwrap_or_else(|| "unknown".to_owned());
                *self.appeals.entry(category).or_default() += 1;
            }
            _ => {}
        }
    }

    fn verdict(&mut self, record: &Value, text: &dyn Fn(&str) -> String) {
        let (action, category) = (text("action"), record["category"].as_str().unwrap_or("guard failure").to_owned());
        if record.get("shadow").is_some_and(|s| !s.is_null()) {
            self.shadow_blocks += u64::from(action == "block");
            return;
        }
        if action == "block" {
            let of = (self.opened, text("session"), record["request"].as_u64().unwrap_or_default());
            self.refused.entry(of).or_insert_with(|| category.clone());
            *self.sides.entry(text("stage")).or_default() += 1;
        }
        *self.categories.entry((category, action.clone())).or_default() += 1;
        *self.stages.entry((record["check"].as_str().unwrap_or("-").to_owned(), action)).or_default() += 1;
    }

    /// The page.
    pub fn html(&mut self, name: &str, summary: &Summary) -> String {
        self.guard_ms.sort_by(f64::total_cmp);
        let blocked: u64 = self.ends.iter().filter(|(e, _)| e.starts_with("blocked")).map(|(_, n)| n).sum();
        let quantile = |q: f64| {
            let at = ((self.guard_ms.len() as f64 - 1.0).max(0.0) * q).round() as usize;
            self.guard_ms.get(at).map_or("–".to_owned(), |ms| format!("{ms:.1} ms"))
        };
        let mut out = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Audit report: {}</title>{STYLE}",
            escape(name)
        );
        // Writing into a String cannot fail.
        let _ = write!(
            out,
            "<h1>Audit report</h1><p>{}, {} records, hash {}…",
            escape(name),
            summary.records,
            summary.last.get(..16).unwrap_or_default()
        );
        let _ =
            write!(out, "<br>{} to {} (UTC)</p><div class=\"tiles\">", day(self.first.unwrap_or(0)), day(self.last));
        let share = if self.requests == 0 { 0.0 } else { 100.0 * blocked as f64 / self.requests as f64 };
        let tiles = [
            ("requests", self.requests.to_string()),
            ("sessions", self.sessions.len().to_string()),
            ("refused", format!("{blocked} ({share:.1} %)")),
            ("appeals", self.all_appeals.to_string()),
            ("guard, median", quantile(0.5)),
            ("guard, 95 %", quantile(0.95)),
        ];
        for (what, value) in tiles {
            let _ = write!(out, "<div class=\"tile\"><b>{value}</b>{what}</div>");
        }
        out += "</div>";
        out += &section("Verdicts by category", "what the guards saw, and what was done", &stacked(&self.categories));
        out += &section("Verdicts by stage", "which check said so", &stacked(&self.stages));
        out += &section(
            "Requests by hour of the day",
            "UTC; refused ones in red",
            &hours(&self.requests_by_hour, &self.blocks_by_hour),
        );
        out += &section("Guard latency", "milliseconds of judging in one request", &bars(&self.latency()));
        out += &section("How requests ended", "", &bars(&counted(&self.ends)));
        let appealed: Vec<(String, u64)> = self.appeals.iter().map(|(c, n)| (c.clone(), *n)).collect();
        out += &section("Appeals by category", "refusals that users called wrong", &bars(&appealed));
        if self.shadow_blocks > 0 {
            let _ = write!(
                out,
                "<p>The policy that only watches would have blocked {} more times.</p>",
                self.shadow_blocks
            );
        }
        let policies: Vec<(String, u64)> =
            self.policies.iter().map(|(p, n)| (p.get(..16).unwrap_or(p).to_owned(), *n)).collect();
        out += &section("Requests by policy", "the first digits of its SHA-256", &bars(&policies));
        out += "</html>\n";
        out
    }

    fn latency(&self) -> Vec<(String, u64)> {
        let mut from = 0.0;
        let mut rows = Vec::new();
        for to in LATENCY {
            let n = self.guard_ms.iter().filter(|ms| (from..to).contains(*ms)).count() as u64;
            rows.push((if to.is_infinite() { format!("from {from}") } else { format!("{from} – {to}") }, n));
            from = to;
        }
        if self.guard_ms.is_empty() { Vec::new() } else { rows }
    }
}

const STYLE: &str = "<style>body{font:15px/1.45 system-ui,sans-serif;max-width:860px;margin:2em auto;padding:0 1em;color:#1d2733}\
h1{margin-bottom:0}h2{margin:1.8em 0 0;font-size:1.1em}p{color:#5a6675;margin:.2em 0 .8em}\
.tiles{display:grid;grid-template-columns:repeat(3,1fr);gap:.7em}.tile{background:#f2f5f8;border-radius:8px;padding:.7em 1em;color:#5a6675}\
.tile b{display:block;font-size:1.25em;color:#1d2733}svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#1d2733}\
.n{fill:#5a6675}</style>";

const LABEL: usize = 190;
const WIDTH: usize = 820;
const ROW: usize = 22;

fn color(action: &str) -> &'static str {
    match action {
        "block" => "#c2413a",
        "mask" => "#8458b3",
        "flag" => "#d69a2d",
        _ => "#4778b0",
    }
}

fn section(title: &str, what: &str, body: &str) -> String {
    let body = if body.is_empty() { "<p>None.</p>".to_owned() } else { body.to_owned() };
    format!("<h2>{title}</h2><p>{what}</p>{body}")
}

fn counted(map: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut rows: Vec<(String, u64)> = map.iter().map(|(k, n)| (k.clone(), *n)).collect();
    rows.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    rows
}

/// One bar for each row.
fn bars(rows: &[(String, u64)]) -> String {
    let parts: Vec<_> = rows.iter().map(|(name, n)| (name.clone(), vec![("", *n)])).collect();
    chart(&parts)
}

/// One bar for each name, in the colours of the actions.
fn stacked(map: &BTreeMap<(String, String), u64>) -> String {
    let mut rows: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
    for ((name, action), n) in map {
        rows.entry(name).or_default().push((action, *n));
    }
    let mut rows: Vec<(String, Vec<(&str, u64)>)> = rows.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    rows.sort_by_key(|(_, parts)| std::cmp::Reverse(parts.iter().map(|(_, n)| n).sum::<u64>()));
    chart(&rows)
}

fn chart(rows: &[(String, Vec<(&str, u64)>)]) -> String {
    let most = rows.iter().map(|(_, parts)| parts.iter().map(|(_, n)| n).sum::<u64>()).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", rows.len() * ROW + 4);
    for (i, (name, parts)) in rows.iter().enumerate() {
        let (y, mut x) = (i * ROW, LABEL as f64);
        let _ = write!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>", LABEL - 8, y + 15, escape(name));
        for (action, n) in parts {
            let width = (WIDTH - LABEL - 130) as f64 * *n as f64 / most as f64;
            let _ = write!(
                out,
                "<rect x=\"{x:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"15\" fill=\"{}\"><title>{} {n}</title></rect>",
                y + 3,
                color(action),
                escape(action)
            );
            x += width;
        }
        let words: Vec<String> = parts.iter().map(|(a, n)| format!("{n} {a}").trim_end().to_owned()).collect();
        let _ =
            write!(out, "<text class=\"n\" x=\"{:.1}\" y=\"{}\">{}</text>", x + 6.0, y + 15, escape(&words.join(", ")));
    }
    out + "</svg>"
}

fn hours(all: &[u64; 24], blocked: &[u64; 24]) -> String {
    let most = all.iter().max().copied().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let (height, step) = (120.0, WIDTH as f64 / 24.0);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} 150\" role=\"img\">");
    for (hour, (n, bad)) in all.iter().zip(blocked).enumerate() {
        let x = hour as f64 * step;
        for (count, fill) in [(*n, color("")), (*bad, color("block"))] {
            let h = height * count as f64 / most as f64;
            let _ = write!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{h:.1}\" fill=\"{fill}\"><title>{hour}:00 {count}</title></rect>",
                x + 3.0,
                height - h + 6.0,
                step - 6.0
            );
        }
        let _ =
            write!(out, "<text class=\"n\" x=\"{:.1}\" y=\"144\" text-anchor=\"middle\">{hour}</text>", x + step / 2.0);
    }
    out + "</svg>"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The date of a time, by the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
fn day(time_unix: i64) -> String {
    let days = time_unix.div_euclid(86_400) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = (if month < 10 { month + 3 } else { month - 9 }, year_of_era + era * 400);
    let clock = time_unix.rem_euclid(86_400);
    format!("{:04}-{month:02}-{day:02} {:02}:{:02}", year + i64::from(month <= 2), clock / 3600, clock % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(day(0), "1970-01-01 00:00");
        assert_eq!(day(951_782_400), "2000-02-29 00:00");
        assert_eq!(day(1_764_110_100), "2025-11-25 22:35");
    }

    #[test]
    fn names_from_a_log_cannot_become_markup() {
        let mut page = Page::default();
        page.add(&serde_json::json!({"event": "verdict", "action": "block", "category": "<script>", "check": "a\"b", "stage": "input",
            "session": "s1", "request": 1, "time_unix": 5}));
        page.add(&serde_json::json!({"event": "appeal", "session": "s1", "request": 1, "time_unix": 5}));
        let summary = Summary { first: 0, before: String::new(), records: 2, last: "ab".repeat(32), bytes: 0, torn: 0 };
        let html = page.html("<log>", &summary);
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;") && !html.contains("<log>"));
    }
}
