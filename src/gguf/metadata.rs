//! Metadata by key, through getters that refuse a wrong type by name.

use std::borrow::Cow;
use std::collections::HashMap;

use super::value::{Array, StrArray, Value};
use crate::error::{Error, Result};

/// The key-value pairs of a model, in file order.
///
/// Getters return `Ok(None)` for a missing key and an error of kind [`crate::error::Kind::Corrupt`] for a value of another
/// type or out of range; the `require_` forms also make a missing key an error.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

/// A number that a file gives once for all layers or once per layer (for example `attention.head_count_kv`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PerLayer {
    /// The same for all layers.
    All(u32),
    /// One for each layer.
    Each(Vec<u32>),
}

impl PerLayer {
    /// The number of layer `layer`; `None` when the file's array is too short.
    #[must_use]
    pub fn get(&self, layer: usize) -> Option<u32> {
        match self {
            Self::All(x) => Some(*x),
            Self::Each(x) => x.get(layer).copied(),
        }
    }
}

macro_rules! require {
    ($($name:ident = $get:ident -> $ty:ty),* $(,)?) => {
        $(
            #[doc = concat!("As [`Metadata::", stringify!($get), "`], for a key that must be there.")]
            ///
            /// # Errors
            /// [`crate::error::Kind::Corrupt`] when the key is missing or its value is of another type.
            pub fn $name(&self, key: &str) -> Result<$ty> {
                self.$get(key)?.ok_or_else(|| Error::corrupt(format!("metadata {key} is missing")))
            }
        )*
    };
}

impl Metadata {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).and_then(|i| self.pairs.get(*i)).map(|(_, value)| value)
    }

    /// Whether the key is there.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The keys in file order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.pairs.iter().map(|(key, _)| key.as_str())
    }

    /// The pairs in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A whole number of any integer type that fits a `u32`.
    ///
    /// # Errors
    /// As [`Metadata`] says.
    pub fn get_u32(&self, key: &str) -> Result<Option<u32>> {
        self.integer(key, "a whole number from 0 to 4294967295")
    }

    /// A whole number of any integer type that fits a `u64`.
    ///
    /// # Errors
    /// As [`Metadata`] says.
    pub fn get_u64(&self, key: &str) -> Result<Option<u64>> {
        self.integer(key, "a whole number from 0 to 18446744073709551615")
    }

    /// A number of any float or integer type, rounded to an `f32`. NaN and infinity in the file come out as they are.
    ///
    /// # Errors
    /// As [`Metadata`] says; also when a finite number is too large for an `f32`.
    pub fn get_f32(&self, key: &str) -> Result<Option<f32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let x = match value {
            Value::F32(x) => *x,
            Value::F64(x) if x.is_infinite() || (*x as f32).is_finite() || x.is_nan() => *x as f32,
            _ => value.integer().ok_or_else(|| wrong(key, value, "a number that fits an f32"))? as f32,
        };
        Ok(Some(x))
    }

    /// A truth value; a whole number counts as true when it is not 0.
    ///
    /// # Errors
    /// As [`Metadata`] says.
    pub fn get_bool(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match (value, value.integer()) {
            (Value::Bool(x), _) => Ok(Some(*x)),
            (_, Some(x)) => Ok(Some(x != 0)),
            _ => Err(wrong(key, value, "a bool")),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// As [`Metadata`] says.
    pub fn get_str(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Str(x)) => Ok(Some(x)),
            Some(value) => Err(wrong(key, value, "a string")),
        }
    }

    /// An array of texts.
    ///
    /// # Errors
    /// As [`Metadata`] says.
    pub fn get_str_array(&self, key: &str) -> Result<Option<&StrArray>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Str(x))) => Ok(Some(x)),
            Some(value) => Err(wrong(key, value, "an array of string")),
        }
    }

    /// An array of whole numbers that fit an `i32`.
    ///
    /// # Errors
    /// As [`Metadata`] says.
    pub fn get_i32_array(&self, key: &str) -> Result<Option<Cow<'_, [i32]>>> {
        match self.get(key) {
            Some(Value::Array(Array::I32(x))) => Ok(Some(Cow::Borrowed(x))),
            _ => Ok(self.integers(key, "an array of whole numbers that fit an i32")?.map(Cow::Owned)),
        }
    }

    /// An array of whole numbers that fit a `u32`.
    ///
    /// # Errors
    /// As [`Metadata`] says.
    pub fn get_u32_array(&self, key: &str) -> Result<Option<Cow<'_, [u32]>>> {
        match self.get(key) {
            Some(Value::Array(Array::U32(x))) => Ok(Some(Cow::Borrowed(x))),
            _ => Ok(self.integers(key, "an array of whole numbers that fit a u32")?.map(Cow::Owned)),
        }
    }

    /// An array of 32-bit floats.
    ///
    /// # Errors
    /// As [`Metadata`] says.
    pub fn get_f32_array(&self, key: &str) -> Result<Option<&[f32]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::F32(x))) => Ok(Some(x)),
            Some(value) => Err(wrong(key, value, "an array of f32")),
        }
    }

    /// An array of truth values.
    ///
    /// # Errors
    /// As [`Metadata`] says.
    pub fn get_bool_array(&self, key: &str) -> Result<Option<&[bool]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Bool(x))) => Ok(Some(x)),
            Some(value) => Err(wrong(key, value, "an array of bool")),
        }
    }

    /// A `u32` for all layers, or an array with one for each.
    ///
    /// # Errors
    /// As [`Metadata`] says.
    pub fn get_u32_or_array(&self, key: &str) -> Result<Option<PerLayer>> {
        match self.get(key) {
            Some(Value::Array(_)) => Ok(self.get_u32_array(key)?.map(|x| PerLayer::Each(x.into_owned()))),
            _ => Ok(self.get_u32(key)?.map(PerLayer::All)),
        }
    }

    require! {
        require_u32 = get_u32 -> u32,
        require_u64 = get_u64 -> u64,
        require_f32 = get_f32 -> f32,
        require_bool = get_bool -> bool,
        require_str = get_str -> &str,
        require_str_array = get_str_array -> &StrArray,
        require_i32_array = get_i32_array -> Cow<'_, [i32]>,
        require_u32_array = get_u32_array -> Cow<'_, [u32]>,
        require_f32_array = get_f32_array -> &[f32],
        require_u32_or_array = get_u32_or_array -> PerLayer,
    }

    /// Adds a pair whose key is not there yet.
    pub(super) fn insert(&mut self, key: String, value: Value) {
        self.index.insert(key.clone(), self.pairs.len());
        self.pairs.push((key, value));
    }

    fn integer<T: TryFrom<i128>>(&self, key: &str, expected: &str) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let x = value.integer().and_then(|x| T::try_from(x).ok());
        x.map(Some).ok_or_else(|| wrong(key, value, expected))
    }

    fn integers<T: TryFrom<i128>>(&self, key: &str, expected: &str) -> Result<Option<Vec<T>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Value::Array(array) = value else { return Err(wrong(key, value, expected)) };
        let items = array.integers().ok_or_else(|| wrong(key, value, expected))?;
        let converted = items.enumerate().map(|(i, x)| {
            let e = || Error::corrupt(format!("metadata {key}: element {i} is {x}, expected {expected}"));
            T::try_from(x).map_err(|_| e())
        });
        converted.collect::<Result<_>>().map(Some)
    }
}

fn wrong(key: &str, value: &Value, expected: &str) -> Error {
    Error::corrupt(format!("metadata {key}: {value} is of type {}, expected {expected}", value.type_name()))
}
