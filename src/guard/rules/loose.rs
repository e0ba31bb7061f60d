//! Expressions of bytes that are found in a text as well as in its respaced view.

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// What is read as each of these marks and as a space, as expressions of bytes; a row of blanks is one space.
const MARKS: [(u8, &str); 4] = [
    (b' ', r"(?-u:[\t-\r ]|\xC2\xA0|\xE2\x80[\x80-\x8A\xAF]|\xE2\x81\x9F|\xE3\x80\x80)+"),
    (b'\'', r"(?-u:\xE2\x80[\x98-\x9B])"),
    (b'"', r"(?-u:\xE2\x80[\x9C-\x9F])"),
    (b'-', r"(?-u:\xE2\x80[\x90-\x95]|\xE2\x88\x92)"),
];

/// An expression that is found in a text when `hir` is found in it, or in the same with single spaces and typewriter marks.
pub(super) fn loose(hir: Hir) -> Result<Hir, String> {
    let all = |all: Vec<Hir>| all.into_iter().map(loose).collect::<Result<Vec<Hir>, String>>();
    Ok(match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Literal(literal) => {
            let mut parts = Vec::new();
            for part in literal.0.chunk_by(|a, b| !is_mark(*a) && !is_mark(*b)) {
                parts.push(or_marks(Hir::literal(part), |mark| part == [mark])?);
            }
            Hir::concat(parts)
        }
        HirKind::Class(Class::Bytes(class)) => {
            let has = |mark: u8| class.ranges().iter().any(|r| (r.start()..=r.end()).contains(&mark));
            or_marks(Hir::class(Class::Bytes(class.clone())), has)?
        }
        HirKind::Class(Class::Unicode(class)) => {
            let has = |mark: u8| class.ranges().iter().any(|r| (r.start()..=r.end()).contains(&char::from(mark)));
            or_marks(Hir::class(Class::Unicode(class.clone())), has)?
        }
        HirKind::Repetition(some) => Hir::repetition(Repetition { sub: Box::new(loose(*some.sub)?), ..some }),
        HirKind::Capture(group) => loose(*group.sub)?,
        HirKind::Concat(parts) => Hir::concat(all(parts)?),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)?),
    })
}

fn is_mark(b: u8) -> bool {
    MARKS.iter().any(|(mark, _)| *mark == b)
}

/// The expression, or what is read as one of the marks it fits.
fn or_marks(hir: Hir, fits: impl Fn(u8) -> bool) -> Result<Hir, String> {
    let bytes = regex_automata::util::syntax::Config::new().utf8(false);
    let mut ways = vec![hir];
    for (_, way) in MARKS.iter().filter(|(mark, _)| fits(*mark)) {
        ways.push(regex_automata::util::syntax::parse_with(way, &bytes).map_err(|e| e.to_string())?);
    }
    Ok(Hir::alternation(ways))
}
