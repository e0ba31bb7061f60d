//! Rule files: TOML to compiled rules, with every mistake named.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;
use serde::Deserialize;

use super::loose::loose;
use super::personal::Test;
use super::{Meaning, Pattern, Phrase, RuleSet, SQUEEZED_LEAST};
use crate::error::{Error, Result};
use crate::guard::policy::Custom;
use crate::guard::taxonomy::Category;
use crate::guard::text::JudgedText;
use crate::guard::verdict::Action;

/// What stands around every pattern: a match that begins or ends with a letter or digit does so at the border of a word.
/// It is part of the pattern, so that a shorter alternative does not win and then fail at the border.
const BEGIN: &str = r"(?:\b|\b{end-half})";
const END: &str = r"(?:\b|\b{start-half})";

/// A compiled set of patterns may use so much memory.
const MOST_AUTOMATON_BYTES: usize = 16 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    phrases: Vec<Phrases>,
    #[serde(default)]
    patterns: Vec<Regexes>,
}

/// One rule made of phrases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrases {
    id: String,
    category: String,
    #[serde(default = "both")]
    sides: Vec<SideName>,
    #[serde(default = "block")]
    most: Action,
    any: Vec<String>,
}

/// One rule made of a regular expression.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Regexes {
    id: String,
    category: String,
    #[serde(default = "both")]
    sides: Vec<SideName>,
    #[serde(default = "block")]
    most: Action,
    regex: String,
    /// A simpler expression that is found in every text in which `regex` finds what passes `test`: what the one pass over all
    /// rules looks for in its place, where it has long counted runs of letters.
    sign: Option<String>,
    test: Option<Test>,
    #[serde(default)]
    near: Vec<String>,
    /// Examples the loader tries: a rule that does not match its own is refused.
    #[serde(default)]
    matches: Vec<String>,
    /// And these it must not match.
    #[serde(default)]
    passes: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum SideName {
    Input,
    Output,
}

fn both() -> Vec<SideName> {
    vec![SideName::Input, SideName::Output]
}

fn block() -> Action {
    Action::Block
}

pub(super) fn compile(files: &[(&str, &str)], custom: &[Custom], public: &[String]) -> Result<RuleSet> {
    let mut build = Builder::default();
    for (name, text) in files {
        let file: File =
            toml::from_str(text).map_err(|e| Error::corrupt(format!("rules {name}: {}", e.to_string().trim())))?;
        for rule in file.phrases {
            let at = format!("rules {name}: {}", rule.id);
            build.phrases(rule).map_err(|e| e.context(at))?;
        }
        for rule in file.patterns {
            let at = format!("rules {name}: {}", rule.id);
            build.pattern(rule).map_err(|e| e.context(at))?;
        }
    }
    for (n, category) in custom.iter().enumerate() {
        let number = u8::try_from(n).map_err(|_| Error::limit("custom: too many categories"))?;
        build.custom(number, category).map_err(|e| e.context(format!("custom.{}", category.id)))?;
    }
    let set = build.finish(public)?;
    set.examples()?;
    Ok(set.rules)
}

#[derive(Default)]
struct Builder {
    phrases: Vec<Phrase>,
    texts: Vec<String>,
    patterns: Vec<Pattern>,
    /// For each pattern what a text must hold so that it can match.
    signs: Vec<String>,
    longest: (usize, String),
    examples: Vec<(String, usize, Vec<String>, Vec<String>)>,
}

struct Built {
    rules: RuleSet,
    examples: Vec<(String, usize, Vec<String>, Vec<String>)>,
}

fn meaning(id: &str, category: &str, sides: &[SideName], most: Action) -> Result<Meaning> {
    let category: Category = category.parse().map_err(|e: Error| Error::corrupt(e.message()))?;
    if sides.is_empty() || most == Action::Allow {
        return Err(Error::corrupt("a rule needs a side and an action above allow"));
    }
    let (input, output) = (sides.contains(&SideName::Input), sides.contains(&SideName::Output));
    Ok(Meaning { category, input, output, most, rule: id.into() })
}

impl Builder {
    fn phrases(&mut self, rule: Phrases) -> Result<()> {
        let meaning = meaning(&rule.id, &rule.category, &rule.sides, rule.most)?;
        self.add_phrases(&rule.id, &meaning, &rule.any)
    }

    /// The rules of a category of the house. On a side where it is allowed its rules say nothing.
    fn custom(&mut self, number: u8, custom: &Custom) -> Result<()> {
        let category = Category::Custom(number);
        let says = |n: usize| custom.settings[n].action > Action::Allow;
        let rule = std::sync::Arc::clone(&custom.id);
        let meaning = Meaning { category, input: says(0), output: says(1), most: Action::Block, rule };
        self.add_phrases(&custom.id, &meaning, &custom.list)?;
        for regex in &custom.regex {
            self.add_pattern(&custom.id, meaning.clone(), regex, None, None)?;
        }
        Ok(())
    }

    fn add_phrases(&mut self, id: &str, meaning: &Meaning, any: &[String]) -> Result<()> {
        for text in any {
            // Phrases go through the same reading as judged text, so that both meet in the same form.
            let judged = JudgedText::new(text)?;
            let clean = judged.views().get(1).map_or(text.as_str(), |v| v.text()).trim().to_lowercase();
            if clean.chars().filter(|c| c.is_alphanumeric()).count() < 4 {
                return Err(Error::corrupt(format!("phrase {text:?} is too short")));
            }
            self.weigh(clean.chars().count(), id);
            for form in forms(&clean) {
                self.phrases.push(Phrase { meaning: meaning.clone() });
                self.texts.push(form);
            }
        }
        Ok(())
    }

    fn pattern(&mut self, rule: Regexes) -> Result<()> {
        let meaning = meaning(&rule.id, &rule.category, &rule.sides, rule.most)?;
        let near = if rule.near.is_empty() { None } else { Some(rule.near.as_slice()) };
        let at = self.patterns.len();
        self.add_pattern(&rule.id, meaning, &rule.regex, rule.test, near)?;
        if let (Some(sign), Some(last)) = (rule.sign, self.signs.last_mut()) {
            *last = format!("(?i-u)(?:{sign})");
        }
        self.examples.push((rule.id, at, rule.matches, rule.passes));
        Ok(())
    }

    fn add_pattern(
        &mut self,
        id: &str,
        meaning: Meaning,
        regex: &str,
        test: Option<Test>,
        near: Option<&[String]>,
    ) -> Result<()> {
        // Bytes are ASCII here: the longest match counts characters, and views hold ASCII where it matters.
        let source = format!("(?i-u){BEGIN}(?:{regex}){END}");
        let bad = |e: &dyn std::fmt::Display| Error::corrupt(format!("regex: {e}"));
        let hir = syntax::parse(&source).map_err(|e| bad(&e))?;
        let longest = hir.properties().maximum_len().ok_or_else(|| bad(&"it can match without end"))?;
        if hir.properties().minimum_len().unwrap_or(0) == 0 {
            return Err(bad(&"it can match nothing"));
        }
        self.weigh(longest, id);
        let regex = Regex::builder().configure(config()).build(&source).map_err(|e| bad(&e))?;
        // Context words are rarer than numbers.
        self.signs.push(near.map_or(source, |near| any_of(near, true)));
        let near = near.map(automaton).transpose()?;
        self.patterns.push(Pattern { meaning, regex, test, near });
        Ok(())
    }

    fn weigh(&mut self, longest: usize, id: &str) {
        if longest > self.longest.0 {
            self.longest = (longest, id.to_owned());
        }
    }

    fn finish(mut self, public: &[String]) -> Result<Built> {
        self.signs.push(any_of(&self.texts, false));
        let finder = automaton(&self.texts)?;
        // A phrase that is too short without its spaces keeps its place in the table with a text that cannot occur.
        let squeezed: Vec<String> = self
            .texts
            .iter()
            .map(|t| t.chars().filter(|c| c.is_alphanumeric()).collect::<String>())
            .map(|t| if t.chars().count() < SQUEEZED_LEAST { "\0".to_owned() } else { t })
            .collect();
        let squeezed = automaton(&squeezed)?;
        let bad = |e: &dyn std::fmt::Display| Error::corrupt(format!("rules: all patterns together: {e}"));
        let bytes = syntax::Config::new().unicode(false).utf8(false).case_insensitive(true);
        let signs = self.signs.iter().map(|s| syntax::parse_with(s, &bytes).map_err(|e| bad(&e)));
        let signs: Vec<Hir> = signs.map(|sign| loose(sign?).map_err(|e| bad(&e))).collect::<Result<_>>()?;
        let signs = Regex::builder()
            .configure(config().match_kind(regex_automata::MatchKind::All).utf8_empty(false))
            .build_many_from_hir(&signs)
            .map_err(|e| bad(&e))?;
        let rules = RuleSet {
            phrases: self.phrases,
            finder,
            squeezed,
            patterns: self.patterns,
            signs,
            public: public.to_vec(),
            longest: self.longest,
            hidden: "hidden_text".into(),
        };
        Ok(Built { rules, examples: self.examples })
    }
}

impl Built {
    /// Tries every rule on its own examples.
    fn examples(&self) -> Result<()> {
        for (id, index, matches, passes) in &self.examples {
            let Some(pattern) = self.rules.patterns.get(*index) else { continue };
            let hit = |text: &str| -> Result<bool> {
                let judged = JudgedText::new(text)?;
                Ok(judged.views().iter().any(|view| {
                    let mut hit = false;
                    pattern.each(view.text(), &[], |_| hit = true);
                    hit && self.rules.has_sign(view.text(), *index)
                }))
            };
            for (examples, wanted) in [(matches, true), (passes, false)] {
                for text in examples {
                    if hit(text)? != wanted {
                        let how = if wanted { "does not match its example" } else { "matches its counter-example" };
                        return Err(Error::corrupt(format!("rules: {id} {how} {text:?}")));
                    }
                }
            }
        }
        Ok(())
    }
}

fn config() -> regex_automata::meta::Config {
    Regex::config().nfa_size_limit(Some(MOST_AUTOMATON_BYTES)).hybrid_cache_capacity(MOST_AUTOMATON_BYTES)
}

/// ASCII letters match in either case; for other scripts the usual written forms are listed.
fn forms(lower: &str) -> Vec<String> {
    let mut out = vec![lower.to_owned()];
    if !lower.is_ascii() {
        let mut chars = lower.chars();
        let title: String = chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default();
        out.extend([title, lower.to_uppercase()].into_iter().filter(|f| f != lower));
    }
    out
}

/// A regular expression over bytes for any of the texts; with `words` not inside a longer word or number. Without texts it
/// matches nothing.
fn any_of(texts: &[String], words: bool) -> String {
    let literal = |text: &String| {
        let bytes: String = text.bytes().map(|b| format!("\\x{b:02x}")).collect();
        let begin = if words && text.starts_with(|c: char| c.is_ascii_alphanumeric()) { "(?:^|[^a-z0-9])" } else { "" };
        let end = if words && text.ends_with(|c: char| c.is_ascii_alphanumeric()) { "(?:[^a-z0-9]|$)" } else { "" };
        format!("{begin}{bytes}{end}")
    };
    let all: Vec<String> = texts.iter().map(literal).collect();
    if all.is_empty() { r"[^\x00-\xff]".into() } else { format!("(?i-u){}", all.join("|")) }
}

fn automaton(texts: &[String]) -> Result<AhoCorasick> {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(texts)
        .map_err(|e| Error::corrupt(format!("phrases: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        compile(&[("t", text)], &[], &[]).map(|_| ()).unwrap_err().message().to_owned()
    }

    #[test]
    fn mistakes_in_rules_are_named() {
        let p =
            |regex: &str, rest: &str| format!("[[patterns]]\nid = \"x\"\ncategory = \"S1\"\nregex = '{regex}'\n{rest}");
        for (text, word) in [
            ("[[phrases]]\nid = \"x\"\ncategory = \"S99\"\nany = [\"abcd efgh\"]".to_owned(), "S99"),
            ("[[phrases]]\nid = \"x\"\ncategory = \"S1\"\nany = [\"a\"]".to_owned(), "too short"),
            (
                "[[phrases]]\nid = \"x\"\ncategory = \"S1\"\nmost = \"allow\"\nany = [\"abcd\"]".to_owned(),
                "above allow",
            ),
            ("[[phrases]]\nid = \"x\"\ncategory = \"S1\"\nsides = []\nany = [\"abcd\"]".to_owned(), "side"),
            (p("a+", ""), "without end"),
            (p("(?:abc)?", ""), "nothing"),
            (p("(", ""), "regex"),
            (p("abc", "matches = [\"xyz\"]"), "does not match"),
            (p("abc", "passes = [\"abc\"]"), "counter-example"),
            (p("abc", "test = \"guess\""), "guess"),
            ("[[rules]]\nid = \"x\"".to_owned(), "rules"),
        ] {
            let found = problem(&text);
            assert!(found.contains(word), "{text}: {found}");
        }
    }

    #[test]
    fn the_shipped_rules_compile_and_pass_their_own_examples() {
        let rules = RuleSet::embedded(&[]).unwrap();
        assert!(rules.phrases.len() > 50 && rules.patterns.len() > 10);
        let (longest, rule) = rules.longest_match();
        let ahead = crate::guard::StreamPolicy::default().hold;
        assert!(longest <= ahead, "{rule} can match {longest}");
    }
}
