//! The protobuf wire format read in place: one flat message at a time, every length weighed against what is left.

use crate::error::{Error, Result};

/// A field of a message: its number and what the wire holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
    /// The field with its key, as it stands in the message.
    pub(super) whole: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// The fields of one message, front to back. It does not look into nested messages: who wants to, makes another reader, so
/// the depth of a file is the depth of our calls.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    /// Over the bytes of a message; `what` names it in errors.
    pub(super) fn new(what: &'static str, message: &'a [u8]) -> Self {
        Self { rest: message, what }
    }

    /// The next field, `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>> {
        let start = self.rest;
        if start.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let number = number.ok_or_else(|| self.bad(format!("field number {}", key >> 3)))?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Eight(self.array(number)?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(number, length)?)
            }
            5 => Value::Four(self.array(number)?),
            // Groups are the one way in which a message could nest without a length.
            kind => return Err(self.bad(format!("field {number} has wire type {kind}"))),
        };
        let whole = start.get(..start.len() - self.rest.len()).unwrap_or_default();
        Ok(Some(Field { number, value, whole }))
    }

    fn varint(&mut self) -> Result<u64> {
        let (value, rest) = varint(self.rest).ok_or_else(|| self.bad("a number without an end".into()))?;
        self.rest = rest;
        Ok(value)
    }

    fn take(&mut self, number: u32, length: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(length).ok().and_then(|n| self.rest.split_at_checked(n));
        let (taken, rest) = split.ok_or_else(|| {
            let left = self.rest.len();
            self.bad(format!("field {number} claims {length} bytes, {left} are left"))
        })?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, number: u32) -> Result<[u8; N]> {
        let bytes = self.take(number, N as u64)?;
        bytes.try_into().map_err(|_| self.bad(format!("field {number} is cut short")))
    }

    fn bad(&self, what: String) -> Error {
        Error::corrupt(format!("not an ONNX file: {}: {what}", self.what))
    }
}

impl<'a> Field<'a> {
    pub(super) fn bytes(&self) -> Result<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.mistyped("bytes")),
        }
    }

    /// A string of at most `most` bytes.
    pub(super) fn text(&self, most: usize) -> Result<&'a str> {
        let bytes = self.bytes()?;
        if bytes.len() > most {
            return Err(Error::limit(format!("a name of {} bytes, at most {most}", bytes.len())));
        }
        std::str::from_utf8(bytes).map_err(|_| Error::corrupt("not an ONNX file: a name that is not UTF-8"))
    }

    /// A signed integer.
    pub(super) fn int(&self) -> Result<i64> {
        match self.value {
            Value::Varint(v) => Ok(v.cast_signed()),
            _ => Err(self.mistyped("an integer")),
        }
    }

    /// Appends one integer or a packed run of them, up to `most` in all.
    pub(super) fn ints(&self, into: &mut Vec<i64>, most: usize) -> Result<()> {
        let packed = match self.value {
            Value::Varint(v) => {
                into.push(v.cast_signed());
                &[]
            }
            Value::Bytes(bytes) => bytes,
            _ => return Err(self.mistyped("integers")),
        };
        let mut rest = packed;
        while !rest.is_empty() && into.len() <= most {
            let (v, left) = varint(rest).ok_or_else(|| self.mistyped("packed integers"))?;
            into.push(v.cast_signed());
            rest = left;
        }
        if into.len() > most {
            return Err(Error::limit(format!("a list of more than {most} integers")));
        }
        Ok(())
    }

    /// How many scalars the field holds, which are `size` bytes each or, with `size` 0, of the variable kind.
    pub(super) fn count(&self, size: usize) -> Result<usize> {
        match (self.value, size) {
            (Value::Varint(_), 0) | (Value::Four(_), 4) | (Value::Eight(_), 8) => Ok(1),
            (Value::Bytes(bytes), 0) => {
                let mut rest = bytes;
                let mut n = 0;
                while !rest.is_empty() {
                    rest = varint(rest).ok_or_else(|| self.mistyped("packed integers"))?.1;
                    n += 1;
                }
                Ok(n)
            }
            (Value::Bytes(bytes), 4 | 8) if bytes.len().is_multiple_of(size) => Ok(bytes.len() / size),
            _ => Err(self.mistyped("packed numbers")),
        }
    }

    fn mistyped(&self, expected: &str) -> Error {
        Error::corrupt(format!("not an ONNX file: field {} is not {expected}", self.number))
    }
}

/// A number of at most ten bytes, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if i == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

/// Appends a length-delimited field.
pub(super) fn put_bytes(into: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    into.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        into.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    into.push((length & 0x7f) as u8);
    into.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, u64)>> {
        let mut fields = Fields::new("test", bytes);
        let mut out = Vec::new();
        while let Some(f) = fields.next()? {
            out.push((f.number, if let Value::Varint(v) = f.value { v } else { f.bytes()?.len() as u64 }));
        }
        Ok(out)
    }

    #[test]
    fn fields_come_in_their_order() {
        let mut bytes = vec![0x08, 0x96, 0x01];
        put_bytes(&mut bytes, 2, &[7; 200]);
        assert_eq!(all(&bytes).unwrap(), [(1, 150), (2, 200)]);
    }

    #[test]
    fn lengths_past_the_end_groups_and_endless_numbers_are_refused() {
        for bytes in [
            &[0x12, 0x05, 1, 2][..],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x0b],
            &[0x0c],
            &[0x08, 0xff],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x00, 0x00],
            &[0x0d, 1, 2, 3],
            &[0x0f],
        ] {
            assert!(all(bytes).is_err(), "{bytes:?}");
        }
    }
}
