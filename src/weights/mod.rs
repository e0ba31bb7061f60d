//! Where the weights' bytes live: read and laid out for the kernels (resident), read on demand under a byte budget (paged),
//! or mapped from the file when the host asks for it.

mod aligned;
mod direct;
pub mod layout;
mod load;
mod map;
mod packed;
mod pager;
mod shelf;

use std::ops::Range;
use std::sync::Arc;

pub use aligned::AlignedBytes;
pub use load::{Loader, Progress, read_values};
pub use map::{FileMap, free_bytes};
pub use packed::{check_layouts, pack_rows};
pub use pager::{Pager, PagerStats};
pub use shelf::{Block, Plain, Pool};

use crate::error::{Error, Result};
use crate::quant::BlockType;
use layout::{PANEL_ROWS, pack_panel, panel_bytes, panels_for};

/// A weight matrix of `rows × cols`; `y = W x` has `rows` values.
#[derive(Clone, Debug)]
pub struct Matrix {
    ty: BlockType,
    rows: usize,
    cols: usize,
    panel: usize,
    store: Store,
}

#[derive(Clone, Debug)]
enum Store {
    /// Panels in memory, shared by every matrix cut from one tensor.
    Resident { bytes: Arc<AlignedBytes>, at: usize },
    /// Rows in file order inside a map; laid out panel by panel as they are used.
    Mapped { map: Arc<FileMap>, at: usize },
    /// Panels inside the map of a packed file.
    MappedPanels { map: Arc<FileMap>, at: usize },
    /// Panels that the pager reads when they are asked for, from byte `at` of the page on.
    Paged { pager: Arc<Pager>, slot: usize, at: usize },
}

impl Matrix {
    /// A matrix in memory from `values`, `(rows, cols)` in single precision.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] when the values are not `rows × cols`; [`crate::error::Kind::Memory`] when there is
    /// no room.
    pub fn from_values(values: &[f32], cols: usize) -> Result<Self> {
        let ty = BlockType::F32;
        let rows = values.len().checked_div(cols).unwrap_or(0);
        if rows == 0 || values.len() != rows * cols {
            return Err(Error::argument(format!("{} values in rows of {cols}", values.len())));
        }
        let panel = panel_bytes(ty, cols)?;
        let whole = usize::try_from(packed_bytes(ty, rows, cols)?);
        let mut bytes = AlignedBytes::zeroed(whole.map_err(|_| Error::limit(format!("{rows} rows of {cols}")))?)?;
        for (rows, panel) in values.chunks(PANEL_ROWS * cols).zip(bytes.bytes_mut().chunks_exact_mut(panel)) {
            let rows: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
            pack_panel(ty, &rows, ty.row_bytes(cols)?, cols, panel)?;
        }
        Ok(Self { ty, rows, cols, panel, store: Store::Resident { bytes: Arc::new(bytes), at: 0 } })
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Block type.
    #[must_use]
    pub fn ty(&self) -> BlockType {
        self.ty
    }

    /// Panels of eight rows, the last one filled up with zero rows.
    #[must_use]
    pub fn panels(&self) -> usize {
        panels_for(self.rows)
    }

    /// Bytes of one panel.
    #[must_use]
    pub fn panel_bytes(&self) -> usize {
        self.panel
    }

    /// Whether its bytes are read when they are asked for.
    #[must_use]
    pub fn is_paged(&self) -> bool {
        matches!(self.store, Store::Paged { .. })
    }

    /// Makes sure that a paged matrix is in memory and keeps it there while the answer lives. Other stores answer at once.
    ///
    /// # Errors
    /// [`crate::error::Kind::Io`] when the file cannot be read, [`crate::error::Kind::Memory`] when there is no room.
    pub fn pin(&self) -> Result<Pinned<'_>> {
        let page = match &self.store {
            Store::Paged { pager, slot, .. } => Some(pager.fetch(*slot)?),
            _ => None,
        };
        Ok(Pinned { matrix: self, page })
    }

    /// Row `row` in single precision, for embedding look-ups.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for a row that does not exist; what [`Matrix::pin`] gives.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        if row >= self.rows || out.len() != self.cols {
            return Err(Error::argument(format!("row {row} of {} rows of {} values", self.rows, self.cols)));
        }
        let panel = row / PANEL_ROWS;
        self.pin()?.with_panels(panel..panel + 1, |bytes| layout::unpack_row(self.ty, bytes, row % PANEL_ROWS, out))
    }
}

/// A matrix whose bytes are sure to be there.
#[derive(Debug)]
pub struct Pinned<'a> {
    matrix: &'a Matrix,
    page: Option<Arc<AlignedBytes>>,
}

impl Pinned<'_> {
    /// The matrix.
    #[must_use]
    pub fn matrix(&self) -> &Matrix {
        self.matrix
    }

    /// Calls `f` with the panels `range` in kernel order.
    ///
    /// # Errors
    /// [`crate::error::Kind::Internal`] when the range leaves the matrix.
    pub fn with_panels<T>(&self, range: Range<usize>, f: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let m = self.matrix;
        let (from, to) = (range.start * m.panel, range.end * m.panel);
        let outside = || Error::internal(format!("panels {range:?} of a matrix with {}", m.panels()));
        match (&m.store, &self.page) {
            (Store::Resident { bytes, at }, _) => Ok(f(bytes.get(at + from..at + to).ok_or_else(outside)?)),
            (Store::Paged { at, .. }, Some(page)) => Ok(f(page.get(at + from..at + to).ok_or_else(outside)?)),
            (Store::MappedPanels { map, at }, _) => Ok(f(map.bytes().get(at + from..at + to).ok_or_else(outside)?)),
            (Store::Mapped { map, at }, _) => {
                let row_bytes = m.ty.row_bytes(m.cols)?;
                let first = range.start * PANEL_ROWS;
                let last = (range.end * PANEL_ROWS).min(m.rows);
                let rows = map.bytes().get(at + first * row_bytes..at + last * row_bytes).ok_or_else(outside)?;
                let mut panels = vec![0u8; to - from];
                for (rows, panel) in rows.chunks(PANEL_ROWS * row_bytes).zip(panels.chunks_exact_mut(m.panel)) {
                    pack_panel(m.ty, rows, row_bytes, m.cols, panel)?;
                }
                Ok(f(&panels))
            }
            _ => Err(outside()),
        }
    }
}

/// Bytes that a matrix takes in kernel order.
///
/// # Errors
/// As [`panel_bytes`].
pub fn packed_bytes(ty: BlockType, rows: usize, cols: usize) -> Result<u64> {
    let bytes = panel_bytes(ty, cols)?.checked_mul(panels_for(rows));
    bytes.map(|b| b as u64).ok_or_else(|| Error::limit(format!("{rows} rows of {cols} columns do not fit")))
}
