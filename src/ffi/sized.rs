//! Structs that begin with their size, so that hosts built with an older or a newer header work.
//!
//! The rule is that of the Linux kernel's `copy_struct_from_user`: what a shorter struct lacks takes its default, what
//! a longer one has beyond ours must be zero.
#![expect(unsafe_code, reason = "reading and writing a part of a struct of the host")]

use super::fence::Fault;
use super::memory;
use super::status::{PALISADE_ARG, PALISADE_UNSUPPORTED};

/// No struct of ours will ever be larger; it bounds what is read of a wrong `struct_size`.
const MAX_SIZE: usize = 4096;

/// A struct whose first field is `uint32_t struct_size`.
///
/// # Safety
/// The type is `repr(C)`, begins with that field, has no padding, and any bytes a C program may write into its fields
/// make a value of it.
pub(super) unsafe trait Versioned: Copy {
    /// Where it may end: the offset of each field but the first two, and its size.
    const BORDERS: &'static [usize];
    /// What its init function writes.
    fn defaults() -> Self;
}

/// The borders of a struct, from the names of its fields from the third on. The first two have four bytes each; that
/// nothing lies between the fields is checked where it is compiled.
macro_rules! borders {
    ($type:ty: $($field:ident),+ $(,)?) => {{
        use $crate::ffi::sized::field_size;
        const FIELDS: usize = 8 $(+ field_size(|value: &$type| &value.$field))+;
        const { assert!(FIELDS == std::mem::size_of::<$type>(), "the struct has padding") };
        &[$(std::mem::offset_of!($type, $field)),+, std::mem::size_of::<$type>()]
    }};
}
pub(super) use borders;

pub(super) const fn field_size<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

fn check_size<T: Versioned>(size: usize, name: &str) -> Result<(), Fault> {
    let ours = size_of::<T>();
    if (size > ours && size <= MAX_SIZE) || T::BORDERS.contains(&size) {
        return Ok(());
    }
    let why = if size == 0 { "; call its init function first" } else { ", where no field ends" };
    Err(Fault::new(PALISADE_ARG, format!("{name}: struct_size is {size}{why} (it has {ours} bytes here)")))
}

/// Fills a struct of `size` bytes with the defaults, and sets its `struct_size`.
///
/// # Safety
/// A pointer that is not NULL points to `size` bytes that may be written.
pub(super) unsafe fn init<T: Versioned>(host: *mut T, size: usize, name: &str) -> Result<(), Fault> {
    // SAFETY: as this function asks.
    unsafe { write(host, size, &T::defaults(), name) }
}

/// Writes as much of `value` as the host's struct of `size` bytes has, zeroes what it has beyond, and sets its
/// `struct_size`.
///
/// # Safety
/// As [`init`].
pub(super) unsafe fn write<T: Versioned>(host: *mut T, size: usize, value: &T, name: &str) -> Result<(), Fault> {
    memory::check(host, name)?;
    check_size::<T>(size, name)?;
    let ours = size.min(size_of::<T>());
    let to = host.cast::<u8>();
    // SAFETY: the host's struct has `size` bytes, of which `ours` are in `value` too; the first four are its size.
    unsafe {
        to.copy_from_nonoverlapping(std::ptr::from_ref(value).cast::<u8>(), ours);
        to.add(ours).write_bytes(0, size - ours);
        to.cast::<u32>().write(size as u32);
    }
    Ok(())
}

/// Reads a struct of the host.
///
/// # Safety
/// A pointer that is not NULL and aligned points to a struct of the `struct_size` that stands in it.
pub(super) unsafe fn read<T: Versioned>(host: *const T, name: &str) -> Result<T, Fault> {
    memory::check(host, name)?;
    // SAFETY: the struct begins with its size.
    let size = unsafe { host.cast::<u32>().read() } as usize;
    check_size::<T>(size, name)?;
    let ours = size.min(size_of::<T>());
    let from = host.cast::<u8>();
    // SAFETY: the host's struct has `size` bytes.
    let beyond = unsafe { std::slice::from_raw_parts(from.add(ours), size - ours) };
    if let Some(at) = beyond.iter().position(|&byte| byte != 0) {
        let message = format!("{name}: byte {} is set, which this version of the library does not know", ours + at);
        return Err(Fault::new(PALISADE_UNSUPPORTED, message));
    }
    let mut value = T::defaults();
    // SAFETY: `ours` bytes are in both; any bytes make a value of a `Versioned` type.
    unsafe { std::ptr::from_mut(&mut value).cast::<u8>().copy_from_nonoverlapping(from, ours) };
    Ok(value)
}

/// Refuses a reserved field that is not zero.
pub(super) fn reserved(bytes: &[u8], name: &str) -> Result<(), Fault> {
    match bytes.iter().all(|&byte| byte == 0) {
        true => Ok(()),
        false => Err(Fault::new(PALISADE_ARG, format!("{name} is reserved and must be zero"))),
    }
}

/// Reads a truth value.
pub(super) fn flag(value: u8, name: &str) -> Result<bool, Fault> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Fault::new(PALISADE_ARG, format!("{name} is {other}; it is 0 or 1"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Stands for today's struct; a header of yesterday ends at `new`, one of tomorrow has more.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Today {
        struct_size: u32,
        a: u32,
        b: u64,
        new: u64,
    }

    // SAFETY: plain integers without padding, the size first.
    unsafe impl Versioned for Today {
        const BORDERS: &'static [usize] = borders!(Today: b, new);
        fn defaults() -> Self {
            Self { struct_size: size_of::<Self>() as u32, a: 1, b: 2, new: 3 }
        }
    }

    #[repr(C, align(8))]
    struct Room([u8; 64]);

    fn read_sized(size: u32, fill: u8) -> Result<Today, Fault> {
        let mut room = Room([fill; 64]);
        room.0[..4].copy_from_slice(&size.to_ne_bytes());
        // SAFETY: the room is larger than any size tried here.
        unsafe { read(room.0.as_ptr().cast::<Today>(), "today") }
    }

    #[test]
    fn a_shorter_struct_takes_defaults_for_what_it_lacks() {
        let sevens = u64::from_ne_bytes([7; 8]);
        assert_eq!(read_sized(8, 7).unwrap(), Today { struct_size: 8, a: 0x0707_0707, b: 2, new: 3 });
        assert_eq!(read_sized(16, 7).unwrap(), Today { struct_size: 16, a: 0x0707_0707, b: sevens, new: 3 });
        assert_eq!(read_sized(24, 7).unwrap().new, sevens);
    }

    #[test]
    fn a_size_that_is_no_border_is_refused() {
        for size in (0..24).filter(|size| ![8, 16].contains(size)).chain([4097, u32::MAX]) {
            assert_eq!(read_sized(size, 0).unwrap_err().status, PALISADE_ARG, "{size}");
        }
        assert!(read_sized(0, 0).unwrap_err().message.contains("call its init function first"));
    }

    #[test]
    fn a_longer_struct_is_taken_when_the_rest_is_zero() {
        read_sized(32, 0).unwrap();
        let mut room = Room([0; 64]);
        room.0[..4].copy_from_slice(&32_u32.to_ne_bytes());
        room.0[29] = 1;
        // SAFETY: the room has 64 bytes.
        let fault = unsafe { read(room.0.as_ptr().cast::<Today>(), "today") }.unwrap_err();
        assert_eq!(fault.status, PALISADE_UNSUPPORTED);
        assert!(fault.message.contains("byte 29"), "{}", fault.message);
    }

    #[test]
    fn init_writes_no_byte_beyond_the_hosts_struct() {
        for size in [8_usize, 16, 24, 32] {
            let mut room = Room([0xA5; 64]);
            // SAFETY: the room has 64 bytes.
            unsafe { init(room.0.as_mut_ptr().cast::<Today>(), size, "today") }.unwrap();
            assert!(room.0[size..].iter().all(|&byte| byte == 0xA5));
            assert_eq!(room.0[..4], (size as u32).to_ne_bytes());
            assert_eq!(room.0[24.min(size)..size], [0; 8][..size.saturating_sub(24)]);
        }
    }

    #[test]
    fn flags_and_reserved_bytes_are_checked() {
        assert_eq!((flag(0, "f").unwrap(), flag(1, "f").unwrap()), (false, true));
        assert!((2..=255).all(|value| flag(value, "f").is_err()));
        reserved(&[0; 3], "r").unwrap();
        assert_eq!(reserved(&[0, 0, 1], "r").unwrap_err().status, PALISADE_ARG);
    }
}
