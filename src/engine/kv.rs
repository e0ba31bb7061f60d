//! The past of one attention layer: keys and values in reference-counted pages, keys as scores are made of them (see
//! `kernels::Keys`), values row by row.
//!
//! A copy of a cache copies page handles; a page is copied when one of its owners writes. Layers with chunked attention drop
//! pages that no later position can see: at each multiple of the chunk they hold nothing.

use std::ops::Range;
use std::sync::Arc;

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::bytes::reserve;
use crate::error::{Error, Result};
use crate::kernels::{self, Ahead, ByteKeys, KEY_BLOCK, KV_BLOCK, Keys, KvRows};
use crate::model::Model;
use crate::weights::{Block, Pool};

/// Positions in a page, whole blocks of keys.
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

/// How the keys and values of a page lie in its block.
#[derive(Clone, Copy, Debug)]
struct Shape {
    ty: KvType,
    kv_heads: usize,
    head_dim: usize,
}

/// The keys of a page, or its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Keys,
    Values,
}

impl Shape {
    /// Keys of a page, and values.
    fn each(self) -> usize {
        self.kv_heads * PAGE * self.head_dim
    }

    /// Bytes of a page.
    fn bytes(self) -> usize {
        usize::try_from(self.ty.bytes(2 * self.each() as u64)).unwrap_or(usize::MAX)
    }

    /// The byte at which the half begins: keys come first; eight-bit ones have their scales behind them.
    fn start(self, half: Half) -> usize {
        if half == Half::Keys { 0 } else { self.bytes() / 2 }
    }

    /// Values `from … to` of a half.
    fn values(self, block: &Block, half: Half, from: usize, to: usize) -> KvRows<'_> {
        let (start, n) = (self.start(half), to - from);
        match self.ty {
            KvType::F32 => KvRows::F32(block.values(start + 4 * from, n)),
            KvType::Auto | KvType::F16 => KvRows::F16(block.values(start + 2 * from, n)),
            KvType::Q8_0 => KvRows::Q8 {
                q: block.values(start + from, n),
                scales: block.values(start + self.each() + from / KV_BLOCK * 2, n / KV_BLOCK),
            },
        }
    }

    /// Puts a head's value row at position `slot`.
    fn put_row(self, block: &mut Block, head: usize, slot: usize, x: &[f32]) {
        let (start, d) = (self.start(Half::Values), self.head_dim);
        let at = (head * PAGE + slot) * d;
        match self.ty {
            KvType::F32 => block.values_mut(start + 4 * at, d).copy_from_slice(x),
            KvType::Auto | KvType::F16 => {
                block
                    .values_mut::<u16>(start + 2 * at, d)
                    .reinterpret_cast_mut::<half::f16>()
                    .convert_from_f32_slice(x);
            }
            KvType::Q8_0 => {
                let mut scales = vec![0; d / KV_BLOCK];
                kernels::quantize_kv(x, block.values_mut(start + at, d), &mut scales);
                block.values_mut(start + self.each() + at / KV_BLOCK * 2, scales.len()).copy_from_slice(&scales);
            }
        }
    }

    /// Puts a head's key at position `slot`.
    fn put_key(self, block: &mut Block, head: usize, slot: usize, x: &[f32]) {
        let (d, n) = (self.head_dim, PAGE * self.head_dim);
        let (first, lane) = (head * n, kernels::key_at(d, slot, 0));
        match self.ty {
            KvType::F32 => {
                let places = block.values_mut(4 * first, n).iter_mut().skip(lane).step_by(KEY_BLOCK);
                places.zip(x).for_each(|(to, x)| *to = *x);
            }
            KvType::Auto | KvType::F16 => {
                let mut halves = vec![0; d];
                halves.reinterpret_cast_mut::<half::f16>().convert_from_f32_slice(x);
                let places = block.values_mut::<u16>(2 * first, n).iter_mut().skip(lane).step_by(KEY_BLOCK);
                places.zip(halves).for_each(|(to, x)| *to = x);
            }
            KvType::Q8_0 => {
                let (mut codes, mut scales) = (vec![0; d], vec![0; d / KV_BLOCK]);
                kernels::quantize_kv(x, &mut codes, &mut scales);
                let to = block.values_mut::<i8>(first, n);
                for (c, code) in codes.into_iter().enumerate() {
                    to[kernels::byte_key_at(d, slot, c)] = code;
                }
                let to = block.values_mut::<u16>(self.each() + first / KV_BLOCK * 2, n / KV_BLOCK);
                for (b, scale) in scales.into_iter().enumerate() {
                    to[kernels::key_at(d / KV_BLOCK, slot, b)] = scale;
                }
            }
        }
    }
}

/// A pool of pages for the layers of a model.
pub(super) fn page_pool(ty: KvType, kv_heads: usize, head_dim: usize) -> Pool {
    Pool::new(Shape { ty, kv_heads, head_dim }.bytes())
}

/// Neighbouring positions that lie in one page.
pub(super) struct Run<'a> {
    /// How many of the positions asked for come before.
    pub(super) at: usize,
    shape: Shape,
    page: &'a Block,
    slots: Range<usize>,
}

/// Keys of one head, whole blocks of positions.
#[derive(Clone, Copy)]
pub(super) enum CachedKeys<'a> {
    Values(Keys<'a>),
    Bytes(ByteKeys<'a>),
}

impl<'a> Run<'a> {
    /// Keys of one head, and which positions of their blocks the run has.
    pub(super) fn keys(&self, head: usize) -> (CachedKeys<'a>, Range<usize>) {
        let first = self.slots.start / KEY_BLOCK * KEY_BLOCK;
        let keys = match self.half(Half::Keys, head, first..self.slots.end.next_multiple_of(KEY_BLOCK)) {
            KvRows::F32(x) => CachedKeys::Values(Keys::F32(x)),
            KvRows::F16(x) => CachedKeys::Values(Keys::F16(x)),
            KvRows::Q8 { q, scales } => CachedKeys::Bytes(ByteKeys { q, scales }),
        };
        (keys, self.slots.start - first..self.slots.end - first)
    }

    /// The keys of one head, to be read next.
    pub(super) fn keys_ahead(&self, head: usize) -> Ahead {
        match self.keys(head).0 {
            CachedKeys::Values(Keys::F32(x)) => Ahead::of(x),
            CachedKeys::Values(Keys::F16(x)) => Ahead::of(x),
            CachedKeys::Bytes(keys) => Ahead::of(keys.q),
        }
    }

    /// Values of one head.
    pub(super) fn values(&self, head: usize) -> KvRows<'a> {
        self.half(Half::Values, head, self.slots.clone())
    }

    fn half(&self, half: Half, head: usize, slots: Range<usize>) -> KvRows<'a> {
        let at = |slot: usize| (head * PAGE + slot) * self.shape.head_dim;
        self.shape.values(self.page, half, at(slots.start), at(slots.end))
    }
}

/// The past of one layer.
#[derive(Clone, Debug)]
pub(super) struct LayerCache {
    pool: Arc<Pool>,
    shape: Shape,
    len: usize,
    /// Pages from page number `first` on: keys and values of [`PAGE`] positions each, one head after the other.
    pages: Vec<Arc<Block>>,
    first: usize,
}

impl LayerCache {
    /// An empty past, whose pages come from `pool`.
    pub(super) fn new(pool: &Arc<Pool>, ty: KvType, kv_heads: usize, head_dim: usize) -> Self {
        let shape = Shape { ty, kv_heads, head_dim };
        Self { pool: Arc::clone(pool), shape, len: 0, pages: Vec::new(), first: 0 }
    }

    /// The past, leaving an empty one behind.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self { pool: Arc::clone(&self.pool), shape: self.shape, len: 0, pages: Vec::new(), first: 0 };
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
            reserve(&mut self.pages, 1)?;
            self.pages.push(Arc::new(self.pool.take()?));
        }
        let missing = || Error::internal("a position behind the last page");
        let page = self.pages.get_mut(page).ok_or_else(missing)?;
        if Arc::get_mut(page).is_none() {
            let mut own = self.pool.take()?;
            own.bytes_mut().copy_from_slice(page.bytes());
            *page = Arc::new(own);
        }
        let block = Arc::get_mut(page).ok_or_else(missing)?;
        let d = self.shape.head_dim;
        for (head, (k, v)) in k.chunks_exact(d).zip(v.chunks_exact(d)).enumerate() {
            self.shape.put_key(block, head, slot, k);
            self.shape.put_row(block, head, slot, v);
        }
        self.len += 1;
        Ok(())
    }

    /// Positions `from … to`, page by page.
    pub(super) fn runs(&self, from: usize, to: usize) -> impl Iterator<Item = Run<'_>> {
        (from / PAGE..to.div_ceil(PAGE)).map(move |number| {
            let (low, high) = (from.max(number * PAGE), to.min((number + 1) * PAGE));
            let slots = low - number * PAGE..high - number * PAGE;
            Run { at: low - from, shape: self.shape, page: &self.pages[number - self.first], slots }
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
        (self.pages.len() as u64).saturating_mul(self.shape.bytes() as u64)
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
