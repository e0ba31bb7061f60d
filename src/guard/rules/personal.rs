//! What makes a string of digits or letters a card, an account, a telephone number or an address: checksums and forms.

use core::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use super::numbers::{self, digits, varied};

/// The test a pattern's match has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// A British national insurance number.
    Nino,
    /// A German tax identification number.
    SteuerId,
    /// A French social security number.
    Nir,
    /// A Spanish DNI or NIE.
    Dni,
    /// An Italian codice fiscale.
    CodiceFiscale,
    /// A Brazilian CPF.
    Cpf,
    /// A Brazilian CNPJ.
    Cnpj,
    /// An Indian Aadhaar number.
    Aadhaar,
    /// An Indian permanent account number.
    Pan,
    /// A Thai citizen number.
    ThaiId,
    /// A Dutch citizen service number.
    Bsn,
    /// A Polish PESEL.
    Pesel,
    /// A passport's number, as far as its form tells.
    Passport,
    /// An IPv4 address on the public network.
    Ipv4,
    /// An IPv6 address on the public network.
    Ipv6,
    /// The address of a network interface.
    Mac,
}

impl Test {
    /// Whether `value` is what its pattern took it for.
    pub(super) fn passes(self, value: &str) -> bool {
        match self {
            Test::Email => is_email(value),
            Test::Phone => is_phone(value),
            Test::Card => is_card(value),
            Test::Iban => is_iban(value),
            Test::Ssn => numbers::is_ssn(value),
            Test::Nino => numbers::is_nino(value),
            Test::SteuerId => numbers::is_steuer_id(value),
            Test::Nir => numbers::is_nir(value),
            Test::Dni => numbers::is_dni(value),
            Test::CodiceFiscale => numbers::is_codice_fiscale(value),
            Test::Cpf => numbers::is_cpf(value),
            Test::Cnpj => numbers::is_cnpj(value),
            Test::Aadhaar => numbers::is_aadhaar(value),
            Test::Pan => numbers::is_pan(value),
            Test::ThaiId => numbers::is_thai_id(value),
            Test::Bsn => numbers::is_bsn(value),
            Test::Pesel => numbers::is_pesel(value),
            Test::Passport => numbers::is_passport(value),
            Test::Ipv4 => is_public_ipv4(value),
            Test::Ipv6 => is_public_ipv6(value),
            Test::Mac => is_mac(value),
        }
    }

    /// How much of `value` passes. A card or an account may be followed by more numbers and words, which its pattern takes
    /// along; it then ends where one of its groups does.
    pub(super) fn length(self, value: &str) -> Option<usize> {
        if self.passes(value) {
            return Some(value.len());
        }
        if !self.is_long() {
            return None;
        }
        let ends = value.rmatch_indices(|c: char| !c.is_ascii_alphanumeric()).map(|(i, _)| i);
        ends.into_iter().find(|end| value.get(..*end).is_some_and(|part| self.passes(part)))
    }

    /// Whether the pattern may take neighbours of the number along with it.
    pub(super) fn is_long(self) -> bool {
        matches!(self, Test::Card | Test::Iban)
    }

    /// Whether nothing passes that has no digit.
    pub(super) fn needs_digits(self) -> bool {
        self != Test::Email
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
    (PHONE_LEAST..=15).contains(&d.len()) && !isbn && varied(&d) && !is_date(value)
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
    (13..=19).contains(&d.len()) && first && varied(&d) && luhn(&d)
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

/// An address that leads to somebody: not private, local, reserved, or for documentation, and no version number.
fn is_public_ipv4(value: &str) -> bool {
    let Ok(address) = value.parse::<Ipv4Addr>() else { return false };
    let [a, b, ..] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && matches!(b, 18 | 19);
    let long = value.split('.').filter(|part| part.len() > 1).count() >= 2;
    let local = address.is_private() || address.is_loopback() || address.is_link_local();
    long && !local && !shared && !benchmark && !address.is_documentation() && a != 0 && a < 224
}

/// Global unicast without the documentation prefix.
fn is_public_ipv6(value: &str) -> bool {
    let Ok(address) = value.parse::<Ipv6Addr>() else { return false };
    match address.segments() {
        [0x2001, 0xDB8, ..] => false,
        [first, ..] => first & 0xE000 == 0x2000,
    }
}

/// Six pairs that are no times of day and not one pair again and again.
fn is_mac(value: &str) -> bool {
    let mut pairs = value.split([':', '-']);
    let first = pairs.next();
    value.chars().any(|c| matches!(c, 'a'..='f' | 'A'..='F')) && pairs.any(|p| Some(p) != first)
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
    fn what_follows_a_card_or_an_account_does_not_hide_it() {
        assert_eq!(Test::Card.length("4111 1111 1111 1111 123"), Some(19));
        assert_eq!(Test::Iban.length("DE89 3704 0044 0532 0130 00 please"), Some(27));
        assert_eq!(Test::Card.length("4111 1111 1111 1112 123"), None);
        assert_eq!(Test::Ssn.length("123-45-678"), None);
    }

    #[test]
    fn only_addresses_of_the_public_network_count() {
        for yes in ["93.184.216.34", "8.8.114.114"] {
            assert!(Test::Ipv4.passes(yes), "{yes}");
        }
        for no in
            ["192.168.1.10", "10.0.10.12", "127.0.0.1", "203.0.113.77", "1.2.3.4", "300.10.10.10", "255.255.255.0"]
        {
            assert!(!Test::Ipv4.passes(no), "{no}");
        }
        assert!(Test::Ipv6.passes("2a00:1450:4001:82a::200e"));
        assert!(!Test::Ipv6.passes("2001:db8::1") && !Test::Ipv6.passes("fe80::1") && !Test::Ipv6.passes("dec::add"));
        assert!(Test::Mac.passes("00:1A:2b:3c:4d:5e"));
        assert!(!Test::Mac.passes("10:20:30:40:50:59") && !Test::Mac.passes("ff-ff-ff-ff-ff-ff"));
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
