//! A GGUF file byte by byte, every field of which can be made to lie. It shares no code with the reader or the writer.

/// The parts of a file. [`Raw::bytes`] joins them.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// What the header claims, when that is not the number of tensors.
    pub(crate) tensor_count: Option<u64>,
    /// What the header claims, when that is not the number of pairs.
    pub(crate) pair_count: Option<u64>,
    pub(crate) pairs: Vec<Vec<u8>>,
    pub(crate) tensors: Vec<Tensor>,
    /// What the directory's end is padded to.
    pub(crate) align: usize,
    pub(crate) data: Vec<u8>,
}

/// A directory entry.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: Vec<u8>,
    /// What the entry claims, when that is not the name's length.
    pub(crate) name_len: Option<u64>,
    /// What the entry claims, when that is not the number of dimensions.
    pub(crate) rank: Option<u32>,
    pub(crate) dims: Vec<u64>,
    pub(crate) ty: u32,
    pub(crate) offset: u64,
}

impl Raw {
    /// A small valid file: five pairs, three tensors (F32 8x2, Q4_0 64x3, F16 4), 32-byte alignment.
    pub(crate) fn valid() -> Self {
        let tokens: Vec<u8> = ["Ġthe", "", "漢字"].iter().flat_map(|s| text(s.as_bytes())).collect();
        let tensor = |name: &str, dims: &[u64], ty, offset| Tensor {
            name: name.into(),
            name_len: None,
            rank: None,
            dims: dims.into(),
            ty,
            offset,
        };
        Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            pair_count: None,
            pairs: vec![
                pair(b"general.architecture", 8, &text(b"llama4")),
                pair(b"llama4.block_count", 4, &2u32.to_le_bytes()),
                pair(b"tokenizer.ggml.tokens", 9, &array(8, 3, &tokens)),
                pair(b"tokenizer.ggml.scores", 9, &array(6, 2, &[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0])),
                pair(b"tokenizer.ggml.add_bos_token", 7, &[1]),
            ],
            tensors: vec![
                tensor("a.weight", &[8, 2], 0, 0),
                tensor("b.weight", &[64, 3], 2, 64),
                tensor("c.weight", &[4], 1, 192),
            ],
            align: 32,
            data: (0..224u32).map(|i| if i < 200 { (i % 61) as u8 } else { 0 }).collect(),
        }
    }

    /// Where the data begins.
    pub(crate) fn data_start(&self) -> usize {
        self.header().len().next_multiple_of(self.align)
    }

    /// Where the last tensor ends.
    pub(crate) fn content_end(&self) -> usize {
        self.data_start() + 200
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        out.resize(self.data_start(), 0);
        out.extend(&self.data);
        out
    }

    /// With one more pair.
    pub(crate) fn with(mut self, pair: Vec<u8>) -> Self {
        self.pairs.push(pair);
        self
    }

    /// With something changed.
    pub(crate) fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.pair_count.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        out.extend(self.pairs.iter().flatten());
        for t in &self.tensors {
            out.extend(t.name_len.unwrap_or(t.name.len() as u64).to_le_bytes());
            out.extend(&t.name);
            out.extend(t.rank.unwrap_or(t.dims.len() as u32).to_le_bytes());
            out.extend(t.dims.iter().flat_map(|d| d.to_le_bytes()));
            out.extend(t.ty.to_le_bytes());
            out.extend(t.offset.to_le_bytes());
        }
        out
    }
}

/// Length and bytes.
pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    long_text(bytes.len() as u64, bytes)
}

/// A claimed length and bytes.
pub(crate) fn long_text(len: u64, bytes: &[u8]) -> Vec<u8> {
    [&len.to_le_bytes()[..], bytes].concat()
}

/// Key, type and the value's bytes.
pub(crate) fn pair(key: &[u8], ty: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &ty.to_le_bytes(), value].concat()
}

/// Element type, claimed length and the elements' bytes.
pub(crate) fn array(ty: u32, len: u64, items: &[u8]) -> Vec<u8> {
    [&ty.to_le_bytes()[..], &len.to_le_bytes(), items].concat()
}

/// The most address space this process ever had, in KiB. Memory that was asked for and never touched counts.
pub(crate) fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmPeak:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Checks the growth since `before`. Other tests of this program run beside this one and take some; a false length of 2^36
/// would show as 64 GiB. Only Linux says.
pub(crate) fn assert_little_memory(before: Option<u64>) {
    if let (Some(before), Some(after)) = (before, peak_kib()) {
        assert!(after - before < 2 << 20, "address space grew from {before} to {after} KiB");
    }
}
