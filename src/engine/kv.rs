//! The past of one attention layer: keys and values in reference-counted pages.
//!
//! A copy of a cache copies page handles; a page is copied when one of its owners writes. Layers with chunked attention drop
//! pages that no later position can see.

use std::sync::Arc;

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::kernels::KvRows;

/// Positions in a page.
pub(super) const PAGE: usize = 64;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// Single precision when the model's attention weights are, half precision otherwise.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// Half precision.
    F16,
}

impl KvType {
    /// Bytes of one value; `Auto` counts as half precision.
    #[must_use]
    pub fn bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }
}

#[derive(Clone, Debug)]
enum Values {
    F32(Vec<f32>),
    F16(Vec<u16>),
}

impl Values {
    fn zeroed(ty: KvType, n: usize) -> Self {
        if ty == KvType::F32 { Self::F32(vec![0.0; n]) } else { Self::F16(vec![0; n]) }
    }

    fn put(&mut self, at: usize, x: &[f32]) {
        match self {
            Self::F32(v) => v[at..at + x.len()].copy_from_slice(x),
            Self::F16(v) => v[at..at + x.len()].reinterpret_cast_mut::<half::f16>().convert_from_f32_slice(x),
        }
    }

    fn rows(&self) -> KvRows<'_> {
        match self {
            Self::F32(v) => KvRows::F32(v),
            Self::F16(v) => KvRows::F16(v),
        }
    }
}

/// Keys and values of up to [`PAGE`] positions, `(kv_heads, PAGE, head_dim)` each.
#[derive(Clone, Debug)]
struct Page {
    keys: Values,
    values: Values,
}

/// The past of one layer.
#[derive(Clone, Debug)]
pub(super) struct LayerCache {
    ty: KvType,
    kv_heads: usize,
    head_dim: usize,
    len: usize,
    /// Pages from page number `first` on.
    pages: Vec<Arc<Page>>,
    first: usize,
}

impl LayerCache {
    pub(super) fn new(ty: KvType, kv_heads: usize, head_dim: usize) -> Self {
        Self { ty, kv_heads, head_dim, len: 0, pages: Vec::new(), first: 0 }
    }

    /// Positions seen so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds one position; `k` and `v` are `(kv_heads, head_dim)`.
    pub(super) fn push(&mut self, k: &[f32], v: &[f32]) {
        let (page, slot) = (self.len / PAGE - self.first, self.len % PAGE);
        if page == self.pages.len() {
            let n = self.kv_heads * PAGE * self.head_dim;
            let page = Page { keys: Values::zeroed(self.ty, n), values: Values::zeroed(self.ty, n) };
            self.pages.push(Arc::new(page));
        }
        let d = self.head_dim;
        let page = Arc::make_mut(&mut self.pages[page]);
        for (head, (k, v)) in k.chunks_exact(d).zip(v.chunks_exact(d)).enumerate() {
            let at = (head * PAGE + slot) * d;
            page.keys.put(at, k);
            page.values.put(at, v);
        }
        self.len += 1;
    }

    /// Keys and values of one head at positions `from … to`, page by page: `(position of the first row − from, keys, values)`.
    pub(super) fn runs(
        &self,
        head: usize,
        from: usize,
        to: usize,
    ) -> impl Iterator<Item = (usize, KvRows<'_>, KvRows<'_>)> {
        let d = self.head_dim;
        (from / PAGE..to.div_ceil(PAGE)).map(move |number| {
            let page = &self.pages[number - self.first];
            let (low, high) = (from.max(number * PAGE), to.min((number + 1) * PAGE));
            let (a, b) = (head * PAGE + low - number * PAGE, head * PAGE + high - number * PAGE);
            (low - from, page.keys.rows().rows(a, b, d), page.values.rows().rows(a, b, d))
        })
    }

    /// Forgets every position from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            self.pages.truncate(len.div_ceil(PAGE).saturating_sub(self.first));
        }
    }

    /// Drops whole pages before position `from`.
    pub(super) fn drop_before(&mut self, from: usize) {
        let gone = (from / PAGE).saturating_sub(self.first).min(self.pages.len());
        self.pages.drain(..gone);
        self.first += gone;
    }

    /// The earliest position that can still be read.
    pub(super) fn oldest(&self) -> usize {
        self.first * PAGE
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        (self.pages.len() * PAGE * self.kv_heads * self.head_dim) as u64 * 2 * self.ty.bytes()
    }
}

/// Bytes that one layer's past takes at `positions`, of which a chunked layer keeps at most one chunk and a page.
pub(super) fn layer_bytes(ty: KvType, kv_heads: usize, head_dim: usize, chunk: Option<usize>, positions: usize) -> u64 {
    let kept = chunk.map_or(positions, |c| positions.min(c.saturating_add(PAGE))).next_multiple_of(PAGE);
    (kept as u64).saturating_mul((kv_heads * head_dim) as u64).saturating_mul(2 * ty.bytes())
}
