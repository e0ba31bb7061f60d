//! Misspelled English put right, where rows of unknown words become known ones: torn and stretched words, letters starred
//! out, swapped or put in front, and pig Latin.

use std::ops::Range;

use super::glyph::{Glyph, is_space, place, runs};
use super::scramble::{Letters, Word};
use super::spell::{self, Repair, is_star};
use super::words::{LONGEST, SHORTEST, is_known, lexicon};

/// A mended row has at least so many repairs …
const REPAIRS: usize = 2;
/// … and they make half of its unknown words known.
const HALF: usize = 2;
/// So many words around an odd row may belong to it.
const NEAR: usize = 8;
/// A word is torn into so many pieces at most.
const PIECES: usize = 4;
/// What an unknown word costs; a known one costs the logarithm of its rank.
const UNKNOWN: f32 = 14.0;
const KNOWN: f32 = 2.0;
/// What joining two pieces costs, and joining what are words by themselves.
const JOIN: f32 = 1.0;
const JOIN_WORDS: f32 = 4.0;
/// Rows are read in parts of so many words, of which so many unknown ones are tried first: half of what a mended row needs.
const PART: usize = 96;
const TRIED: usize = 12;
/// So many repairs of one kind show how the words were written that stay unknown.
const HABIT: usize = 2;

/// A word as it stands, with stars that stand for letters.
struct Token {
    range: Range<usize>,
    letters: Vec<u8>,
    known: bool,
}

/// One way to read one or more tokens.
#[derive(Clone)]
struct Reading {
    tokens: usize,
    cost: f32,
    repair: Option<(Repair, Vec<u8>)>,
    /// How many of the tokens are unknown, and stay so.
    unknown: usize,
    left: usize,
}

/// The words of odd rows that have a known reading, with it.
pub(super) fn mended(
    glyphs: &[Glyph],
    flat: &[u8],
    words: &[Word],
    rows: &[Range<usize>],
) -> Vec<(Range<usize>, Vec<Glyph>)> {
    hopeful(flat, words, rows).flat_map(|part| mend(glyphs, &tokens(glyphs, part))).collect()
}

/// Whether some words of odd rows have a known reading.
pub(super) fn is_mended(flat: &[u8], words: &[Word], rows: &[Range<usize>]) -> bool {
    hopeful(flat, words, rows).any(|part| {
        // The letters of a part and what stands at its ends are all that its readings depend on.
        let from = part.start.saturating_sub(1);
        let near = flat.get(from..part.end.min(flat.len())).unwrap_or_default();
        let glyphs: Vec<Glyph> = near.iter().map(|b| Glyph { c: char::from(*b), start: 0, end: 0 }).collect();
        !mend(&glyphs, &tokens(&glyphs, part.start - from..part.end - from)).is_empty()
    })
}

/// The parts of a flat text that may be misspelled.
fn hopeful<'a>(flat: &'a [u8], words: &'a [Word], rows: &'a [Range<usize>]) -> impl Iterator<Item = Range<usize>> + 'a {
    let (mut reached, mut done) = (0, 0);
    let near = rows.iter().flat_map(move |row| {
        // A row that the words near an earlier one reach has the same words near it: looking again would cost the square.
        if row.end <= reached {
            return [].chunks(PART);
        }
        let unknown = widened(flat, words, row, done);
        let to = unknown.end.saturating_add(NEAR).min(words.len());
        let part = words.get(unknown.start.saturating_sub(NEAR).max(done)..to).unwrap_or_default();
        (reached, done) = (unknown.end, to);
        part.chunks(PART)
    });
    let whole = |part: &[Word]| Some(part.first()?.range.start..part.last()?.range.end + 1);
    near.filter(move |part| is_hopeful(flat, part)).filter_map(whole)
}

/// Whether some of the first unknown words may have a known reading, so that the dear search for the best is worth while.
fn is_hopeful(flat: &[u8], part: &[Word]) -> bool {
    let unknown = part.iter().enumerate().filter(|(_, word)| word.is_unknown(flat));
    let starred = |word: &Word| {
        let beside = [word.range.start.checked_sub(1), Some(word.range.end)];
        beside.into_iter().flatten().any(|i| flat.get(i).is_some_and(|b| is_star(char::from(*b))))
    };
    let torn = |from: usize| matches!(part.get(from..from + 2), Some([a, b]) if b.range.start == a.range.end + 1 && is_torn(flat, a, b));
    let (mut tried, mut repaired) = (0, 0);
    for (i, word) in unknown.take(TRIED) {
        let pair = torn(i) || i.checked_sub(1).is_some_and(torn);
        tried += 1;
        repaired += usize::from(pair || starred(word) || spell::has_repair(&word.small(flat), word.key));
    }
    repaired * HALF * 2 >= tried && repaired > 0
}

/// Whether two words are the pieces of a known one.
fn is_torn(flat: &[u8], a: &Word, b: &Word) -> bool {
    let may_be = a.range.len() + b.range.len() > LONGEST || lexicon().may_know(a.key << (5 * b.range.len()) | b.key);
    may_be && lexicon().knows(&Letters::of([a.letters(flat), b.letters(flat)].into_iter().flatten().copied()))
}

/// The row with the unknown words near it, those near these and so on, as far as they are not `done`.
fn widened(flat: &[u8], words: &[Word], row: &Range<usize>, done: usize) -> Range<usize> {
    let unknown = |word: &Word| word.is_unknown(flat);
    let (mut from, mut to) = (row.start, row.end);
    while from > done {
        let before = from.saturating_sub(NEAR);
        match words.get(before..from).and_then(|near| near.iter().position(unknown)) {
            Some(i) => from = before + i,
            None => break,
        }
    }
    loop {
        let after = to.saturating_add(NEAR).min(words.len());
        match words.get(to..after).and_then(|near| near.iter().rposition(unknown)) {
            Some(i) => to += i + 1,
            None => break,
        }
    }
    from..to
}

fn tokens(glyphs: &[Glyph], within: Range<usize>) -> Vec<Token> {
    let within = within.start..within.end.min(glyphs.len());
    let part = glyphs.get(within.clone()).unwrap_or_default();
    let mut out = Vec::new();
    for range in runs(part, |c| c.is_ascii_alphabetic() || is_star(c)) {
        let chars: Vec<char> = part.get(range.clone()).unwrap_or_default().iter().map(|g| g.c).collect();
        let Some(from) = chars.iter().position(char::is_ascii_alphabetic) else { continue };
        let stem = chars.iter().rposition(char::is_ascii_alphabetic).map_or(from, |i| i + 1);
        let letters = |to: usize| -> Vec<u8> {
            let all = chars.get(from..to).unwrap_or_default();
            all.iter()
                .map(|c| {
                    u8::try_from(u32::from(c.to_ascii_lowercase())).ok().filter(u8::is_ascii_alphabetic).unwrap_or(b'*')
                })
                .collect()
        };
        // Stars behind a word are a footnote's, unless it lacks a letter.
        let end = if chars.len() > stem && !is_known(&letters(stem)) { stem + 1 } else { stem };
        let start = within.start + range.start;
        let letters = letters(end);
        let known = is_known(&letters) || is_ending(glyphs, start + from, &letters);
        out.push(Token { range: start + from..start + end, letters, known });
    }
    out
}

/// Whether these letters end a word that an apostrophe is in (`don't`, `we'll`).
fn is_ending(glyphs: &[Glyph], start: usize, letters: &[u8]) -> bool {
    let before = start.checked_sub(1).and_then(|i| glyphs.get(i));
    letters.len() < SHORTEST && before.is_some_and(|g| g.c == '\'')
}

fn mend(glyphs: &[Glyph], tokens: &[Token]) -> Vec<(Range<usize>, Vec<Glyph>)> {
    let readings = cheapest(glyphs, tokens);
    let unknown: usize = readings.iter().map(|r| r.unknown).sum();
    let left: usize = readings.iter().map(|r| r.left).sum();
    let repairs = readings.iter().filter(|r| r.repair.is_some() && r.unknown > 0).count();
    if repairs < REPAIRS || left * HALF > unknown {
        return Vec::new();
    }
    let is_habit =
        |kind: Repair| readings.iter().filter(|r| r.repair.as_ref().is_some_and(|(k, _)| *k == kind)).count() >= HABIT;
    let mut out = Vec::new();
    let mut at = 0;
    for reading in &readings {
        let part = tokens.get(at..at + reading.tokens).unwrap_or_default();
        at += reading.tokens;
        let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
        let by_habit = || spell::by_habit(&first.letters, is_habit).filter(|_| reading.left > 0);
        let Some(letters) = reading.repair.as_ref().map(|(_, letters)| letters.clone()).or_else(by_habit) else {
            continue;
        };
        let range = first.range.start..last.range.end;
        if let Some((start, end)) = glyphs.get(range.clone()).and_then(place) {
            out.push((range, letters.iter().map(|b| Glyph { c: char::from(*b), start, end }).collect()));
        }
    }
    out
}

/// The readings of all tokens that cost least together.
fn cheapest(glyphs: &[Glyph], tokens: &[Token]) -> Vec<Reading> {
    // The least cost of the tokens before each place, and the last of the readings that make it.
    let mut best: Vec<(f32, Option<Reading>)> = vec![(0.0, None)];
    let alone: Vec<Reading> = tokens.iter().map(single).collect();
    for end in 1..=tokens.len() {
        let mut least: (f32, Option<Reading>) = (f32::INFINITY, None);
        for n in 1..=PIECES.min(end) {
            let part = tokens.get(end - n..end).unwrap_or_default();
            if n > 1 && !adjoin(glyphs, part) {
                break;
            }
            let before = best.get(end - n).map_or(f32::INFINITY, |(cost, _)| *cost);
            let alone = alone.get(end - n..end).unwrap_or_default();
            let reading = if let [one] = alone { Some(one.clone()) } else { joined(part, alone) };
            if let Some(reading) = reading.filter(|r| before + r.cost < least.0) {
                least = (before + reading.cost, Some(reading));
            }
        }
        best.push(least);
    }
    let mut out = Vec::new();
    while let Some((_, Some(reading))) = best.pop() {
        best.truncate((best.len() + 1).saturating_sub(reading.tokens));
        out.push(reading);
    }
    out.reverse();
    out
}

/// Whether the first two of these stand side by side with no more than a space or a hyphen between them.
fn adjoin(glyphs: &[Glyph], part: &[Token]) -> bool {
    let [a, b, ..] = part else { return false };
    let gap = glyphs.get(a.range.end..b.range.start).unwrap_or_default();
    matches!(gap, [g] if is_space(g.c) || g.c == '-')
}

fn known_cost(letters: &[u8]) -> Option<f32> {
    if letters.len() < SHORTEST && !is_known(letters) {
        return None;
    }
    let rank = lexicon().rank(letters).or_else(|| (letters.len() < SHORTEST).then_some(400))?;
    Some(KNOWN + f32::from(rank.saturating_add(5)).ln())
}

fn single(token: &Token) -> Reading {
    let as_it_is = |cost, left| Reading { tokens: 1, cost, repair: None, unknown: left, left };
    if token.known {
        return as_it_is(known_cost(&token.letters).unwrap_or(KNOWN), 0);
    }
    let repaired = spell::repairs(&token.letters)
        .into_iter()
        .filter_map(|(repair, letters)| Some((known_cost(&letters)? + repair.cost(), repair, letters)))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    match repaired {
        Some((cost, repair, letters)) if cost < UNKNOWN + repair.cost() => {
            Reading { tokens: 1, cost, repair: Some((repair, letters)), unknown: 1, left: 0 }
        }
        _ => as_it_is(UNKNOWN, 1),
    }
}

/// The tokens, each of which may be read `alone`, as pieces of one word: a known one, or where a piece is too short to be a
/// word, an unknown one.
fn joined(part: &[Token], alone: &[Reading]) -> Option<Reading> {
    let unknown = part.iter().filter(|t| !t.known).count();
    let is_torn = is_torn_unknown(part, alone);
    if part.iter().any(|t| t.letters.contains(&b'*')) || !is_torn && !may_be_one(part) {
        return None;
    }
    let letters: Vec<u8> = part.iter().flat_map(|t| t.letters.iter().copied()).collect();
    let joins = f32::from(u8::try_from(part.len() - 1).unwrap_or(u8::MAX)) * JOIN;
    let (cost, left) = match known_cost(&letters).filter(|_| letters.len() > SHORTEST || unknown > 0) {
        Some(cost) => (cost + joins + if unknown == 0 { JOIN_WORDS } else { 0.0 }, 0),
        None if is_torn => (UNKNOWN + joins * 4.0, unknown),
        None => return None,
    };
    Some(Reading { tokens: part.len(), cost, repair: Some((Repair::Joined, letters)), unknown, left })
}

/// Whether the letters of these tokens may be a known word, or one too short for the filter of known words.
fn may_be_one(part: &[Token]) -> bool {
    let letters = part.iter().map(|t| t.letters.len()).sum::<usize>();
    let key = || part.iter().flat_map(|t| &t.letters).fold(0, |key, b| key << 5 | u64::from(b & 31));
    !(SHORTEST..=LONGEST).contains(&letters) || lexicon().may_know(key())
}

/// Whether two pieces, of which one is hardly a word and neither has another reading, may make a word that is unknown.
fn is_torn_unknown(part: &[Token], alone: &[Reading]) -> bool {
    let short = matches!(part, [a, b] if a.letters.len().min(b.letters.len()) <= SHORTEST);
    short && part.iter().zip(alone).all(|(token, alone)| !token.known && alone.repair.is_none())
}

#[cfg(test)]
mod tests {
    use super::super::glyph::{glyphs, replace};
    use super::super::scramble::{flat, odd_rows, words};
    use super::*;

    fn read(text: &str) -> String {
        let g = glyphs(text);
        let flat = flat(text.chars());
        let words = words(&flat);
        let rows = odd_rows(&words);
        let changes = mended(&g, &flat, &words, &rows);
        assert_eq!(is_mended(&flat, &words, &rows), !changes.is_empty(), "{text}");
        replace(&g, changes).0.iter().map(|g| g.c).collect()
    }

    #[test]
    fn torn_words_are_joined() {
        assert_eq!(read("ho w do i ba ke a choc olate ca ke"), "how do i bake a chocolate cake");
        assert_eq!(read("the mus-eum ope ns on sun day morn ing"), "the museum opens on sunday morning");
    }

    #[test]
    fn stretched_words_are_let_go() {
        assert_eq!(read("hooow do youuu maake a chocolaaate caaake"), "how do you make a chocolate cake");
        assert_eq!(read("pleeeease tellll meee abouttt goood booookssss"), "please tell me about good books");
    }

    #[test]
    fn stars_swaps_and_false_fronts_are_undone() {
        assert_eq!(read("t*ll us h*w to m*ke a choc*late c*ke"), "tell us how to make a chocolate cake");
        assert_eq!(read("wehre deos the msueum sell tikcets"), "where does the museum sell tickets");
        assert_eq!(read("fwhere gdoes the smuseum esell atickets"), "where does the museum sell tickets");
    }

    #[test]
    fn pig_latin_is_undone() {
        assert_eq!(read("ellTay emay owhay otay akebay a ocolatechay akecay"), "tell me how to bake a chocolate cake");
        assert_eq!(
            read("ereWhay isay ethay useummay ithway allway anday openway oorsday"),
            "where is the museum with all and open doors"
        );
        // One letter moves, whatever it is.
        assert_eq!(
            read("ellTay emay a torysay boutaay hetay reatgay reamcay"),
            "tell me a story about the great cream"
        );
    }

    #[test]
    fn languages_code_and_names_stay() {
        for text in [
            "Waar is het museum en hoe laat gaat het open? Meer staat op de kaart, maar daar staan geen namen.",
            "Missa museo on ja mihin aikaan se avataan sunnuntaina? Kaikki haluavat tietaa sen.",
            "Wo ist das Museum und wann macht es am Sonntag auf, bitte sehr?",
            "Donde esta el museo y a que hora abre el domingo por la manana",
            "fn find(glyphs: &[Glyph]) -> Vec<Range<usize>> { let mut out = Vec::new(); for g in glyphs { out.push(g) } }",
            "int *p = &a[i*j]; char **argv; x*y*z; sizeof(buf)*n; void f(int *a, int *b);",
            "Mr Brzezinski Krzysztof Szczepanski of Gdansk and Agnieszka Wojciechowska",
            "GET /api/v2/usr?id=5 HTTP/1.1 200 OK ms=12 ua=curl",
            "commit 3f0e15ab sha256 d41d8cd98f00b204e9800998ecf8427e refs/heads/main",
        ] {
            assert_eq!(read(text), text);
        }
    }
}
