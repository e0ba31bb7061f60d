//! The past of one attention layer: keys and values in reference-counted pages.
//!
//! A copy of a cache copies page handles; a page is copied when one of its owners writes. Layers with chunked attention drop
//! pages that no later position can see: at each multiple of the chunk they hold nothing.

use std::ops::Range;
use std::sync::Arc;

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::bytes::reserve;
use crate::error::Result;
use crate::kernels::{self, KV_BLOCK, KvRows};
use crate::model::Model;

/// Positions in a page.
pub(super) const PAGE: usize = 64;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// Single precision when the model's attention weights are or activations are fine, half precision otherwise.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Eight bits in blocks of 32 under a half-precision scale, as ggml's `Q8_0`: 17/32 of half precision's bytes. Needs
    /// heads of whole blocks.
    Q8_0,
}

impl KvType {
    /// Bytes of `values` values in whole blocks; `Auto` counts as half precision.
    fn bytes(self, values: u64) -> u64 {
        match self {
            Self::F32 => values.saturating_mul(4),
            Self::Auto | Self::F16 => values.saturating_mul(2),
            Self::Q8_0 => (values / KV_BLOCK as u64).saturating_mul(KV_BLOCK as u64 + 2),
        }
    }
}

#[derive(Clone, Debug)]
enum Values {
    F32(Vec<f32>),
    F16(Vec<u16>),
    Q8 { q: Vec<i8>, scales: Vec<u16> },
}

fn zeroed<T: Clone + Default>(n: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    reserve(&mut values, n)?;
    values.resize(n, T::default());
    Ok(values)
}

impl Values {
    fn zeroed(ty: KvType, n: usize) -> Result<Self> {
        Ok(match ty {
            KvType::F32 => Self::F32(zeroed(n)?),
            KvType::Auto | KvType::F16 => Self::F16(zeroed(n)?),
            KvType::Q8_0 => Self::Q8 { q: zeroed(n)?, scales: zeroed(n / KV_BLOCK)? },
        })
    }

    fn put(&mut self, at: usize, x: &[f32]) {
        let end = at + x.len();
        match self {
            Self::F32(v) => v[at..end].copy_from_slice(x),
            Self::F16(v) => v[at..end].reinterpret_cast_mut::<half::f16>().convert_from_f32_slice(x),
            Self::Q8 { q, scales } => {
                kernels::quantize_kv(x, &mut q[at..end], &mut scales[at / KV_BLOCK..end / KV_BLOCK]);
            }
        }
    }

    fn rows(&self) -> KvRows<'_> {
        match self {
            Self::F32(v) => KvRows::F32(v),
            Self::F16(v) => KvRows::F16(v),
            Self::Q8 { q, scales } => KvRows::Q8 { q, scales },
        }
    }
}

/// Keys and values of up to [`PAGE`] positions, `(kv_heads, PAGE, head_dim)` each.
#[derive(Clone, Debug)]
struct Page {
    keys: Values,
    values: Values,
}

/// Neighbouring positions that lie in one page.
pub(super) struct Run<'a> {
    /// How many of the positions asked for come before.
    pub(super) at: usize,
    page: &'a Page,
    slots: Range<usize>,
    head_dim: usize,
}

impl<'a> Run<'a> {
    /// Keys of one head.
    pub(super) fn keys(&self, head: usize) -> KvRows<'a> {
        self.rows(&self.page.keys, head)
    }

    /// Values of one head.
    pub(super) fn values(&self, head: usize) -> KvRows<'a> {
        self.rows(&self.page.values, head)
    }

    fn rows(&self, values: &'a Values, head: usize) -> KvRows<'a> {
        values.rows().rows(head * PAGE + self.slots.start, head * PAGE + self.slots.end, self.head_dim)
    }
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

    /// The past, leaving an empty one behind.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self::new(self.ty, self.kv_heads, self.head_dim);
        std::mem::replace(self, empty)
    }

    /// Positions seen so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds one position; `k` and `v` are `(kv_heads, head_dim)`.
    ///
    /// # Errors
    /// [`crate::error::Kind::Memory`] when there is no room for a page; nothing is added then.
    pub(super) fn push(&mut self, k: &[f32], v: &[f32]) -> Result<()> {
        let (page, slot) = (self.len / PAGE - self.first, self.len % PAGE);
        if page == self.pages.len() {
            let n = self.kv_heads * PAGE * self.head_dim;
            let page = Page { keys: Values::zeroed(self.ty, n)?, values: Values::zeroed(self.ty, n)? };
            reserve(&mut self.pages, 1)?;
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
        Ok(())
    }

    /// Positions `from … to`, page by page.
    pub(super) fn runs(&self, from: usize, to: usize) -> impl Iterator<Item = Run<'_>> {
        (from / PAGE..to.div_ceil(PAGE)).map(move |number| {
            let (low, high) = (from.max(number * PAGE), to.min((number + 1) * PAGE));
            let slots = low - number * PAGE..high - number * PAGE;
            Run { at: low - from, page: &self.pages[number - self.first], slots, head_dim: self.head_dim }
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
        self.ty.bytes((self.pages.len() * PAGE * self.kv_heads * self.head_dim) as u64).saturating_mul(2)
    }
}

/// Bytes that the past of one conversation takes at `positions`, in whole pages of 64 positions: layers that see everything
/// keep every position, chunked layers at most one chunk (reference: `b·T` and `b·min(T, chunk)`).
#[must_use]
pub fn kv_bytes(model: &Model, ty: KvType, positions: usize) -> u64 {
    let h = &model.hparams;
    let layer = |chunk: Option<usize>| layer_bytes(ty, h.kv_heads, h.head_dim, chunk, positions);
    model.layers.iter().map(|l| layer(h.chunk.filter(|_| l.rope))).fold(0, u64::saturating_add)
}

fn layer_bytes(ty: KvType, kv_heads: usize, head_dim: usize, chunk: Option<usize>, positions: usize) -> u64 {
    // A chunk that does not end with a page shares its first page with the chunk before.
    let kept =
        chunk.map_or(positions, |c| positions.min(if c.is_multiple_of(PAGE) { c } else { c.saturating_add(PAGE) }));
    let kept = kept.div_ceil(PAGE) as u64 * PAGE as u64;
    ty.bytes(kept.saturating_mul((kv_heads * head_dim) as u64)).saturating_mul(2)
}
