//! The check that needs no model: phrases, patterns, personal data, control-token text and hidden text.

mod load;
mod loose;
mod numbers;
mod personal;

use std::ops::Range;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use regex_automata::meta::Regex;
use regex_automata::{Input, PatternID, PatternSet};

use personal::Test;

use super::check::{Check, Control};
use super::policy::Policy;
use super::taxonomy::Category;
use super::text::{JudgedText, View, ViewKind};
use super::verdict::{Action, CheckId, Evidence, Finding, Side};
use crate::error::{Error, Result};

/// Compiled rules. Every pattern runs in linear time, and none matches more than [`RuleSet::longest_match`].
pub struct RuleSet {
    phrases: Vec<Phrase>,
    finder: AhoCorasick,
    /// The phrases without spaces, for views in which the spaces between words are lost.
    squeezed: AhoCorasick,
    patterns: Vec<Pattern>,
    /// What a text has to hold so that a pattern can match in it or in its respaced view, for all patterns at once
    /// and behind them for all phrases.
    signs: Regex,
    public: Vec<String>,
    longest: (usize, String),
    /// The name under which hidden text is reported.
    hidden: Arc<str>,
}

/// What a match of a rule means.
#[derive(Clone, Debug)]
struct Meaning {
    category: Category,
    input: bool,
    output: bool,
    most: Action,
    rule: Arc<str>,
}

/// Which rule a phrase of the automaton belongs to.
struct Phrase {
    meaning: Meaning,
}

struct Pattern {
    meaning: Meaning,
    regex: Regex,
    test: Option<Test>,
    near: Option<AhoCorasick>,
}

/// Context words count within so many bytes before and after a match.
const NEAR: usize = 48;
/// A shorter phrase without its spaces would be found inside ordinary words.
const SQUEEZED_LEAST: usize = 12;
/// Hidden text with so many letters was put there on purpose.
const HIDDEN_LETTERS: usize = 4;

impl RuleSet {
    /// The rules inside the library. `public` are contacts that are not personal data.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] when the build embedded damaged rules.
    pub fn embedded(public: &[String]) -> Result<Self> {
        Self::from_files(&super::assets::RULES, public)
    }

    /// The rules inside the library together with the lists and patterns of the policy's own categories, each of which
    /// has to bear out its own examples.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] naming the category and what is wrong with it.
    pub fn for_policy(policy: &Policy) -> Result<Self> {
        let rules = load::compile(&super::assets::RULES, policy.custom(), policy.public_contacts())?;
        for (n, custom) in policy.custom().iter().enumerate().filter(|(_, c)| c.has_rules()) {
            let category = u8::try_from(n).map(Category::Custom).map_err(|_| Error::limit("too many categories"))?;
            rules.try_examples(category, &custom.matches, true)?;
            rules.try_examples(category, &custom.passes, false)?;
        }
        Ok(rules)
    }

    /// Holds examples of a category against the rules, on the input side or the output side.
    fn try_examples(&self, category: Category, examples: &[String], wanted: bool) -> Result<()> {
        for text in examples {
            let judged = JudgedText::new(text)?;
            let mut found = Vec::new();
            for views in alike(&judged) {
                self.read(&judged, views, None, &mut found);
            }
            let hit = found.iter().find(|f| f.category == category);
            if hit.is_some() != wanted {
                let rule = hit.and_then(|f| f.rule.as_deref()).unwrap_or_default();
                let how = if wanted {
                    "is among its matches and nothing in it is found"
                } else {
                    "is among its passes and is found"
                };
                return Err(Error::corrupt(format!("{rule} {text:?} {how}: the examples do not separate")));
            }
        }
        Ok(())
    }

    /// Compiles rules from the texts of rule files, each with a name for messages.
    ///
    /// # Errors
    /// [`crate::Kind::Corrupt`] naming the file, the rule and what is wrong with it.
    pub fn from_files(files: &[(&str, &str)], public: &[String]) -> Result<Self> {
        load::compile(files, &[], public)
    }

    /// The most characters any rule can match, and the rule that can.
    #[must_use]
    pub fn longest_match(&self) -> (usize, &str) {
        (self.longest.0, &self.longest.1)
    }

    /// Phrases and patterns of a view and of those behind it that repeat it with single spaces. One pass over the
    /// first tells which of them are worth running; in most texts none is.
    fn read(&self, text: &JudgedText<'_>, views: &[View<'_>], side: Option<Side>, out: &mut Vec<Finding>) {
        let Some(input) = views.first().map(|view| Input::new(view.text())) else { return };
        if !self.signs.is_match(input.clone().earliest(true)) {
            return;
        }
        let signs = self.signs_in(&input);
        for view in views {
            self.read_those(text, view, side, |i| PatternID::new(i).is_ok_and(|id| signs.contains(id)), out);
        }
    }

    fn signs_in(&self, input: &Input<'_>) -> PatternSet {
        let mut signs = PatternSet::new(self.patterns.len() + 1);
        self.signs.which_overlapping_matches(input, &mut signs);
        signs
    }

    /// Whether the one pass would send pattern `index` over this text.
    fn has_sign(&self, text: &str, index: usize) -> bool {
        let signs = self.signs_in(&Input::new(text));
        PatternID::new(index).is_ok_and(|id| signs.contains(id))
    }

    fn read_those(
        &self,
        text: &JudgedText<'_>,
        view: &View<'_>,
        side: Option<Side>,
        seen: impl Fn(usize) -> bool,
        out: &mut Vec<Finding>,
    ) {
        if seen(self.patterns.len()) {
            self.phrases(view, side, out);
        }
        // Digits are what the tests look for; where digits were read as letters there is nothing for them.
        let read_as_letters = matches!(view.kind(), ViewKind::Leet | ViewKind::Turned);
        let digits = !read_as_letters && view.text().bytes().any(|b| b.is_ascii_digit());
        for (_, pattern) in self.patterns.iter().enumerate().filter(|(i, _)| seen(*i)) {
            let in_vain = pattern.test.is_some_and(|t| read_as_letters || (t.needs_digits() && !digits));
            // The digits of an encoded sentence are no one's number. What the sentence says is read where it is decoded.
            let undecoded = matches!(view.kind(), ViewKind::Raw | ViewKind::Clean);
            let numbers = undecoded && pattern.test.is_some_and(Test::needs_digits);
            if !in_vain {
                pattern.each(view.text(), &self.public, |range| {
                    let span = view.span(range);
                    if !(numbers && text.is_told(&span)) {
                        pattern.meaning.report(side, span, out);
                    }
                });
            }
        }
    }

    fn phrases(&self, view: &View<'_>, side: Option<Side>, out: &mut Vec<Finding>) {
        let text = view.text();
        for found in self.finder.find_overlapping_iter(text) {
            let range = found.range();
            if let Some(phrase) = self.phrases.get(found.pattern().as_usize())
                && stands_alone(text, &range)
            {
                phrase.meaning.report(side, view.span(range), out);
            }
        }
    }

    /// Phrases in a view whose words may have run together. A match begins and ends where a run of letters does.
    fn squeezed(&self, view: &View<'_>, side: Option<Side>, out: &mut Vec<Finding>) {
        let mut letters = String::with_capacity(view.text().len());
        let mut at = Vec::with_capacity(view.text().len());
        for (i, c) in view.text().char_indices().filter(|(_, c)| c.is_alphanumeric()) {
            at.extend(std::iter::repeat_n((i, i + c.len_utf8()), c.len_utf8()));
            letters.push(c);
        }
        for found in self.squeezed.find_overlapping_iter(&letters) {
            let (Some(first), Some(last)) = (at.get(found.start()), at.get(found.end() - 1)) else { continue };
            if let Some(phrase) = self.phrases.get(found.pattern().as_usize()) {
                phrase.meaning.report(side, view.span(first.0..last.1), out);
            }
        }
    }
}

impl Check for RuleSet {
    fn id(&self) -> CheckId {
        CheckId::RULES
    }

    fn judge(&self, text: &JudgedText<'_>, side: Side, control: &Control) -> Result<Vec<Finding>> {
        let mut out = Vec::new();
        let side = Some(side);
        for views in alike(text) {
            control.check()?;
            self.read(text, views, side, &mut out);
            for view in views.iter().filter(|view| view.kind() == ViewKind::Joined) {
                self.squeezed(view, side, &mut out);
            }
        }
        for hidden in text.hidden() {
            let letters = hidden.text.chars().filter(|c| c.is_alphabetic()).count();
            let most = if letters >= HIDDEN_LETTERS { Action::Block } else { Action::Flag };
            let span = Some(hidden.span.clone());
            out.push(Finding {
                rule: Some(Arc::clone(&self.hidden)),
                ..Finding::new(Category::PromptInjection, Evidence::Match(most), span)
            });
        }
        Ok(out)
    }
}

impl std::fmt::Debug for RuleSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleSet")
            .field("phrases", &self.phrases.len())
            .field("patterns", &self.patterns.len())
            .finish_non_exhaustive()
    }
}

impl Meaning {
    /// Without a side the rule's sides do not count.
    fn report(&self, side: Option<Side>, span: Range<usize>, out: &mut Vec<Finding>) {
        let applies = match side {
            Some(Side::Input) => self.input,
            Some(Side::Output) => self.output,
            None => true,
        };
        if applies {
            let (evidence, rule) = (Evidence::Match(self.most), Some(Arc::clone(&self.rule)));
            out.push(Finding { category: self.category, evidence, span: Some(span), rule });
        }
    }
}

impl Pattern {
    /// Every place where the pattern matches, the test passes and the company is right, and that is none of the house's own
    /// contacts. Numbers in front of a card or an account do not hide it: the search goes on within a match that failed.
    fn each(&self, text: &str, public: &[String], mut found: impl FnMut(Range<usize>)) {
        let mut from = 0;
        while let Some(at) = self.regex.search(&Input::new(text).span(from..text.len())) {
            let value = text.get(at.range()).unwrap_or_default();
            let length = self.test.map_or(Some(value.len()), |t| t.length(value));
            let Some(length) = length else {
                let next =
                    value.find(|c: char| !c.is_ascii_alphanumeric()).filter(|_| self.test.is_some_and(Test::is_long));
                from = next.map_or(at.end(), |i| at.start() + i + 1).max(from + 1);
                continue;
            };
            let range = at.start()..at.start() + length;
            let value = text.get(range.clone()).unwrap_or_default();
            let own = self.test.is_some_and(|t| t.is_public(value, public));
            from = range.end.max(from + 1);
            if !own && stands_alone(text, &range) && self.has_company(text, &range) {
                found(range);
            }
        }
    }

    /// Whether one of the context words stands near, if the rule asks for any.
    fn has_company(&self, text: &str, range: &Range<usize>) -> bool {
        let Some(near) = &self.near else { return true };
        let floor = |mut i: usize| {
            while !text.is_char_boundary(i) {
                i -= 1;
            }
            i
        };
        let from = floor(range.start.saturating_sub(NEAR));
        let to = floor(range.end.saturating_add(NEAR).min(text.len()));
        let around = text.get(from..to).unwrap_or_default();
        near.find_overlapping_iter(around).any(|m| stands_alone(text, &(from + m.start()..from + m.end())))
    }
}

/// The views, each with those that repeat it with single spaces.
fn alike<'a>(text: &'a JudgedText<'_>) -> impl Iterator<Item = &'a [View<'a>]> {
    text.views().chunk_by(|_, next| next.is_respaced())
}

/// Whether a match is not the middle of a longer word or number.
fn stands_alone(text: &str, range: &Range<usize>) -> bool {
    let in_word = |c: char| c.is_alphanumeric() && !is_unspaced(c);
    let glued = |a: Option<char>, b: Option<char>| matches!((a, b), (Some(a), Some(b)) if in_word(a) && in_word(b));
    let (Some(before), Some(inside), Some(after)) =
        (text.get(..range.start), text.get(range.clone()), text.get(range.end..))
    else {
        return false;
    };
    !glued(before.chars().next_back(), inside.chars().next())
        && !glued(inside.chars().next_back(), after.chars().next())
}

/// Letters of scripts that set no spaces between words, and of Korean, which writes endings onto them: next to them a match
/// is not known to be part of a longer word.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{3040}'..='\u{30FF}'
        | '\u{3400}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}' | '\u{20000}'..='\u{3FFFF}')
}

#[cfg(test)]
mod tests;
