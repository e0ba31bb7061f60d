//! Writing GGUF version 3: metadata first, then tensors streamed in order; the file appears whole or not at all.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::header::{ALIGNMENT_KEY, MAGIC, tensor_bytes};
use super::limits::{ALIGNMENT, DEFAULT_ALIGNMENT, DIMS, Limits};
use super::packed;
use super::pairs::{PAIR_COST, is_template};
use super::unfinished::Unfinished;
use super::value::{Array, Value};
use crate::error::{Error, Kind, Result};
use crate::quant::BlockType;

/// The version written.
const VERSION: u32 = 3;
/// Bytes gathered before the operating system is asked to write.
const BUFFER: usize = 1 << 20;

/// Builds one GGUF file. It refuses what [`super::Gguf`] would refuse to read.
#[derive(Debug)]
pub struct Writer {
    pairs: Vec<(String, Value)>,
    index: HashMap<String, usize>,
    tensors: Vec<Planned>,
    names: HashMap<String, usize>,
    alignment: u32,
    /// Where the sections of a packed file begin and end within the data.
    sections: Option<Vec<(u64, u64)>>,
}

/// A tensor that was announced and not yet written.
#[derive(Debug)]
struct Planned {
    name: String,
    dims: Vec<u64>,
    ty: BlockType,
    bytes: u64,
    /// Within the data.
    offset: u64,
}

/// Takes the bytes of one tensor, in order and in pieces of any size.
pub struct Sink<'a> {
    out: &'a mut dyn Write,
    name: &'a str,
    declared: u64,
    left: u64,
}

impl Sink<'_> {
    /// Writes the next bytes of the tensor.
    ///
    /// # Errors
    /// [`Kind::Argument`] when they are more than the tensor's shape and type declare, [`Kind::Io`] when writing fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            let (name, declared) = (self.name, self.declared);
            return Err(Error::argument(format!("tensor {name}: more than its {declared} bytes were given")));
        };
        self.out.write_all(bytes).map_err(|e| Error::io(format_args!("writing tensor {}", self.name), &e))?;
        self.left = left;
        Ok(())
    }

    /// Bytes of the tensor still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A file without metadata or tensors, aligned to 32 bytes.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pairs: vec![],
            index: HashMap::new(),
            tensors: vec![],
            names: HashMap::new(),
            alignment: DEFAULT_ALIGNMENT,
            sections: None,
        }
    }

    /// Sets a metadata value; a key that is there already keeps its place and gets the new value.
    ///
    /// # Errors
    /// [`Kind::Argument`] for a key that is empty or holds a NUL, and for a `general.alignment` that is no power of two from 8
    /// to 65,536 of type u32 or comes after a tensor; [`Kind::Limit`] for a key, text or array longer than [`Limits`] allow.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        check_pair(key, &value).map_err(|e| e.context(format_args!("metadata {key:?}")))?;
        if key == ALIGNMENT_KEY {
            self.alignment = self.new_alignment(&value)?;
        }
        if let Some((_, old)) = self.index.get(key).and_then(|i| self.pairs.get_mut(*i)) {
            *old = value;
            return Ok(());
        }
        within("metadata pairs", self.pairs.len() as u64 + 1, Limits::default().pairs)?;
        self.index.insert(key.to_owned(), self.pairs.len());
        self.pairs.push((key.to_owned(), value));
        Ok(())
    }

    /// Announces the next tensor; `dims` are in ggml's order, the row's length first. Returns its number.
    ///
    /// # Errors
    /// [`Kind::Argument`] for a name or shape that cannot be written, [`Kind::Limit`] past the [`Limits`].
    pub fn tensor(&mut self, name: &str, dims: &[u64], ty: BlockType) -> Result<usize> {
        let limits = Limits::default();
        let argument = |what: String| Error::argument(format!("tensor {name:?}: {what}"));
        within("tensors", self.tensors.len() as u64 + 1, limits.tensors)?;
        if name.is_empty() || name.contains('\0') || name.len() as u64 > limits.name_bytes {
            return Err(argument(format!("expected a name of 1 to {} bytes without NUL", limits.name_bytes)));
        }
        if self.names.contains_key(name) {
            return Err(argument("there is one of this name already".into()));
        }
        if !u32::try_from(dims.len()).is_ok_and(|n| DIMS.contains(&n)) || dims.contains(&0) {
            return Err(argument(format!("dimensions {dims:?}, expected one to four, each at least 1")));
        }
        let bytes = tensor_bytes(dims, ty.ggml_id()).map_err(|e| argument(e.message().to_owned()))?;
        let end = |t: &Planned| t.offset.checked_add(t.bytes)?.checked_next_multiple_of(self.alignment.into());
        let offset = self.tensors.last().map_or(Some(0), end);
        let fits = |offset: &u64| offset.checked_add(bytes).is_some_and(|end| i64::try_from(end).is_ok());
        let offset = offset.filter(fits).ok_or_else(|| argument("the file would pass 2^63 bytes".into()))?;
        let i = self.tensors.len();
        self.names.insert(name.to_owned(), i);
        self.tensors.push(Planned { name: name.to_owned(), dims: dims.to_vec(), ty, bytes, offset });
        Ok(i)
    }

    /// Writes the file. `fill` is called for each tensor in order and must give the sink exactly its bytes.
    ///
    /// The bytes go to a new file beside `path`, which takes the name only when it is whole and on disk. A kill at any moment
    /// leaves at `path` what was there before, or the whole new file.
    ///
    /// # Errors
    /// [`Kind::Argument`] when `fill` gives too few or too many bytes or `path` names no file, [`Kind::Io`] when writing
    /// fails, and whatever `fill` returns. The new file is then removed.
    pub fn write_to(&self, path: impl AsRef<Path>, fill: impl FnMut(usize, &mut Sink<'_>) -> Result<()>) -> Result<()> {
        let path = path.as_ref();
        if path.symlink_metadata().is_ok_and(|meta| !meta.is_file() && !meta.is_symlink()) {
            return Err(Error::argument(format!("{} is there and is no regular file", path.display())));
        }
        let io = |e: &io::Error| Error::io(path.display(), e);
        let unfinished = Unfinished::create(path).map_err(|e| io(&e))?;
        let mut out = BufWriter::with_capacity(BUFFER, unfinished.file());
        self.write_into(&mut out, fill).map_err(|e| e.context(path.display()))?;
        drop(out);
        unfinished.finish(path).map_err(|e| io(&e))
    }

    /// Writes the same bytes to any writer.
    ///
    /// # Errors
    /// As [`Writer::write_to`].
    pub fn write_into(
        &self,
        out: &mut dyn Write,
        mut fill: impl FnMut(usize, &mut Sink<'_>) -> Result<()>,
    ) -> Result<()> {
        out.write_all(&self.whole_header()?).map_err(|e| Error::io("writing the header", &e))?;
        for (i, t) in self.tensors.iter().enumerate() {
            let mut sink = Sink { out, name: &t.name, declared: t.bytes, left: t.bytes };
            fill(i, &mut sink)?;
            if sink.left > 0 {
                let (name, left, all) = (&t.name, sink.left, t.bytes);
                return Err(Error::argument(format!("tensor {name}: {left} of its {all} bytes were not given")));
            }
            self.pad(out, t.bytes).map_err(|e| Error::io(format_args!("writing tensor {}", t.name), &e))?;
        }
        out.flush().map_err(|e| Error::io("writing the last bytes", &e))
    }

    fn new_alignment(&self, value: &Value) -> Result<u32> {
        match value {
            Value::U32(x) if x.is_power_of_two() && ALIGNMENT.contains(x) && self.tensors.is_empty() => Ok(*x),
            _ => Err(Error::argument(format!(
                "metadata {ALIGNMENT_KEY}: {value} of type {}, expected a power of two from {} to {} of type u32, set \
                 before the first tensor",
                value.type_name(),
                ALIGNMENT.start(),
                ALIGNMENT.end()
            ))),
        }
    }

    /// The header and its padding: everything before the first tensor.
    pub(super) fn whole_header(&self) -> Result<Vec<u8>> {
        let mut header = self.header();
        // At least what the reader counts for these pairs.
        let keys: u64 = self.pairs.iter().map(|(key, _)| key.len() as u64 + PAIR_COST).sum();
        within("bytes of metadata", header.len() as u64 + keys, Limits::default().metadata_bytes)?;
        header.resize(header.len().next_multiple_of(self.alignment as usize), 0);
        Ok(header)
    }

    /// Where each tensor begins and ends in a file whose data begins at `start`.
    pub(super) fn spans(&self, start: u64) -> Vec<(u64, u64)> {
        let moved = |n: u64| start.saturating_add(n);
        if let Some(sections) = &self.sections {
            return sections.iter().map(|(from, to)| (moved(*from), moved(*to))).collect();
        }
        let span = |t: &Planned| (moved(t.offset), moved(t.offset).saturating_add(t.bytes));
        self.tensors.iter().map(span).collect()
    }

    /// Bytes of tensor number `i` in a GGUF file.
    pub(super) fn bytes(&self, i: usize) -> u64 {
        self.tensors.get(i).map_or(0, |t| t.bytes)
    }

    /// Makes this a packed file: where each tensor begins within the data, and the sections.
    pub(super) fn pack(&mut self, offsets: Vec<u64>, sections: Vec<(u64, u64)>) {
        self.tensors.iter_mut().zip(offsets).for_each(|(t, offset)| t.offset = offset);
        self.sections = Some(sections);
    }

    /// The next multiple of the alignment.
    pub(super) fn aligned(&self, pos: u64) -> u64 {
        pos.next_multiple_of(self.alignment.into())
    }

    fn header(&self) -> Vec<u8> {
        let packed = self.sections.is_some();
        let mut out = if packed { packed::MAGIC } else { MAGIC }.to_vec();
        out.extend(if packed { packed::VERSION } else { VERSION }.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, value) in &self.pairs {
            put_text(&mut out, key);
            out.extend(value.type_id().to_le_bytes());
            put_value(&mut out, value);
        }
        for t in &self.tensors {
            put_text(&mut out, &t.name);
            out.extend((t.dims.len() as u32).to_le_bytes());
            put_all(&mut out, &t.dims, u64::to_le_bytes);
            out.extend(t.ty.ggml_id().to_le_bytes());
            out.extend(t.offset.to_le_bytes());
        }
        out
    }

    /// Writes zeros from `pos` up to the next multiple of the alignment.
    fn pad(&self, out: &mut dyn Write, pos: u64) -> io::Result<()> {
        let gap = self.aligned(pos) - pos;
        io::copy(&mut io::Read::take(io::repeat(0), gap), out).map(|_| ())
    }
}

fn check_pair(key: &str, value: &Value) -> Result<()> {
    let limits = Limits::default();
    if key.is_empty() || key.contains('\0') {
        return Err(Error::argument("expected a key of at least one byte, without NUL"));
    }
    within("length of the key", key.len() as u64, limits.key_bytes)?;
    match value {
        Value::Str(x) => {
            let most = if is_template(key) { limits.template_bytes } else { limits.string_bytes };
            within("length", x.len() as u64, most)
        }
        Value::Array(x) => within("array length", x.len() as u64, limits.array_items),
        _ => Ok(()),
    }
}

fn within(field: &str, n: u64, limit: u64) -> Result<()> {
    if n <= limit { Ok(()) } else { Err(Error::new(Kind::Limit, format!("{field} is {n}, the limit is {limit}"))) }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_all<T: Copy, const N: usize>(out: &mut Vec<u8>, items: &[T], bytes: fn(T) -> [u8; N]) {
    out.extend(items.iter().flat_map(|x| bytes(*x)));
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(x) => out.push(*x),
        Value::I8(x) => out.extend(x.to_le_bytes()),
        Value::U16(x) => out.extend(x.to_le_bytes()),
        Value::I16(x) => out.extend(x.to_le_bytes()),
        Value::U32(x) => out.extend(x.to_le_bytes()),
        Value::I32(x) => out.extend(x.to_le_bytes()),
        Value::F32(x) => out.extend(x.to_le_bytes()),
        Value::Bool(x) => out.push((*x).into()),
        Value::Str(x) => put_text(out, x),
        Value::Array(x) => put_array(out, x),
        Value::U64(x) => out.extend(x.to_le_bytes()),
        Value::I64(x) => out.extend(x.to_le_bytes()),
        Value::F64(x) => out.extend(x.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.type_id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(x) => out.extend(x),
        Array::I8(x) => put_all(out, x, i8::to_le_bytes),
        Array::U16(x) => put_all(out, x, u16::to_le_bytes),
        Array::I16(x) => put_all(out, x, i16::to_le_bytes),
        Array::U32(x) => put_all(out, x, u32::to_le_bytes),
        Array::I32(x) => put_all(out, x, i32::to_le_bytes),
        Array::F32(x) => put_all(out, x, f32::to_le_bytes),
        Array::Bool(x) => out.extend(x.iter().map(|x| u8::from(*x))),
        Array::Str(x) => x.iter().for_each(|x| put_text(out, x)),
        Array::U64(x) => put_all(out, x, u64::to_le_bytes),
        Array::I64(x) => put_all(out, x, i64::to_le_bytes),
        Array::F64(x) => put_all(out, x, f64::to_le_bytes),
    }
}
