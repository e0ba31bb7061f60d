//! Metadata values: the thirteen types of GGUF, arrays held as plain typed vectors.

use std::fmt;

use crate::error::{Error, Result};

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Type 0.
    U8(u8),
    /// Type 1.
    I8(i8),
    /// Type 2.
    U16(u16),
    /// Type 3.
    I16(i16),
    /// Type 4.
    U32(u32),
    /// Type 5.
    I32(i32),
    /// Type 6.
    F32(f32),
    /// Type 7.
    Bool(bool),
    /// Type 8.
    Str(String),
    /// Type 9.
    Array(Array),
    /// Type 10.
    U64(u64),
    /// Type 11.
    I64(i64),
    /// Type 12.
    F64(f64),
}

/// An array of one type. GGUF's arrays of arrays are not read.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Of type 0.
    U8(Vec<u8>),
    /// Of type 1.
    I8(Vec<i8>),
    /// Of type 2.
    U16(Vec<u16>),
    /// Of type 3.
    I16(Vec<i16>),
    /// Of type 4.
    U32(Vec<u32>),
    /// Of type 5.
    I32(Vec<i32>),
    /// Of type 6.
    F32(Vec<f32>),
    /// Of type 7.
    Bool(Vec<bool>),
    /// Of type 8.
    Str(StrArray),
    /// Of type 10.
    U64(Vec<u64>),
    /// Of type 11.
    I64(Vec<i64>),
    /// Of type 12.
    F64(Vec<f64>),
}

/// The type number of an array.
pub(super) const ARRAY: u32 = 9;
/// The type number of a string.
pub(super) const STRING: u32 = 8;

/// The name of a value type.
pub(super) fn type_name(id: u32) -> Option<&'static str> {
    Some(match id {
        0 => "u8",
        1 => "i8",
        2 => "u16",
        3 => "i16",
        4 => "u32",
        5 => "i32",
        6 => "f32",
        7 => "bool",
        8 => "string",
        9 => "array",
        10 => "u64",
        11 => "i64",
        12 => "f64",
        _ => return None,
    })
}

macro_rules! from {
    ($($ty:ty => $variant:ident),* $(,)?) => {
        $(
            impl From<$ty> for Value {
                fn from(x: $ty) -> Self {
                    Self::$variant(x)
                }
            }
        )*
    };
}

from!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64, f32 => F32, f64 => F64,
    bool => Bool, String => Str, Array => Array);

impl From<&str> for Value {
    fn from(x: &str) -> Self {
        Self::Str(x.to_owned())
    }
}

impl Value {
    /// The type's number in a file.
    #[must_use]
    pub fn type_id(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Str(_) => STRING,
            Self::Array(_) => ARRAY,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    /// The type in words, for example `u32` or `array of string`.
    #[must_use]
    pub fn type_name(&self) -> String {
        let name = |id| type_name(id).unwrap_or("unknown");
        match self {
            Self::Array(array) => format!("array of {}", name(array.type_id())),
            _ => name(self.type_id()).to_owned(),
        }
    }

    /// The value as a whole number, if it is one of the eight integer types.
    #[must_use]
    pub fn integer(&self) -> Option<i128> {
        Some(match self {
            Self::U8(x) => i128::from(*x),
            Self::I8(x) => i128::from(*x),
            Self::U16(x) => i128::from(*x),
            Self::I16(x) => i128::from(*x),
            Self::U32(x) => i128::from(*x),
            Self::I32(x) => i128::from(*x),
            Self::U64(x) => i128::from(*x),
            Self::I64(x) => i128::from(*x),
            _ => return None,
        })
    }
}

impl Array {
    /// The number of the elements' type in a file.
    #[must_use]
    pub fn type_id(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Str(_) => STRING,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    /// Elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(x) => x.len(),
            Self::I8(x) => x.len(),
            Self::U16(x) => x.len(),
            Self::I16(x) => x.len(),
            Self::U32(x) => x.len(),
            Self::I32(x) => x.len(),
            Self::F32(x) => x.len(),
            Self::Bool(x) => x.len(),
            Self::Str(x) => x.len(),
            Self::U64(x) => x.len(),
            Self::I64(x) => x.len(),
            Self::F64(x) => x.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as whole numbers, if they are of one of the eight integer types.
    pub fn integers(&self) -> Option<Box<dyn Iterator<Item = i128> + '_>> {
        Some(match self {
            Self::U8(x) => Box::new(x.iter().map(|x| i128::from(*x))),
            Self::I8(x) => Box::new(x.iter().map(|x| i128::from(*x))),
            Self::U16(x) => Box::new(x.iter().map(|x| i128::from(*x))),
            Self::I16(x) => Box::new(x.iter().map(|x| i128::from(*x))),
            Self::U32(x) => Box::new(x.iter().map(|x| i128::from(*x))),
            Self::I32(x) => Box::new(x.iter().map(|x| i128::from(*x))),
            Self::U64(x) => Box::new(x.iter().map(|x| i128::from(*x))),
            Self::I64(x) => Box::new(x.iter().map(|x| i128::from(*x))),
            _ => return None,
        })
    }
}

/// Many strings in one buffer: a vocabulary of 200,000 pieces is two allocations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StrArray {
    text: String,
    /// Where each string ends in `text`.
    ends: Vec<u32>,
}

impl StrArray {
    /// Joins the strings.
    ///
    /// # Errors
    /// [`crate::error::Kind::Limit`] when they are more than 4 GiB together.
    pub fn new<S: AsRef<str>>(strings: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut all = Self::default();
        for s in strings {
            all.text.push_str(s.as_ref());
            let end = u32::try_from(all.text.len());
            all.ends.push(end.map_err(|_| Error::limit("an array of strings holds at most 4 GiB of text"))?);
        }
        Ok(all)
    }

    /// Strings of a buffer that end where `ends` says. `None` unless the ends rise, fall between characters, and the last one
    /// is the buffer's end.
    pub(super) fn from_parts(text: String, ends: Vec<u32>) -> Option<Self> {
        let ordered = ends.is_sorted() && ends.iter().all(|end| text.is_char_boundary(*end as usize));
        let whole = ends.last().map_or(0, |end| *end as usize) == text.len();
        (ordered && whole).then_some(Self { text, ends })
    }

    /// Strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String number `i`.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<&str> {
        let end = *self.ends.get(i)?;
        let start = i.checked_sub(1).and_then(|i| self.ends.get(i)).map_or(0, |end| *end);
        self.text.get(start as usize..end as usize)
    }

    /// The strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|i| self.get(i).unwrap_or_default())
    }
}

/// A name out of a file as a message shows it: control characters escaped, cut when long.
pub(super) fn shown(name: &str) -> String {
    const SHOWN: usize = 100;
    let mut out: String = name.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN).is_some() {
        out.push('…');
    }
    out
}

impl fmt::Display for Value {
    /// As `palisade inspect` shows it: arrays by type and length, long strings cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        match self {
            Self::U8(x) => x.fmt(f),
            Self::I8(x) => x.fmt(f),
            Self::U16(x) => x.fmt(f),
            Self::I16(x) => x.fmt(f),
            Self::U32(x) => x.fmt(f),
            Self::I32(x) => x.fmt(f),
            Self::F32(x) => x.fmt(f),
            Self::Bool(x) => x.fmt(f),
            Self::U64(x) => x.fmt(f),
            Self::I64(x) => x.fmt(f),
            Self::F64(x) => x.fmt(f),
            Self::Str(x) => match x.char_indices().nth(SHOWN) {
                Some((cut, _)) => write!(f, "{:?}… ({} bytes)", x.get(..cut).unwrap_or_default(), x.len()),
                None => write!(f, "{x:?}"),
            },
            Self::Array(x) => write!(f, "{} of {} elements", self.type_name(), x.len()),
        }
    }
}
