//! As much of GGUF as the reference needs, written apart from `src/gguf` and `src/quant`; it trusts the file.

use std::collections::HashMap;
use std::path::Path;

/// A matrix, or a stack of matrices of `rows` rows each, unpacked.
pub(super) struct Tensor {
    cols: usize,
    rows: usize,
    data: Vec<f32>,
}

impl Tensor {
    pub(super) fn row(&self, r: usize) -> &[f32] {
        &self.data[r * self.cols..][..self.cols]
    }

    pub(super) fn times(&self, x: &[f32]) -> Vec<f32> {
        self.times_of(0, x)
    }

    /// Matrix `e` of the stack times `x`.
    pub(super) fn times_of(&self, e: usize, x: &[f32]) -> Vec<f32> {
        assert_eq!(x.len(), self.cols, "a vector of the wrong length");
        (e * self.rows..(e + 1) * self.rows).map(|r| super::dot(self.row(r), x) as f32).collect()
    }
}

/// The numbers, texts and lists of flags of the metadata; other arrays are passed over.
pub(super) struct Meta {
    numbers: HashMap<String, f64>,
    flags: HashMap<String, Vec<bool>>,
    texts: HashMap<String, String>,
}

impl Meta {
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.numbers.get(key).copied()
    }

    pub(super) fn flags(&self, key: &str) -> Option<&[bool]> {
        self.flags.get(key).map(Vec::as_slice)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.texts.get(key).map(String::as_str)
    }
}

pub(super) fn read(path: &Path) -> (Meta, HashMap<String, Tensor>) {
    let file = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut cur = Cursor { file: &file, at: 0 };
    assert_eq!(cur.take(4), b"GGUF", "not a GGUF file");
    assert_eq!(cur.u32(), 3, "the reference reads version 3");
    let (tensors, pairs) = (cur.u64(), cur.u64());
    let mut meta = Meta { numbers: HashMap::new(), flags: HashMap::new(), texts: HashMap::new() };
    for _ in 0..pairs {
        let key = cur.text();
        match cur.u32() {
            8 => _ = meta.texts.insert(key, cur.text()),
            9 => match (cur.u32(), cur.u64()) {
                (8, n) => (0..n).for_each(|_| _ = cur.text()),
                (7, n) => _ = meta.flags.insert(key, (0..n).map(|_| cur.number(7) != 0.0).collect()),
                (kind, n) => (0..n).for_each(|_| _ = cur.number(kind)),
            },
            kind => _ = meta.numbers.insert(key, cur.number(kind)),
        }
    }
    let entries: Vec<_> = (0..tensors)
        .map(|_| {
            let name = cur.text();
            let dims: Vec<usize> = (0..cur.u32()).map(|_| cur.u64() as usize).collect();
            (name, dims, cur.u32(), cur.u64() as usize)
        })
        .collect();
    let align = meta.number("general.alignment").unwrap_or(32.0) as usize;
    let base = cur.at.next_multiple_of(align);
    let tensors = entries.into_iter().map(|(name, dims, kind, offset)| {
        let (cols, rows) = (dims[0], dims.get(1).copied().unwrap_or(1));
        let data = unpack(kind, &file[base + offset..], dims.iter().product());
        (name, Tensor { cols, rows, data })
    });
    (meta, tensors.collect())
}

struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        self.at += n;
        &self.file[self.at - n..self.at]
    }

    fn u32(&mut self) -> u32 {
        self.number(4) as u32
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().expect("8 bytes"))
    }

    fn text(&mut self) -> String {
        let n = self.u64() as usize;
        String::from_utf8(self.take(n).to_vec()).expect("UTF-8")
    }

    fn number(&mut self, kind: u32) -> f64 {
        match kind {
            0 | 7 => f64::from(self.take(1)[0]),
            1 => f64::from(self.take(1)[0] as i8),
            2 => f64::from(u16::from_le_bytes(self.take(2).try_into().expect("2 bytes"))),
            3 => f64::from(i16::from_le_bytes(self.take(2).try_into().expect("2 bytes"))),
            4 => f64::from(u32::from_le_bytes(self.take(4).try_into().expect("4 bytes"))),
            5 => f64::from(i32::from_le_bytes(self.take(4).try_into().expect("4 bytes"))),
            6 => f64::from(f32::from_le_bytes(self.take(4).try_into().expect("4 bytes"))),
            10 | 11 => self.u64() as f64,
            12 => f64::from_bits(self.u64()),
            other => panic!("metadata type {other}"),
        }
    }
}

/// `n` values of block type `kind` from the start of `bytes`.
fn unpack(kind: u32, bytes: &[u8], n: usize) -> Vec<f32> {
    type Block = fn(&[u8], &mut Vec<f32>);
    let (values, size, block): (usize, usize, Block) = match kind {
        0 => (1, 4, |b, out| out.push(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        1 => (1, 2, |b, out| out.push(half(b))),
        2 => (32, 18, q4_0),
        8 => (32, 34, |b, out| out.extend(b[2..].iter().map(|&q| half(b) * f32::from(q as i8)))),
        12 => (256, 144, q4_k),
        14 => (256, 210, q6_k),
        30 => (1, 2, |b, out| out.push(f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16))),
        other => panic!("block type {other}"),
    };
    let mut out = Vec::with_capacity(n);
    bytes.chunks_exact(size).take(n / values).for_each(|b| block(b, &mut out));
    assert_eq!(out.len(), n, "the file ends inside a tensor");
    out
}

/// The IEEE half at the start of `b`.
fn half(b: &[u8]) -> f32 {
    let bits = u16::from_le_bytes([b[0], b[1]]);
    let (sign, exponent, fraction) =
        (if bits >> 15 == 1 { -1.0 } else { 1.0 }, i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 => panic!("a weight that is not finite"),
        e => (1.0 + fraction / 1024.0) * 2f32.powi(e - 15),
    }
}

/// d f16, then 16 bytes: value i in the low nibble of byte i, value i + 16 in the high one, less 8.
fn q4_0(b: &[u8], out: &mut Vec<f32>) {
    for shift in [0, 4] {
        out.extend(b[2..].iter().map(|&q| half(b) * (f32::from(q >> shift & 15) - 8.0)));
    }
}

/// d, dmin f16; eight 6-bit scales and minima in 12 bytes; nibbles of 64 values per 32 bytes, low ones first.
fn q4_k(b: &[u8], out: &mut Vec<f32>) {
    let (d, dmin, s) = (half(b), half(&b[2..]), &b[4..16]);
    for j in 0..8 {
        let (scale, min) = match j {
            0..4 => (s[j] & 63, s[j + 4] & 63),
            _ => (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4),
        };
        for &q in &b[16 + j / 2 * 32..][..32] {
            out.push(d * f32::from(scale) * f32::from(q >> (j % 2 * 4) & 15) - dmin * f32::from(min));
        }
    }
}

/// 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, d f16; value i of a half: nibble i % 64, pair i % 32.
fn q6_k(b: &[u8], out: &mut Vec<f32>) {
    let (ql, qh, scales, d) = (&b[..128], &b[128..192], &b[192..208], half(&b[208..]));
    for i in 0..256 {
        let (half_at, within) = (i / 128, i % 128);
        let low = ql[half_at * 64 + within % 64] >> (within / 64 * 4) & 15;
        let high = qh[half_at * 32 + within % 32] >> (within / 32 * 2) & 3;
        out.push(d * f32::from(scales[i / 16] as i8) * (f32::from(low | high << 4) - 32.0));
    }
}
