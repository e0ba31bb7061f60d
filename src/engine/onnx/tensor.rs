//! A tensor of an ONNX file: its header weighed against its data, then its values as a tract tensor.

use std::io::Read;

use tract_onnx::prelude::*;

use super::wire::{Field, Fields};
use crate::error::{Error, Result};

/// Ranks above this are no classifier's.
pub(super) const MOST_RANK: usize = 8;
/// One tensor may hold so many bytes.
const MOST_TENSOR_BYTES: u64 = 2 << 30;
/// Longer names are refused.
pub(super) const MOST_NAME: usize = 1024;

/// The element types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F64,
    F16,
    U8,
    I8,
    I32,
    I64,
    Bool,
}

impl Element {
    /// By the number in `TensorProto.DataType`.
    fn of(code: i64) -> Option<Self> {
        Some(match code {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            6 => Self::I32,
            7 => Self::I64,
            9 => Self::Bool,
            10 => Self::F16,
            11 => Self::F64,
            _ => return None,
        })
    }

    fn size(self) -> u64 {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 => 2,
            Self::U8 | Self::I8 | Self::Bool => 1,
        }
    }

    /// The field that holds values which are not raw, and their size there (0: variable).
    fn typed_field(self) -> (u32, usize) {
        match self {
            Self::F32 => (4, 4),
            Self::F64 => (10, 8),
            Self::I64 => (7, 0),
            Self::F16 | Self::U8 | Self::I8 | Self::I32 | Self::Bool => (5, 0),
        }
    }
}

/// Where a tensor's values lie.
#[derive(Clone, Debug)]
pub(super) enum Data<'a> {
    Raw(&'a [u8]),
    /// In typed fields of the message.
    Typed,
    External(Place<'a>),
}

/// A range of a file in the model's folder.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place<'a> {
    pub(super) location: &'a str,
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
}

/// A tensor whose header and data agree.
#[derive(Clone, Debug)]
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    pub(super) data: Data<'a>,
    element: Element,
    dims: Vec<usize>,
    message: &'a [u8],
}

impl<'a> Head<'a> {
    /// Reads the header of a `TensorProto` and holds its data, where it is in the file, against its dimensions.
    pub(super) fn read(message: &'a [u8]) -> Result<Self> {
        let raw = Raw::read(message)?;
        let name = raw.name;
        raw.checked(message).map_err(|e| e.context(format!("tensor {:?}", short(name))))
    }

    /// Bytes of its values.
    pub(super) fn bytes(&self) -> u64 {
        self.dims.iter().fold(self.element.size(), |n, d| n.saturating_mul(*d as u64))
    }

    /// The values, read from `source` when they are not in the file itself.
    pub(super) fn tensor(&self, source: &mut dyn Read) -> Result<Tensor> {
        let mut raw = match self.data {
            Data::Raw(bytes) => bytes,
            Data::Typed => return self.filled(&mut self.typed()?.as_slice()),
            Data::External(_) => return self.filled(source),
        };
        self.filled(&mut raw)
    }

    fn filled(&self, source: &mut dyn Read) -> Result<Tensor> {
        match self.element {
            Element::F32 => self.fill(source, f32::from_le_bytes),
            Element::F64 => self.fill(source, f64::from_le_bytes),
            Element::F16 => self.fill(source, f16::from_le_bytes),
            Element::U8 => self.fill(source, u8::from_le_bytes),
            Element::I8 => self.fill(source, i8::from_le_bytes),
            Element::I32 => self.fill(source, i32::from_le_bytes),
            Element::I64 => self.fill(source, i64::from_le_bytes),
            Element::Bool => self.fill(source, |[b]: [u8; 1]| b != 0),
        }
    }

    fn fill<T: Datum, const N: usize>(&self, source: &mut dyn Read, value: fn([u8; N]) -> T) -> Result<Tensor> {
        let failed = |e: TractError| Error::memory(format!("tensor {:?}: {e:#}", short(self.name)));
        let mut tensor = Tensor::zero_dt(T::datum_type(), &self.dims).map_err(failed)?;
        let mut plain = tensor.try_as_plain_ram_mut().map_err(failed)?;
        let values = plain.as_slice_mut::<T>().map_err(failed)?;
        let mut buffer = vec![0u8; (1 << 16).min(values.len().saturating_mul(N))];
        for chunk in values.chunks_mut((1 << 16) / N) {
            let bytes = buffer.get_mut(..chunk.len() * N).unwrap_or_default();
            source.read_exact(bytes).map_err(|e| Error::io(format!("tensor {:?}", short(self.name)), &e))?;
            for (to, from) in chunk.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *to = value(*from);
            }
        }
        Ok(tensor)
    }

    /// Values of typed fields as they would stand in `raw_data`.
    fn typed(&self) -> Result<Vec<u8>> {
        let (number, size) = self.element.typed_field();
        let mut out = Vec::new();
        let mut fields = Fields::new("a tensor", self.message);
        while let Some(field) = fields.next()? {
            if field.number != number {
                continue;
            }
            match (field.value, size) {
                (super::wire::Value::Four(b), 4) => out.extend(b),
                (super::wire::Value::Eight(b), 8) => out.extend(b),
                (_, 4 | 8) => out.extend(field.bytes()?),
                _ => {
                    let mut ints = Vec::new();
                    field.ints(&mut ints, self.message.len())?;
                    let width = usize::try_from(self.element.size()).unwrap_or(8);
                    out.extend(ints.iter().flat_map(|i| i.to_le_bytes().into_iter().take(width)));
                }
            }
        }
        Ok(out)
    }
}

/// The fields of a `TensorProto` before they are held against each other.
#[derive(Default)]
struct Raw<'a> {
    name: &'a str,
    dims: Vec<i64>,
    code: i64,
    raw: Option<&'a [u8]>,
    /// Values in typed fields: the field's number and how many.
    typed: Vec<(u32, usize)>,
    external: bool,
    place: Place<'a>,
    strings: bool,
    segment: bool,
}

impl<'a> Raw<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let mut out = Self::default();
        let mut fields = Fields::new("a tensor", message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => field.ints(&mut out.dims, MOST_RANK)?,
                2 => out.code = field.int()?,
                3 => out.segment = true,
                4 => out.typed.push((4, field.count(4)?)),
                5 | 7 | 11 => out.typed.push((field.number, field.count(0)?)),
                10 => out.typed.push((10, field.count(8)?)),
                6 => out.strings = true,
                8 => out.name = field.text(MOST_NAME)?,
                9 if out.raw.is_some() => return Err(Error::corrupt("a tensor with two data fields")),
                9 => out.raw = Some(field.bytes()?),
                13 => out.place.add(field)?,
                14 => out.external = field.int()? == 1,
                _ => {}
            }
            // One entry a scalar is legal and long; a list of them is not kept.
            if let [.., (a, n), (b, m)] = out.typed[..]
                && a == b
            {
                out.typed.pop();
                if let Some(last) = out.typed.last_mut() {
                    last.1 = n.saturating_add(m);
                }
            }
        }
        Ok(out)
    }

    fn checked(self, message: &'a [u8]) -> Result<Head<'a>> {
        let code = self.code;
        let element = Element::of(code)
            .filter(|_| !self.strings)
            .ok_or_else(|| Error::unsupported(format!("element type {code}; numbers and booleans are read")))?;
        if self.segment {
            return Err(Error::unsupported("data in segments"));
        }
        let (dims, bytes) = volume(&self.dims, element.size())?;
        let elements = bytes / element.size();
        let (number, _) = element.typed_field();
        let data = match (self.raw, &self.typed[..], self.external) {
            (Some(raw), [], false) if raw.len() as u64 == bytes => Data::Raw(raw),
            (None, [], false) if elements == 0 => Data::Raw(&[]),
            (None, [(n, count)], false) if *n == number && *count as u64 == elements => Data::Typed,
            (None, [], true) => Data::External(self.place),
            (raw, typed, external) => {
                let found = match (raw, typed, external) {
                    (Some(raw), [], false) => format!("{} bytes", raw.len()),
                    (None, [(n, count)], false) => format!("{count} values in field {n}"),
                    (None, [], false) => "no data".to_owned(),
                    _ => "data in more than one place".to_owned(),
                };
                let dims = &self.dims;
                return Err(Error::corrupt(format!("dimensions {dims:?} need {bytes} bytes of {element:?}, {found}")));
            }
        };
        Ok(Head { name: self.name, data, element, dims, message })
    }
}

impl<'a> Place<'a> {
    /// One entry of `external_data`.
    fn add(&mut self, entry: Field<'a>) -> Result<()> {
        let (mut key, mut value) = ("", "");
        let mut fields = Fields::new("external data", entry.bytes()?);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => key = field.text(MOST_NAME)?,
                2 => value = field.text(MOST_NAME)?,
                _ => {}
            }
        }
        let number = || {
            let all_digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            let parsed = if all_digits { value.parse().ok() } else { None };
            parsed.ok_or_else(|| Error::corrupt(format!("external data: {key} {:?} is no number", short(value))))
        };
        match key {
            "location" => self.location = value,
            "offset" => self.offset = number()?,
            "length" => self.length = Some(number()?),
            // `checksum` and `basepath` are named by the format and used by nobody.
            "checksum" | "basepath" => {}
            _ => return Err(Error::corrupt(format!("external data has an entry {:?}", short(key)))),
        }
        Ok(())
    }
}

/// The dimensions as sizes, and the bytes they need.
fn volume(dims: &[i64], size: u64) -> Result<(Vec<usize>, u64)> {
    let mut bytes = size;
    let mut out = Vec::with_capacity(dims.len());
    for dim in dims {
        let d = usize::try_from(*dim).map_err(|_| Error::corrupt(format!("dimensions {dims:?}")))?;
        bytes = bytes.saturating_mul(d as u64);
        out.push(d);
    }
    // A zero among huge dimensions must not hide them.
    if bytes > MOST_TENSOR_BYTES || out.iter().any(|d| *d as u64 > MOST_TENSOR_BYTES) {
        return Err(Error::limit(format!("dimensions {dims:?}, at most {MOST_TENSOR_BYTES} bytes are read")));
    }
    Ok((out, bytes))
}

/// The beginning of a name, for messages.
pub(super) fn short(name: &str) -> String {
    name.chars().take(80).collect()
}
