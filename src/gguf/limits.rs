//! The limits a GGUF file must keep. They bound what a file can make the reader do before a single weight is read.

/// Limits for one open. The defaults admit every known model file; a host may lower them, or raise them on its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Metadata pairs.
    pub pairs: u64,
    /// Bytes of a key.
    pub key_bytes: u64,
    /// Bytes of a string value.
    pub string_bytes: u64,
    /// Bytes of a chat template (`tokenizer.chat_template` and its named kin).
    pub template_bytes: u64,
    /// Elements of an array.
    pub array_items: u64,
    /// Bytes that all metadata may take in memory.
    pub metadata_bytes: u64,
    /// Tensors over all parts.
    pub tensors: u64,
    /// Bytes of a tensor's name.
    pub name_bytes: u64,
    /// Parts of a split model.
    pub parts: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pairs: 65_536,
            key_bytes: 65_535,
            string_bytes: 16 << 20,
            template_bytes: 1 << 20,
            array_items: 4 << 20,
            metadata_bytes: 256 << 20,
            tensors: 65_536,
            name_bytes: 64,
            parts: 1_024,
        }
    }
}

/// The smallest and largest `general.alignment`.
pub(super) const ALIGNMENT: std::ops::RangeInclusive<u32> = 8..=65_536;
/// The alignment of a file that states none.
pub(super) const DEFAULT_ALIGNMENT: u32 = 32;
/// Dimensions of a tensor.
pub(super) const DIMS: std::ops::RangeInclusive<u32> = 1..=4;
