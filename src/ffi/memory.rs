//! The host's pointers: weighed before they are followed, written only on success.
#![expect(unsafe_code, reason = "following the host's pointers")]

use std::ffi::c_char;
use std::marker::PhantomData;
use std::path::PathBuf;

use super::fence::Fault;
use super::status::{PALISADE_ARG, PALISADE_BUFFER, PALISADE_LIMIT, PALISADE_UTF8};
use super::types::PalisadeStr;

/// The longest text a call takes, in bytes.
pub(super) const MAX_TEXT: usize = 16 << 20;

/// The longest path a call takes, in bytes.
const MAX_PATH: usize = 32 << 10;

fn null(name: &str) -> Fault {
    Fault::new(PALISADE_ARG, format!("{name} is NULL"))
}

/// Refuses a pointer that is NULL or not aligned for `T`.
pub(super) fn check<T>(pointer: *const T, name: &str) -> Result<(), Fault> {
    if pointer.is_null() {
        return Err(null(name));
    }
    if !pointer.is_aligned() {
        return Err(Fault::new(PALISADE_ARG, format!("{name} is not aligned to {} bytes", align_of::<T>())));
    }
    Ok(())
}

/// An output of the host: checked at the beginning of a call, written at its end.
pub(super) struct Out<'a, T> {
    pointer: *mut T,
    host: PhantomData<&'a mut T>,
}

impl<T: Copy> Out<'_, T> {
    /// Writes the output.
    pub(super) fn set(self, value: T) {
        // SAFETY: `out` checked the pointer, and its caller vouched for the memory behind it. Nothing is dropped.
        unsafe { self.pointer.write(value) }
    }
}

/// Checks an output pointer.
///
/// # Safety
/// A pointer that is not NULL and aligned points to memory for a `T` that may be written for `'a`.
pub(super) unsafe fn out<'a, T: Copy>(pointer: *mut T, name: &str) -> Result<Out<'a, T>, Fault> {
    check(pointer, name)?;
    Ok(Out { pointer, host: PhantomData })
}

/// Borrows a text. A length of 0 ignores the pointer.
///
/// # Safety
/// With a length over 0 and a pointer that is not NULL, that many bytes may be read for `'a`.
pub(super) unsafe fn text<'a>(text: PalisadeStr, name: &str) -> Result<&'a str, Fault> {
    if text.len == 0 {
        return Ok("");
    }
    if text.data.is_null() {
        return Err(null(&format!("{name}.data")));
    }
    if text.len > MAX_TEXT {
        let message = format!("{name} has {} bytes, at most {MAX_TEXT} are taken", text.len);
        return Err(Fault::new(PALISADE_LIMIT, message));
    }
    // SAFETY: as this function asks; the length is far below isize::MAX, and bytes need no alignment.
    let bytes = unsafe { std::slice::from_raw_parts(text.data.cast::<u8>(), text.len) };
    std::str::from_utf8(bytes)
        .map_err(|e| Fault::new(PALISADE_UTF8, format!("{name} is not UTF-8 at byte {}", e.valid_up_to())))
}

/// Borrows a path that must be there.
///
/// # Safety
/// As [`text`].
pub(super) unsafe fn path(path: PalisadeStr, name: &str) -> Result<PathBuf, Fault> {
    // SAFETY: as this function asks.
    unsafe { optional_path(path, name) }?.ok_or_else(|| Fault::new(PALISADE_ARG, format!("{name} is empty")))
}

/// Borrows a path; empty means none.
///
/// # Safety
/// As [`text`].
pub(super) unsafe fn optional_path(path: PalisadeStr, name: &str) -> Result<Option<PathBuf>, Fault> {
    if path.len > MAX_PATH {
        let message = format!("{name} has {} bytes, a path has at most {MAX_PATH}", path.len);
        return Err(Fault::new(PALISADE_LIMIT, message));
    }
    // SAFETY: as this function asks.
    let path = unsafe { text(path, name) }?;
    if path.contains('\0') {
        return Err(Fault::new(PALISADE_ARG, format!("{name} holds a NUL, which no path can")));
    }
    Ok((!path.is_empty()).then(|| PathBuf::from(path)))
}

/// Borrows an array of texts.
///
/// # Safety
/// With a count over 0 and a pointer that is not NULL and aligned, that many elements may be read, and each of them is
/// as [`text`] asks.
pub(super) unsafe fn texts<'a>(data: *const PalisadeStr, count: usize, name: &str) -> Result<Vec<&'a str>, Fault> {
    const MAX_COUNT: usize = 64;
    if count == 0 {
        return Ok(Vec::new());
    }
    if count > MAX_COUNT {
        return Err(Fault::new(PALISADE_LIMIT, format!("{name}: {count} texts, at most {MAX_COUNT} are taken")));
    }
    check(data, name)?;
    // SAFETY: as this function asks; checked just above.
    let each = unsafe { std::slice::from_raw_parts(data, count) };
    // SAFETY: as this function asks.
    each.iter().enumerate().map(|(i, one)| unsafe { text(*one, &format!("{name}[{i}]")) }).collect()
}

/// Copies a text and a NUL into the host's buffer. `needed` gets the size with the NUL, also when the buffer is too
/// small; the buffer is written only when all of it fits.
///
/// # Safety
/// With a capacity over 0 and a pointer that is not NULL, that many bytes may be written; `needed` is as [`out`] asks.
pub(super) unsafe fn copy_out(text: &str, buf: *mut c_char, cap: usize, needed: *mut usize) -> Result<(), Fault> {
    // SAFETY: as this function asks.
    let needed = unsafe { out(needed, "needed") }?;
    let size = text.len() + 1;
    if cap > 0 && buf.is_null() {
        return Err(null("buf"));
    }
    if cap < size {
        needed.set(size);
        return Err(Fault::new(PALISADE_BUFFER, format!("the buffer has {cap} bytes, {size} are needed")));
    }
    // SAFETY: the buffer has at least `size` bytes and is not ours; `text` has `size - 1`.
    unsafe {
        buf.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        buf.add(text.len()).write(0);
    }
    needed.set(size);
    Ok(())
}

/// A text in a field of fixed size: cut between characters where it is too long, always ended by NUL.
pub(super) fn fixed<const N: usize>(text: &str) -> [c_char; N] {
    let mut field = [0; N];
    let text = text.split('\0').next().unwrap_or_default();
    let fits = text.floor_char_boundary(N.saturating_sub(1));
    for (to, from) in field.iter_mut().zip(text.as_bytes().iter().take(fits)) {
        *to = *from as c_char;
    }
    field
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn view(bytes: &[u8]) -> PalisadeStr {
        PalisadeStr { data: bytes.as_ptr().cast(), len: bytes.len() }
    }

    fn read(bytes: &[u8]) -> Result<&str, Fault> {
        // SAFETY: the bytes are borrowed for as long as the text.
        unsafe { text(view(bytes), "text") }
    }

    #[test]
    fn the_classical_bad_sequences_are_refused_with_their_place() {
        let bad: [&[u8]; 12] = [
            b"\x80",
            b"\xbf",
            b"\xc0\xbc",
            b"\xc1\xbf",
            b"\xe0\x80\xbc",
            b"\xf0\x80\x80\xbc",
            b"\xed\xa0\x80",
            b"\xed\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\xfe",
            b"\xe2\x82",
        ];
        for bytes in bad {
            let fault = read(&[b"abc", bytes].concat()).unwrap_err();
            assert_eq!(fault, Fault::new(PALISADE_UTF8, "text is not UTF-8 at byte 3"), "{bytes:?}");
        }
    }

    #[test]
    fn a_nul_inside_a_text_is_data() {
        assert_eq!(read(b"a\0b").unwrap(), "a\0b");
    }

    #[test]
    fn length_zero_ignores_the_pointer() {
        for data in [std::ptr::null(), std::ptr::without_provenance(1)] {
            // SAFETY: nothing is read.
            assert_eq!(unsafe { text(PalisadeStr { data, len: 0 }, "text") }.unwrap(), "");
        }
    }

    #[test]
    fn absurd_lengths_are_refused_before_the_bytes_are_touched() {
        for len in [usize::MAX, isize::MAX as usize + 1, 1 << 31, MAX_TEXT + 1] {
            let wild = PalisadeStr { data: std::ptr::without_provenance(1), len };
            // SAFETY: nothing is read: the length is refused first.
            assert_eq!(unsafe { text(wild, "text") }.unwrap_err().status, PALISADE_LIMIT);
            // SAFETY: as above.
            assert_eq!(unsafe { optional_path(wild, "path") }.unwrap_err().status, PALISADE_LIMIT);
        }
    }

    #[test]
    fn a_small_buffer_is_left_alone_and_told_the_size() {
        for cap in 0..8 {
            let mut buf = [0xA5_u8; 8];
            let mut needed = 0;
            // SAFETY: the buffer has at least `cap` bytes.
            let result = unsafe { copy_out("hällo", buf.as_mut_ptr().cast(), cap, &raw mut needed) };
            assert_eq!(needed, 7);
            assert_eq!(result.is_ok(), cap >= 7);
            assert_eq!(buf.starts_with("hällo\0".as_bytes()), cap >= 7);
            assert_eq!(buf == [0xA5; 8], cap < 7);
        }
    }

    #[test]
    fn a_fixed_field_ends_with_nul_and_between_characters() {
        let as_bytes = |field: [c_char; 4]| field.map(|c| c as u8);
        assert_eq!(as_bytes(fixed("abcdef")), *b"abc\0");
        assert_eq!(as_bytes(fixed("abé")), *b"ab\0\0");
        assert_eq!(as_bytes(fixed("a\0b")), *b"a\0\0\0");
        assert_eq!(as_bytes(fixed("")), [0; 4]);
    }

    #[test]
    fn pointers_are_checked_for_null_and_alignment() {
        let place = [0_u64; 2];
        let odd = place.as_ptr().cast::<u8>().wrapping_add(1).cast::<u64>();
        assert_eq!(check(odd, "x").unwrap_err().message, "x is not aligned to 8 bytes");
        assert_eq!(check(std::ptr::null::<u64>(), "x").unwrap_err().message, "x is NULL");
        check(place.as_ptr(), "x").unwrap();
    }
}
