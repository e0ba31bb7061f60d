//! Reading metadata pairs.

use std::io::Read;

use super::limits::Limits;
use super::metadata::Metadata;
use super::value::{ARRAY, Array, STRING, StrArray, Value, shown};
use crate::bytes::{Cursor, STEP, not_utf8, reserve};
use crate::cancel::CancelFlag;
use crate::error::{Error, Result};

/// What a pair costs in memory beside its text: two keys' headers, the value, a place in the index.
pub(super) const PAIR_COST: u64 = 160;

/// Reads `n` pairs.
pub(super) fn read<R: Read>(cur: &mut Cursor<R>, n: u64, limits: &Limits, cancel: &CancelFlag) -> Result<Metadata> {
    let mut all = Metadata::default();
    let mut reader = Pairs { cur, limits, cancel, budget: limits.metadata_bytes };
    for i in 0..n {
        cancel.check()?;
        let key = reader.key().map_err(|e| e.context(format_args!("key of metadata pair {i}")))?;
        let value = reader.value(&key).map_err(|e| e.context(format_args!("metadata {}", shown(&key))))?;
        if all.contains(&key) {
            return Err(Error::corrupt(format!("metadata {} is there twice", shown(&key))));
        }
        all.insert(key, value);
    }
    Ok(all)
}

struct Pairs<'a, R> {
    cur: &'a mut Cursor<R>,
    limits: &'a Limits,
    cancel: &'a CancelFlag,
    /// Bytes of memory that metadata may still take.
    budget: u64,
}

macro_rules! numbers {
    ($self:ident, $n:ident, $ty:ident, $variant:ident) => {{
        let bytes = $self.array_bytes($n, size_of::<$ty>())?;
        let mut out: Vec<$ty> = Vec::new();
        reserve(&mut out, bytes.len() / size_of::<$ty>())?;
        out.extend(bytes.as_chunks().0.iter().map(|b| $ty::from_le_bytes(*b)));
        Array::$variant(out)
    }};
}

impl<R: Read> Pairs<'_, R> {
    fn key(&mut self) -> Result<String> {
        let len = self.cur.u64()?;
        self.cur.need(len)?;
        if len == 0 {
            return Err(Error::corrupt("is empty"));
        }
        within("length", len, self.limits.key_bytes)?;
        self.pay(PAIR_COST.saturating_add(len.saturating_mul(2)))?;
        let key = self.cur.text(len)?;
        if key.contains('\0') {
            return Err(Error::corrupt(format!("{} contains a NUL", shown(&key))));
        }
        Ok(key)
    }

    fn value(&mut self, key: &str) -> Result<Value> {
        let id = self.cur.u32().map_err(|e| e.context("type"))?;
        let cur = &mut *self.cur;
        Ok(match id {
            0 => Value::U8(cur.u8()?),
            1 => Value::I8(cur.i8()?),
            2 => Value::U16(cur.u16()?),
            3 => Value::I16(cur.i16()?),
            4 => Value::U32(cur.u32()?),
            5 => Value::I32(cur.i32()?),
            6 => Value::F32(cur.f32()?),
            7 => Value::Bool(truth(cur.u8()?)?),
            STRING => Value::Str(self.string(key)?),
            ARRAY => Value::Array(self.array()?),
            10 => Value::U64(cur.u64()?),
            11 => Value::I64(cur.i64()?),
            12 => Value::F64(cur.f64()?),
            _ => return Err(unknown("type", id)),
        })
    }

    fn string(&mut self, key: &str) -> Result<String> {
        let len = self.cur.u64().map_err(|e| e.context("length"))?;
        self.cur.need(len).map_err(|e| e.context("length"))?;
        let most = if is_template(key) { self.limits.template_bytes } else { self.limits.string_bytes };
        within("length", len, most)?;
        self.pay(len)?;
        self.cur.text(len)
    }

    fn array(&mut self) -> Result<Array> {
        let id = self.cur.u32().map_err(|e| e.context("array type"))?;
        let n = self.cur.u64().map_err(|e| e.context("array length"))?;
        Ok(match id {
            0 => Array::U8(self.array_bytes(n, 1)?),
            1 => numbers!(self, n, i8, I8),
            2 => numbers!(self, n, u16, U16),
            3 => numbers!(self, n, i16, I16),
            4 => numbers!(self, n, u32, U32),
            5 => numbers!(self, n, i32, I32),
            6 => numbers!(self, n, f32, F32),
            7 => Array::Bool(self.array_bytes(n, 1)?.into_iter().map(truth).collect::<Result<_>>()?),
            STRING => Array::Str(self.strings(n)?),
            ARRAY => return Err(Error::unsupported("an array of arrays is not read")),
            10 => numbers!(self, n, u64, U64),
            11 => numbers!(self, n, i64, I64),
            12 => numbers!(self, n, f64, F64),
            _ => return Err(unknown("array type", id)),
        })
    }

    /// The bytes of `n` elements of `size` bytes each.
    fn array_bytes(&mut self, n: u64, size: usize) -> Result<Vec<u8>> {
        let size = size as u64;
        self.cur.need_items(n, size).map_err(|e| e.context("array length"))?;
        within("array length", n, self.limits.array_items)?;
        let mut out = Vec::new();
        let len = n.saturating_mul(size);
        self.pay(len)?;
        let mut rest = len;
        while rest > 0 {
            self.cancel.check()?;
            let step = rest.min(STEP as u64);
            self.cur.append(step, &mut out)?;
            rest -= step;
        }
        Ok(out)
    }

    fn strings(&mut self, n: u64) -> Result<StrArray> {
        self.cur.need_items(n, 8).map_err(|e| e.context("array length"))?;
        within("array length", n, self.limits.array_items)?;
        self.pay(n.saturating_mul(4))?;
        let (start, mut text, mut ends) = (self.cur.pos(), Vec::new(), Vec::new());
        for i in 0..n {
            if i % 1024 == 0 {
                self.cancel.check()?;
            }
            let end = self.element(&mut text).map_err(|e| e.context(format_args!("element {i}")))?;
            reserve(&mut ends, 1)?;
            ends.push(end);
        }
        let text = String::from_utf8(text).map_err(|e| not_utf8_element(start, &ends, e.utf8_error()))?;
        StrArray::from_parts(text, ends).ok_or_else(|| Error::corrupt("an element ends within a character"))
    }

    /// Appends one string to `text`; answers where it ends there.
    fn element(&mut self, text: &mut Vec<u8>) -> Result<u32> {
        let len = self.cur.u64()?;
        self.cur.need(len)?;
        within("length", len, self.limits.string_bytes)?;
        self.pay(len)?;
        self.cur.append(len, text)?;
        u32::try_from(text.len()).map_err(|_| Error::limit("an array of strings holds at most 4 GiB of text"))
    }

    /// Takes `bytes` from the budget.
    fn pay(&mut self, bytes: u64) -> Result<()> {
        let all = self.limits.metadata_bytes;
        let e = || Error::limit(format!("with {bytes} bytes more, metadata passes the limit of {all} bytes"));
        self.budget = self.budget.checked_sub(bytes).ok_or_else(e)?;
        Ok(())
    }
}

/// Whether a key holds a chat template, the main one or a named one.
pub(super) fn is_template(key: &str) -> bool {
    key.starts_with("tokenizer.chat_template")
}

fn truth(byte: u8) -> Result<bool> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::corrupt(format!("a bool is {byte}, expected 0 or 1"))),
    }
}

fn within(field: &str, n: u64, limit: u64) -> Result<()> {
    if n <= limit { Ok(()) } else { Err(Error::limit(format!("{field} is {n}, the limit is {limit}"))) }
}

fn unknown(field: &str, id: u32) -> Error {
    Error::corrupt(format!("{field} is {id}, expected 0 (u8) to 12 (f64)"))
}

/// Names the element of an array of strings in which the joined text stops being UTF-8.
fn not_utf8_element(start: u64, ends: &[u32], e: std::str::Utf8Error) -> Error {
    let i = ends.partition_point(|end| *end as usize <= e.valid_up_to());
    // Before element `i` stand the text of the elements before it and `i + 1` lengths.
    let at = ends.get(i.wrapping_sub(1)).map_or(0, |end| u64::from(*end)) + 8 * (i as u64 + 1);
    not_utf8(start + at, e).context(format_args!("element {i}"))
}
