//! Bytes read with every length weighed first: a little-endian cursor over a source of known length.

use std::io::{ErrorKind, Read};

use crate::error::{Error, Result};

/// The largest amount by which a buffer grows before the bytes for it have really been read.
pub const STEP: usize = 1 << 20;

/// Reads little-endian values, front to back, from a source whose total length is known.
///
/// Every read is weighed against [`Cursor::left`] before memory is asked for, and long reads grow their buffer by at most
/// [`STEP`] at a time, so a false length costs an error and not memory. Errors say at which offset they happened; callers
/// add the name of the field with [`Error::context`].
#[derive(Debug)]
pub struct Cursor<R> {
    source: R,
    pos: u64,
    total: u64,
}

impl<'a> Cursor<&'a [u8]> {
    /// A cursor over bytes in memory.
    #[must_use]
    pub fn from_slice(bytes: &'a [u8]) -> Self {
        Self::new(bytes, bytes.len() as u64)
    }
}

macro_rules! scalars {
    ($($name:ident),*) => {
        $(
            #[doc = concat!("The next `", stringify!($name), "`, little-endian.")]
            ///
            /// # Errors
            /// As [`Cursor::array`].
            pub fn $name(&mut self) -> Result<$name> {
                self.array().map($name::from_le_bytes)
            }
        )*
    };
}

impl<R: Read> Cursor<R> {
    /// A cursor over a source that holds `total` bytes.
    pub fn new(source: R, total: u64) -> Self {
        Self { source, pos: 0, total }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// Bytes from here to the end.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.total.saturating_sub(self.pos)
    }

    /// Checks that `need` more bytes are there, without reading them.
    ///
    /// # Errors
    /// [`crate::error::Kind::Corrupt`] when fewer are left.
    pub fn need(&self, need: u64) -> Result<()> {
        let left = self.left();
        if need <= left {
            return Ok(());
        }
        Err(Error::corrupt(format!("needs {need} bytes at offset {}, but {left} are left", self.pos)))
    }

    /// Checks that `count` items of at least `each` bytes can still follow, without reading them.
    ///
    /// # Errors
    /// [`crate::error::Kind::Corrupt`] when they cannot.
    pub fn need_items(&self, count: u64, each: u64) -> Result<()> {
        let left = self.left();
        if count.checked_mul(each).is_some_and(|need| need <= left) {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "{count} items of at least {each} bytes do not fit in the {left} bytes left at offset {}",
            self.pos
        )))
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`crate::error::Kind::Corrupt`] when the source is too short, [`crate::error::Kind::Io`] when it cannot be read.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut buf = [0; N];
        self.fill(&mut buf)?;
        Ok(buf)
    }

    scalars!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

    /// Appends the next `len` bytes to `out`.
    ///
    /// # Errors
    /// As [`Cursor::array`]; [`crate::error::Kind::Memory`] when memory cannot be had. `out` may then hold part of the
    /// bytes.
    pub fn append(&mut self, len: u64, out: &mut Vec<u8>) -> Result<()> {
        self.need(len)?;
        let mut rest = len;
        while rest > 0 {
            let step = usize::try_from(rest).map_or(STEP, |rest| rest.min(STEP));
            reserve(out, step)?;
            let start = out.len();
            out.resize(start.saturating_add(step), 0);
            self.fill(out.get_mut(start..).unwrap_or_default())?;
            rest -= step as u64;
        }
        Ok(())
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// As [`Cursor::append`].
    pub fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.append(len, &mut out)?;
        Ok(out)
    }

    /// The next `len` bytes as text.
    ///
    /// # Errors
    /// As [`Cursor::append`]; [`crate::error::Kind::Corrupt`] when they are not UTF-8.
    pub fn text(&mut self, len: u64) -> Result<String> {
        let at = self.pos;
        String::from_utf8(self.bytes(len)?).map_err(|e| not_utf8(at, e.utf8_error()))
    }

    /// Fills `buf` with the next bytes.
    fn fill(&mut self, buf: &mut [u8]) -> Result<()> {
        self.need(buf.len() as u64)?;
        self.source.read_exact(buf).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => Error::corrupt(format!(
                "the source ended while being read: it had {} bytes when it was opened, and gave none after offset {}",
                self.total, self.pos
            )),
            _ => Error::io(format_args!("reading at offset {}", self.pos), &e),
        })?;
        self.pos += buf.len() as u64;
        Ok(())
    }
}

/// Asks for room for `more` items, as an error where the standard library would abort.
///
/// # Errors
/// [`crate::error::Kind::Memory`] when memory cannot be had.
pub fn reserve<T>(out: &mut Vec<T>, more: usize) -> Result<()> {
    out.try_reserve(more).map_err(|e| Error::memory(format!("room for {more} more items after {}: {e}", out.len())))
}

/// What is wrong with bytes that should have been text and begin at `at`.
pub(crate) fn not_utf8(at: u64, e: std::str::Utf8Error) -> Error {
    Error::corrupt(format!("text at offset {at} is not UTF-8 after its first {} bytes", e.valid_up_to()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn values_are_little_endian_and_move_on() {
        let bytes = [1, 2, 0, 3, 0, 0, 0, 0xff, 0xff, 0, 0, 0x80, 0x3f];
        let mut cur = Cursor::from_slice(&bytes);
        assert_eq!(cur.u8().unwrap(), 1);
        assert_eq!(cur.u16().unwrap(), 2);
        assert_eq!(cur.u32().unwrap(), 3);
        assert_eq!(cur.i16().unwrap(), -1);
        assert_eq!(cur.f32().unwrap().to_bits(), 1.0f32.to_bits());
        assert_eq!((cur.pos(), cur.left()), (13, 0));
        assert_eq!(cur.u8().unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn false_lengths_are_refused_before_memory_is_asked_for() {
        for len in [4, u64::from(u32::MAX), u64::MAX / 64, u64::MAX / 2, u64::MAX] {
            let mut out = Vec::new();
            let e = Cursor::from_slice(b"abc").append(len, &mut out).unwrap_err();
            assert_eq!(e.kind(), Kind::Corrupt);
            assert!(e.message().contains(&len.to_string()), "{e}");
            assert_eq!(out.capacity(), 0);
        }
        let cur = Cursor::from_slice(b"abcd");
        assert!(cur.need_items(2, 2).is_ok());
        assert!(cur.need_items(3, 2).is_err());
        assert!(cur.need_items(u64::MAX, 2).is_err(), "the product wraps to a small number");
        assert!(cur.need_items(1 << 63, 2).is_err(), "the product wraps to zero");
    }

    #[test]
    fn a_source_that_shrinks_gives_an_error_and_at_most_one_step_of_memory() {
        let mut out = Vec::new();
        let e = Cursor::new(&[0u8; 100][..], 1 << 40).append(1 << 40, &mut out).unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt);
        assert!(e.message().contains("ended while being read"), "{e}");
        assert!(out.capacity() <= 2 * STEP);
    }

    #[test]
    fn long_reads_span_steps() {
        let bytes: Vec<u8> = (0..STEP * 2 + 7).map(|i| (i % 251) as u8).collect();
        let mut cur = Cursor::from_slice(&bytes);
        assert_eq!(cur.bytes(bytes.len() as u64).unwrap(), bytes);
        assert_eq!(cur.left(), 0);
    }

    #[test]
    fn text_must_be_utf8() {
        assert_eq!(Cursor::from_slice("naïve".as_bytes()).text(6).unwrap(), "naïve");
        let e = Cursor::from_slice(b"ab\xff").text(3).unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt);
        assert!(e.message().contains("UTF-8 after its first 2 bytes"), "{e}");
    }
}
