//! What makes a string of digits or letters a card, an account, a telephone number or an address: checksums and forms.

use serde::Deserialize;

/// The test a pattern's match has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Test {
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A payment card: 13 to 19 digits, a known first digit, Luhn.
    Card,
    /// An IBAN: the country's length where known, mod 97.
    Iban,
    /// A United States social security number.
    Ssn,
}

impl Test {
    /// Whether `value` is what its pattern took it for.
    pub(super) fn passes(self, value: &str) -> bool {
        match self {
            Test::Email => is_email(value),
            Test::Phone => is_phone(value),
            Test::Card => is_card(value),
            Test::Iban => is_iban(value),
            Test::Ssn => is_ssn(value),
        }
    }

    /// Whether `value` is one of the house's own contacts, however it is spaced.
    pub(super) fn is_public(self, value: &str, public: &[String]) -> bool {
        let essence = |v: &str| -> String {
            let kept = |c: &char| if self == Test::Email { !c.is_whitespace() } else { c.is_ascii_alphanumeric() };
            v.chars().filter(kept).flat_map(char::to_lowercase).collect()
        };
        let value = essence(value);
        // A pattern may have found a telephone number without its country code.
        let part = |p: &String| self == Test::Phone && value.len() >= PHONE_LEAST && essence(p).ends_with(&value);
        public.iter().any(|p| essence(p) == value || part(p))
    }
}

/// The fewest digits of a telephone number.
const PHONE_LEAST: usize = 7;

fn digits(value: &str) -> Vec<u32> {
    value.chars().filter_map(|c| c.to_digit(10)).collect()
}

fn is_email(value: &str) -> bool {
    let Some((local, domain)) = value.split_once('@') else { return false };
    let label = |l: &str| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-');
    let top = domain.rsplit('.').next().unwrap_or_default();
    !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && domain.contains('.')
        && domain.split('.').all(label)
        && top.len() >= 2
        && top.chars().all(|c| c.is_ascii_alphabetic())
}

/// Seven to fifteen digits (E.164) that are no date, no ISBN, and not one digit again and again.
fn is_phone(value: &str) -> bool {
    let d = digits(value);
    let isbn = d.len() == 13 && matches!(d.get(..3), Some([9, 7, 8 | 9])) && !value.starts_with('+');
    let repeated = d.iter().skip(1).all(|x| Some(x) == d.first());
    (PHONE_LEAST..=15).contains(&d.len()) && !isbn && !repeated && !is_date(value)
}

/// `2024-11-23`, `23.11.2024`, `1990-2024` and the like.
fn is_date(value: &str) -> bool {
    let parts: Vec<&str> = value.split(|c: char| !c.is_ascii_digit()).filter(|p| !p.is_empty()).collect();
    let year = |p: &str| p.len() == 4 && (p.starts_with("19") || p.starts_with("20"));
    match parts.as_slice() {
        [a, b] => year(a) && year(b),
        [a, b, c] => (year(a) && b.len() <= 2 && c.len() <= 2) || (year(c) && a.len() <= 2 && b.len() <= 2),
        _ => false,
    }
}

fn is_card(value: &str) -> bool {
    let d = digits(value);
    let first = matches!(d.first(), Some(2..=6));
    let varied = d.iter().skip(1).any(|x| Some(x) != d.first());
    (13..=19).contains(&d.len()) && first && varied && luhn(&d)
}

/// The sum of the digits, every second one from the right doubled and reduced to one digit, ends in zero.
fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| {
            if i % 2 == 0 {
                *d
            } else if *d > 4 {
                2 * d - 9
            } else {
                2 * d
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Lengths of the commonest countries; for others the general bounds hold.
#[rustfmt::skip]
const IBAN_LENGTHS: [(&str, usize); 24] = [
    ("AT", 20), ("BE", 16), ("BG", 22), ("CH", 21), ("CY", 28), ("CZ", 24), ("DE", 22), ("DK", 18), ("ES", 24),
    ("FI", 18), ("FR", 27), ("GB", 22), ("GR", 27), ("HU", 28), ("IE", 22), ("IT", 27), ("LU", 20), ("NL", 18),
    ("NO", 15), ("PL", 28), ("PT", 25), ("RO", 24), ("SE", 24), ("TR", 26),
];

/// ISO 13616: the first four characters moved to the end, letters as 10 to 35, the number modulo 97 is 1.
fn is_iban(value: &str) -> bool {
    let v: Vec<char> = value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    let country: String = v.iter().take(2).collect();
    let length = IBAN_LENGTHS.iter().find(|(c, _)| *c == country).map(|(_, n)| *n);
    if v.len() < 15 || v.len() > 34 || length.is_some_and(|n| n != v.len()) {
        return false;
    }
    let (head, tail) = v.split_at(4);
    let value = |c: &char| c.to_digit(36).unwrap_or(0);
    let rest = tail.iter().chain(head).fold(0u32, |r, c| {
        let n = value(c);
        if n < 10 { (r * 10 + n) % 97 } else { (r * 100 + n) % 97 }
    });
    rest == 1
}

/// Area, group and serial that the administration never gives out are excluded.
fn is_ssn(value: &str) -> bool {
    let d = digits(value);
    let number = |part: &[u32]| part.iter().fold(0, |n, d| n * 10 + d);
    match d.as_slice() {
        [a1, a2, a3, g1, g2, serial @ ..] if serial.len() == 4 => {
            let area = number(&[*a1, *a2, *a3]);
            area != 0 && area != 666 && area < 900 && number(&[*g1, *g2]) != 0 && number(serial) != 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_decide() {
        assert!(Test::Card.passes("4111 1111 1111 1111"));
        assert!(!Test::Card.passes("4111 1111 1111 1112"));
        assert!(!Test::Card.passes("0000 0000 0000 0000"));
        assert!(Test::Iban.passes("GB82 WEST 1234 5698 7654 32"));
        assert!(Test::Iban.passes("DE89370400440532013000"));
        assert!(!Test::Iban.passes("GB82 WEST 1234 5698 7654 33"));
        assert!(!Test::Iban.passes("DE8937040044053201300"));
        assert!(Test::Ssn.passes("123-45-6789"));
        assert!(
            !Test::Ssn.passes("000-45-6789") && !Test::Ssn.passes("666-45-6789") && !Test::Ssn.passes("923-45-6789")
        );
    }

    #[test]
    fn telephone_numbers_are_not_dates_or_books() {
        for yes in ["+1 555 010 0199", "(020) 7946 0958", "555-0134-22"] {
            assert!(Test::Phone.passes(yes), "{yes}");
        }
        for no in ["2024-11-23", "23.11.2024", "1990-2024", "978-3-16-148410-0", "0000000", "12345"] {
            assert!(!Test::Phone.passes(no), "{no}");
        }
    }

    #[test]
    fn public_contacts_are_recognised_however_they_are_written() {
        let public = vec!["Info@Museum.example".to_owned(), "+1 555 010 0100".to_owned()];
        assert!(Test::Email.is_public("info@museum.example", &public));
        assert!(Test::Phone.is_public("+1 (555) 010-0100", &public));
        assert!(!Test::Phone.is_public("+1 (555) 010-0101", &public));
    }
}
