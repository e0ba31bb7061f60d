//! National numbers: the checksum or the plan that each state gave its own.

/// The digits of a value, whatever stands between them.
pub(super) fn digits(value: &str) -> Vec<u32> {
    value.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// Letters and digits alone, in capitals.
fn letters(value: &str) -> Vec<char> {
    value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// Whether the digits differ at all: a row of one digit passes several checksums.
pub(super) fn varied(digits: &[u32]) -> bool {
    digits.iter().skip(1).any(|x| Some(x) != digits.first())
}

fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(d, w)| d * w).sum()
}

/// United Kingdom, national insurance number: prefixes that are never given out.
pub(super) fn is_nino(value: &str) -> bool {
    match letters(value).as_slice() {
        [a, b, middle @ .., last] if middle.len() == 6 => {
            let never = ["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"];
            let prefix: String = [a, b].into_iter().collect();
            let plan = |c: &char| c.is_ascii_alphabetic() && !"DFIQUV".contains(*c);
            plan(a)
                && plan(b)
                && *b != 'O'
                && !never.contains(&prefix.as_str())
                && middle.iter().all(char::is_ascii_digit)
                && ('A'..='D').contains(last)
        }
        _ => false,
    }
}

/// Germany, tax identification number: ISO 7064 MOD 11,10 over eleven digits.
pub(super) fn is_steuer_id(value: &str) -> bool {
    let d = digits(value);
    let [head @ .., check] = d.as_slice() else { return false };
    let product = head.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    d.len() == 11 && d.first() != Some(&0) && varied(&d) && (11 - product) % 10 == *check
}

/// France, social security number: thirteen characters and their distance from a multiple of 97. Corsica has letters.
pub(super) fn is_nir(value: &str) -> bool {
    let v = letters(value);
    let corsica = match v.get(5..7) {
        Some(['2', 'A']) => Some("19"),
        Some(['2', 'B']) => Some("18"),
        _ => None,
    };
    let mut plain: String = v.iter().collect();
    if let Some(number) = corsica {
        plain.replace_range(5..7, number);
    }
    let (Some(body), Some(key)) = (plain.get(..13), plain.get(13..)) else { return false };
    let month = plain.get(3..5).and_then(|m| m.parse::<u32>().ok()).unwrap_or(0);
    match (body.parse::<u64>(), key.parse::<u64>()) {
        (Ok(body), Ok(key)) => {
            plain.len() == 15 && matches!(month, 1..=12 | 20..=42 | 50..=99) && key == 97 - body % 97
        }
        _ => false,
    }
}

/// Spain, DNI and NIE: the number modulo 23 names a letter; X, Y, Z in front are 0, 1, 2.
pub(super) fn is_dni(value: &str) -> bool {
    let v = letters(value);
    let [head @ .., letter] = v.as_slice() else { return false };
    let number: String = head
        .iter()
        .enumerate()
        .map(|(i, c)| match (i, c) {
            (0, 'X') => '0',
            (0, 'Y') => '1',
            (0, 'Z') => '2',
            _ => *c,
        })
        .collect();
    let table = b"TRWAGMYFPDXBNJZSQVHLCKE";
    head.len() == 8
        && number.parse::<usize>().is_ok_and(|n| table.get(n % 23).is_some_and(|t| char::from(*t) == *letter))
}

/// Italy, codice fiscale: a check letter over values that differ in odd and even places.
pub(super) fn is_codice_fiscale(value: &str) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let v = letters(value);
    let [head @ .., check] = v.as_slice() else { return false };
    let sum: u32 = head
        .iter()
        .enumerate()
        .map(|(i, c)| {
            let n = c.to_digit(10).unwrap_or_else(|| u32::from(*c).saturating_sub(65));
            if i % 2 == 0 { usize::try_from(n).ok().and_then(|n| ODD.get(n).copied()).unwrap_or(0) } else { n }
        })
        .sum();
    v.len() == 16 && char::from_u32(65 + sum % 26) == Some(*check)
}

/// Brazil, CPF: two check digits, each a weighted sum modulo 11.
pub(super) fn is_cpf(value: &str) -> bool {
    let d = digits(value);
    let check = |n: usize| {
        let sum: u32 = d.iter().take(n).zip((2..=n + 1).rev()).map(|(d, w)| d * u32::try_from(w).unwrap_or(0)).sum();
        d.get(n) == Some(&(sum * 10 % 11 % 10))
    };
    d.len() == 11 && varied(&d) && check(9) && check(10)
}

/// Brazil, CNPJ: the same for fourteen digits with weights that begin again after nine.
pub(super) fn is_cnpj(value: &str) -> bool {
    const WEIGHTS: [u32; 13] = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
    let d = digits(value);
    let check = |n: usize| {
        let sum = weighted(d.get(..n).unwrap_or_default(), WEIGHTS.get(13 - n..).unwrap_or_default()) % 11;
        d.get(n) == Some(&(if sum < 2 { 0 } else { 11 - sum }))
    };
    d.len() == 14 && varied(&d) && check(12) && check(13)
}

/// India, Aadhaar: twelve digits by Verhoeff, the first not 0 or 1.
pub(super) fn is_aadhaar(value: &str) -> bool {
    let d = digits(value);
    d.len() == 12 && d.first().is_some_and(|first| *first >= 2) && varied(&d) && verhoeff(&d)
}

/// Verhoeff's scheme: multiplication in the dihedral group of ten elements after permutations that go on with the place.
fn verhoeff(digits: &[u32]) -> bool {
    const PERMUTE: [u32; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let permuted = |digit: u32, times: usize| {
        (0..times % 8).fold(digit, |d, _| usize::try_from(d).ok().and_then(|d| PERMUTE.get(d)).copied().unwrap_or(0))
    };
    // 0 to 4 turn, 5 to 9 turn and mirror.
    let product = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - 5 + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    digits.iter().rev().enumerate().fold(0, |sum, (i, d)| product(sum, permuted(*d, i))) == 0
}

/// India, permanent account number: the fourth letter names the kind of holder.
pub(super) fn is_pan(value: &str) -> bool {
    letters(value).get(3).is_some_and(|c| "ABCFGHJLPT".contains(*c))
}

/// Thailand, citizen number: thirteen digits, the last from a weighted sum modulo 11.
pub(super) fn is_thai_id(value: &str) -> bool {
    const WEIGHTS: [u32; 12] = [13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2];
    let d = digits(value);
    d.len() == 13 && varied(&d) && d.get(12) == Some(&((11 - weighted(&d, &WEIGHTS) % 11) % 10))
}

/// The Netherlands, citizen service number: the weighted sum is a multiple of 11, the last digit counts minus one.
pub(super) fn is_bsn(value: &str) -> bool {
    const WEIGHTS: [u32; 8] = [9, 8, 7, 6, 5, 4, 3, 2];
    let d = digits(value);
    d.len() == 9 && varied(&d) && d.get(8).is_some_and(|last| weighted(&d, &WEIGHTS) % 11 == *last)
}

/// Poland, PESEL: a birthday in front (the century is in the month) and a weighted sum modulo 10.
pub(super) fn is_pesel(value: &str) -> bool {
    const WEIGHTS: [u32; 11] = [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1];
    let d = digits(value);
    match d.as_slice() {
        [_, _, m1, m2, d1, d2, ..] => {
            let (month, day) = ((m1 * 10 + m2) % 20, d1 * 10 + d2);
            d.len() == 11
                && (1..=12).contains(&month)
                && (1..=31).contains(&day)
                && weighted(&d, &WEIGHTS).is_multiple_of(10)
        }
        _ => false,
    }
}

/// United States, social security number: area, group and serial that are never given out are excluded.
pub(super) fn is_ssn(value: &str) -> bool {
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

/// A passport: six digits and more, which are no date.
pub(super) fn is_passport(value: &str) -> bool {
    let d = digits(value);
    let n = letters(value).len();
    let date = n == 8 && matches!(d.as_slice(), [1, 9, ..] | [2, 0, ..]) && d.len() == 8;
    (6..=9).contains(&n) && d.len() >= 3 && varied(&d) && !date
}

#[cfg(test)]
mod tests {
    use super::*;

    type Test = fn(&str) -> bool;

    /// Numbers that their states or their documentation use as examples, or that were computed by the published rule.
    const RIGHT: [(Test, &str); 20] = [
        (is_nino, "AB 12 34 56 C"),
        (is_steuer_id, "86 095 742 719"),
        (is_steuer_id, "65929970489"),
        (is_nir, "2 55 08 14 168 025 38"),
        (is_nir, "1 84 12 76 451 089 46"),
        (is_dni, "12345678Z"),
        (is_dni, "X1234567L"),
        (is_codice_fiscale, "RSSMRA85T10A562S"),
        (is_cpf, "111.444.777-35"),
        (is_cpf, "52998224725"),
        (is_cnpj, "11.222.333/0001-81"),
        (is_aadhaar, "2341 2341 2346"),
        (is_pan, "ABCPE1234F"),
        (is_thai_id, "1-1017-00230-70-8"),
        (is_bsn, "111222333"),
        (is_bsn, "123456782"),
        (is_pesel, "44051401359"),
        (is_ssn, "123-45-6789"),
        (is_passport, "C01X00T47"),
        (is_passport, "AB1234567"),
    ];

    #[test]
    fn examples_of_each_state_pass() {
        let wrong: Vec<&str> = RIGHT.iter().filter(|(is, number)| !is(number)).map(|(_, n)| *n).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// A checksum of one digit notices every single wrong digit.
    #[test]
    fn one_wrong_digit_is_noticed() {
        let summed: [Test; 9] =
            [is_steuer_id, is_nir, is_dni, is_cpf, is_cnpj, is_aadhaar, is_thai_id, is_bsn, is_pesel];
        for (is, number) in RIGHT.into_iter().filter(|(is, _)| summed.iter().any(|s| std::ptr::fn_addr_eq(*s, *is))) {
            let (mut all, mut passed) = (0, Vec::new());
            for (i, old) in number.char_indices().filter(|(_, c)| c.is_ascii_digit()) {
                for new in ('0'..='9').filter(|new| *new != old) {
                    let wrong = format!("{}{new}{}", &number[..i], &number[i + 1..]);
                    all += 1;
                    if is(&wrong) {
                        passed.push(wrong);
                    }
                }
            }
            // Modulo 11 with a remainder of ten written as 0 lets a few through, and Thailand gives one place the weight 11.
            assert!(passed.len() * 10 <= all, "{number}: {passed:?} of {all}");
        }
    }

    #[test]
    fn rows_of_one_digit_are_no_numbers() {
        for digit in '0'..='9' {
            for (is, n) in [(is_cpf as Test, 11), (is_cnpj, 14), (is_aadhaar, 12), (is_thai_id, 13), (is_bsn, 9)] {
                assert!(!is(&digit.to_string().repeat(n)), "{digit} {n} times");
            }
        }
    }
}
