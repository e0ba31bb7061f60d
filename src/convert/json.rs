//! JSON files of a model's folder, read inside limits, with values asked for by name.

use std::path::Path;

use serde_json::Value;

use crate::bytes::reserve;
use crate::error::{Error, Result};
use crate::gguf::Part;

/// The longest JSON file that is read: the `tokenizer.json` of Llama 4 has 28 MB.
const LONGEST: u64 = 256 << 20;

/// The bytes of a file of the folder; `None` when there is none.
pub(super) fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    if !path.exists() {
        return Ok(None);
    }
    let part = Part::open(path)?;
    if part.len() > LONGEST {
        return Err(Error::limit(format!("{}: {} bytes, the limit is {LONGEST}", path.display(), part.len())));
    }
    let (mut out, len) = (Vec::new(), usize::try_from(part.len()).unwrap_or_default());
    reserve(&mut out, len)?;
    out.resize(len, 0);
    part.read_at(0, &mut out)?;
    Ok(Some(out))
}

/// A file's JSON value; `None` when there is no such file.
pub(super) fn value(path: &Path) -> Result<Option<Value>> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|e| Error::corrupt(format!("{}: {e}", path.display())))
}

/// One JSON object, and where it stands for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) place: &'a str,
    pub(super) value: &'a Value,
}

impl<'a> Object<'a> {
    /// The value of a key that is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|v| !v.is_null())
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> Error {
        let shown: String = value.to_string().chars().take(80).collect();
        Error::corrupt(format!("{}: {key} is {shown}, expected {expected}", self.place))
    }

    fn missing(&self, key: &str) -> Error {
        Error::corrupt(format!("{}: {key} is missing", self.place))
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let n = value.as_u64().and_then(|n| u32::try_from(n).ok());
        n.map(Some).ok_or_else(|| self.wrong(key, value, "a whole number below 2^32"))
    }

    pub(super) fn need_count(&self, key: &str) -> Result<u32> {
        self.count(key)?.filter(|n| *n > 0).ok_or_else(|| self.missing(key))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let n = value.as_f64().filter(|n| n.is_finite());
        n.map(Some).ok_or_else(|| self.wrong(key, value, "a number"))
    }

    /// A truth value, or a number that is not 0 (`attn_temperature_tuning` is 4 in published files).
    pub(super) fn truth(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let truth = value.as_bool().or_else(|| value.as_f64().map(|n| n != 0.0));
        truth.map(Some).ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, value, "a text"))
    }

    /// A list of whole numbers.
    pub(super) fn counts(&self, key: &str) -> Result<Option<Vec<u64>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let list = value.as_array().and_then(|list| list.iter().map(Value::as_u64).collect());
        list.map(Some).ok_or_else(|| self.wrong(key, value, "a list of whole numbers"))
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let list = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        list.map(Some).ok_or_else(|| self.wrong(key, value, "a list of texts"))
    }

    /// The object under a key.
    pub(super) fn object(&self, key: &str, place: &'a str) -> Result<Option<Object<'a>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        if !value.is_object() {
            return Err(self.wrong(key, value, "an object"));
        }
        Ok(Some(Object { place, value }))
    }
}
