//! Bringing tensors into kernel order, or leaving them to the map or the pager.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::aligned::AlignedBytes;
use super::direct::Direct;
use super::layout::{PANEL_ROWS, pack_panel, panel_bytes};
use super::packed::{Place, read_place, stored};
use super::pager::Page;
use super::shelf::Shelf;
use super::{FileMap, Matrix, Pager, Store, packed_bytes};
use crate::error::{Error, Result};
use crate::gguf::{Gguf, Stored, TensorInfo};
use crate::quant::{self, BlockType};

/// How far loading has come, in bytes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done: u64,
    /// Bytes to read.
    pub total: u64,
}

/// Rows of one matrix inside a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) tensor: usize,
    pub(super) first_row: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) ty: BlockType,
    /// Bytes in kernel order.
    pub(super) bytes: usize,
}

/// Bytes of file order read at a time; they and what becomes of them fit the processor's caches.
const STEP: usize = 1 << 20;

/// Reads `piece` and those that follow it in its tensor, as many as `out` holds, and lays them out there. One thread at a
/// time reads, in the order of the file, so that the system can read ahead; the others lay out meanwhile. `tick` hears of
/// each step's bytes and may end the work; it is called by one thread at a time, and never again once it failed.
pub(super) fn read_panels(
    gguf: &Gguf,
    piece: &Piece,
    out: &mut [u8],
    tick: &mut (dyn FnMut(u64) -> Result<()> + Send),
) -> Result<()> {
    let tensor = gguf.tensors().get(piece.tensor).ok_or_else(|| Error::internal("a piece of no tensor"))?;
    let row_bytes = piece.ty.row_bytes(piece.cols)?;
    let panel = panel_bytes(piece.ty, piece.cols)?;
    let panels_a_step = (STEP / (row_bytes * PANEL_ROWS).max(1)).max(1);
    let rows_a_step = (panels_a_step * PANEL_ROWS).min(piece.rows);
    let steps = out.chunks_mut(piece.bytes.max(1)).enumerate().flat_map(|(copy, out)| {
        let steps = out.chunks_mut((panels_a_step * panel).max(1)).enumerate();
        steps.map(move |(step, out)| (copy * piece.rows, step * panels_a_step * PANEL_ROWS, out))
    });
    let spare = Mutex::new(Vec::new());
    // What `par_bridge` asks of its iterator it asks from one thread at a time.
    let read = steps.map(|(copy, first, out)| {
        let rows = piece.rows.saturating_sub(first).min(rows_a_step);
        let offset = (piece.first_row + copy + first) as u64 * row_bytes as u64;
        let buffer = lock(&spare).pop();
        let mut buffer = buffer.map_or_else(|| AlignedBytes::zeroed(rows_a_step * row_bytes), Ok)?;
        let bytes = buffer.bytes_mut().get_mut(..rows * row_bytes);
        gguf.read(tensor, offset, bytes.ok_or_else(|| Error::internal("a step without room"))?)?;
        Ok::<_, Error>((buffer, rows * row_bytes, out))
    });
    let tick = Mutex::new((tick, None::<Error>));
    read.par_bridge().try_for_each(|step| {
        let (buffer, len, out) = step?;
        let bytes = buffer.get(0..len).unwrap_or_default();
        for (rows, panel) in bytes.chunks(PANEL_ROWS * row_bytes).zip(out.chunks_exact_mut(panel)) {
            pack_panel(piece.ty, rows, row_bytes, piece.cols, panel)?;
        }
        lock(&spare).push(buffer);
        let (tick, failed) = &mut *lock(&tick);
        if failed.is_none() {
            *failed = tick(len as u64).err();
        }
        failed.clone().map_or(Ok(()), Err)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A small tensor as numbers.
///
/// # Errors
/// [`crate::error::Kind::Corrupt`] when the tensor does not hold `len` values; what reading gives.
pub fn read_values(gguf: &Gguf, tensor: &TensorInfo, len: usize) -> Result<Vec<f32>> {
    let ty = tensor.block_type()?;
    if tensor.elements() != len as u64 || tensor.bytes != ty.row_bytes(len)? as u64 {
        return Err(Error::corrupt(format!("tensor {}: {} values, expected {len}", tensor.name, tensor.elements())));
    }
    let mut bytes = AlignedBytes::zeroed(ty.row_bytes(len)?)?;
    gguf.read(tensor, 0, bytes.bytes_mut())?;
    let mut values = vec![0.0; len];
    quant::dequantize(ty, bytes.bytes_mut(), &mut values)?;
    Ok(values)
}

/// Brings a model's weights to where they will live.
pub struct Loader<'a> {
    gguf: Arc<Gguf>,
    maps: Option<Vec<Arc<FileMap>>>,
    pager: Option<Arc<Pager>>,
    /// The group of a packed file whose tensors are asked for now: its number and its bytes.
    group: Option<(u32, Arc<AlignedBytes>)>,
    /// The pager's slot of each section that it knows, by where the section begins.
    sections: HashMap<u64, usize>,
    /// How a packed file is read.
    direct: Direct,
    /// Where what stays in memory goes.
    shelf: Option<Shelf>,
    progress: Progress,
    on_progress: &'a mut (dyn FnMut(Progress) -> bool + Send),
}

impl<'a> Loader<'a> {
    /// A loader that reports after each few megabytes; `on_progress` answers `false` to end the work. `total` is the number
    /// of file bytes that will be read, `resident` what will stay in memory in kernel order.
    ///
    /// With `mapped`, matrices stay in the file's map. With `expert_budget`, stacks of experts are read on demand and take
    /// at most that many bytes of memory.
    ///
    /// # Errors
    /// [`crate::error::Kind::Io`] when a part cannot be mapped.
    pub fn new(
        gguf: Arc<Gguf>,
        total: u64,
        resident: u64,
        mapped: bool,
        expert_budget: Option<u64>,
        on_progress: &'a mut (dyn FnMut(Progress) -> bool + Send),
    ) -> Result<Self> {
        let maps = mapped.then(|| map_parts(&gguf)).transpose()?;
        let pager = expert_budget.filter(|_| !mapped).map(|budget| Arc::new(Pager::new(Arc::clone(&gguf), budget)));
        let (group, sections, progress) = (None, HashMap::new(), Progress { done: 0, total });
        let direct = gguf.packed().and(gguf.parts().first()).map_or_else(Direct::none, Direct::open);
        let resident = usize::try_from(resident).ok().filter(|_| !mapped);
        let shelf = resident.and_then(|bytes| Shelf::new(bytes, gguf.tensors().len()));
        Ok(Self { gguf, maps, pager, group, sections, direct, shelf, progress, on_progress })
    }

    fn find(&self, name: &str) -> Result<(usize, BlockType)> {
        let found = self.gguf.tensors().iter().enumerate().find(|(_, t)| t.name == name);
        let (index, tensor) = found.ok_or_else(|| Error::corrupt(format!("tensor {name} is missing")))?;
        Ok((index, tensor.block_type()?))
    }

    /// One matrix.
    ///
    /// # Errors
    /// What reading, laying out or the progress callback gives.
    pub fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix> {
        let mut stack = self.place(name, rows, cols, 1, false)?;
        stack.pop().ok_or_else(|| Error::internal("an empty stack"))
    }

    /// A stack of routed experts.
    ///
    /// # Errors
    /// As [`Loader::matrix`].
    pub fn experts(&mut self, name: &str, rows: usize, cols: usize, experts: usize) -> Result<Vec<Matrix>> {
        self.place(name, rows, cols, experts, self.pager.is_some())
    }

    /// A vector in single precision.
    ///
    /// # Errors
    /// As [`read_values`].
    pub fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        let (index, _) = self.find(name)?;
        let tensor = self.gguf.tensors().get(index).ok_or_else(|| Error::internal("no tensor"))?;
        read_values(&self.gguf, tensor, len)
    }

    /// The pager, when experts are read on demand; `together` matrices of experts are in use at a time.
    ///
    /// # Errors
    /// [`crate::error::Kind::Memory`] when its budget does not hold them.
    pub fn finish(self, together: usize) -> Result<Option<Arc<Pager>>> {
        if let Some(pager) = &self.pager {
            pager.check_budget(together)?;
        }
        Ok(self.pager)
    }

    fn place(&mut self, name: &str, rows: usize, cols: usize, copies: usize, paged: bool) -> Result<Vec<Matrix>> {
        let (tensor, ty) = self.find(name)?;
        let panel = panel_bytes(ty, cols)?;
        let one = usize::try_from(packed_bytes(ty, rows, cols)?).map_err(|_| Error::limit(format!("tensor {name}")))?;
        let gguf = Arc::clone(&self.gguf);
        let info = gguf.tensors().get(tensor).ok_or_else(|| Error::internal("no tensor"))?;
        let matrix = |store| Matrix { ty, rows, cols, panel, store };
        if let Some(stored) = stored(info, ty, rows, cols)? {
            let stores = self.place_stored(tensor, info, stored, copies, paged)?;
            return Ok(stores.into_iter().map(matrix).collect());
        }
        let piece = |copy: usize| Piece { tensor, first_row: copy * rows, rows, cols, ty, bytes: one };
        if let Some(map) = self.map_of(info)? {
            let start = usize::try_from(info.offset).map_err(|_| Error::limit(format!("tensor {name}")))?;
            let step = rows * ty.row_bytes(cols)?;
            return Ok((0..copies)
                .map(|c| matrix(Store::Mapped { map: Arc::clone(&map), at: start + c * step }))
                .collect());
        }
        if let Some(pager) = self.pager.as_ref().filter(|_| paged) {
            let slot = |c| pager.add(Page::Rows(piece(c)));
            return Ok((0..copies)
                .map(|c| matrix(Store::Paged { pager: Arc::clone(pager), slot: slot(c), at: 0 }))
                .collect());
        }
        let whole =
            one.checked_mul(copies).ok_or_else(|| Error::limit(format!("tensor {name} does not fit memory")))?;
        let mut bytes = AlignedBytes::on(&mut self.shelf, whole)?;
        let Self { progress, on_progress, .. } = self;
        read_panels(&gguf, &piece(0), bytes.bytes_mut(), &mut |read| {
            progress.done += read;
            if on_progress(*progress) { Ok(()) } else { Err(Error::cancelled("loading was cancelled by the host")) }
        })?;
        let bytes = Arc::new(bytes);
        Ok((0..copies).map(|c| matrix(Store::Resident { bytes: Arc::clone(&bytes), at: c * one })).collect())
    }

    fn map_of(&self, info: &TensorInfo) -> Result<Option<Arc<FileMap>>> {
        let Some(maps) = &self.maps else { return Ok(None) };
        maps.get(info.part).cloned().map(Some).ok_or_else(|| Error::internal("no part"))
    }

    /// The matrices of a tensor that lies in kernel order.
    fn place_stored(
        &mut self,
        tensor: usize,
        info: &TensorInfo,
        stored: &Stored,
        copies: usize,
        paged: bool,
    ) -> Result<Vec<Store>> {
        let far = || Error::limit(format!("tensor {}: its place passes the address space", info.name));
        let size = |n: u64| usize::try_from(n).map_err(|_| far());
        let at = |from: u64, c: usize| {
            let at = stored.stride.checked_mul(c as u64).and_then(|n| n.checked_add(info.offset));
            at.and_then(|at| at.checked_sub(from)).ok_or_else(far)
        };
        if let Some(map) = self.map_of(info)? {
            return (0..copies)
                .map(|c| Ok(Store::MappedPanels { map: Arc::clone(&map), at: size(at(0, c)?)? }))
                .collect();
        }
        let run = self.gguf.packed().and_then(|packed| packed.run_of(tensor)).cloned();
        let run = run.ok_or_else(|| Error::internal("a packed tensor in no section"))?;
        if let Some(pager) = self.pager.clone().filter(|_| paged) {
            return (0..copies)
                .map(|c| {
                    // A tensor that lies alone is one section; each of its matrices is a page of its own.
                    let (from, bytes) = match stored.group {
                        0 => (at(0, c)?, stored.bytes),
                        _ => (
                            run.stride.checked_mul(c as u64).and_then(|n| n.checked_add(run.at)).ok_or_else(far)?,
                            run.stride,
                        ),
                    };
                    let place = Place { part: info.part, at: from, bytes: size(bytes)? };
                    let slot = *self.sections.entry(from).or_insert_with(|| pager.add(Page::Place(place)));
                    Ok(Store::Paged { pager: Arc::clone(&pager), slot, at: size(at(from, c)?)? })
                })
                .collect();
        }
        let bytes = match &self.group {
            Some((group, bytes)) if *group == stored.group && stored.group != 0 => Arc::clone(bytes),
            _ => {
                let whole = match stored.group {
                    0 => stored.bytes.checked_mul(copies as u64),
                    _ => run.stride.checked_mul(run.count),
                };
                // As many bytes of the file as GGUF would take, which is what the total was counted in.
                let plain = run.tensors.clone().filter_map(|i| self.gguf.tensors().get(i)).try_fold(0u64, |n, t| {
                    let row = t.block_type()?.row_bytes(size(t.cols())?)? as u64;
                    Ok::<_, Error>(n.saturating_add(row.saturating_mul(t.rows())))
                })?;
                let bytes = Arc::new(self.read_stored(info.part, run.at, size(whole.ok_or_else(far)?)?, plain)?);
                self.group = (stored.group != 0).then(|| (stored.group, Arc::clone(&bytes)));
                bytes
            }
        };
        (0..copies).map(|c| Ok(Store::Resident { bytes: Arc::clone(&bytes), at: size(at(run.at, c)?)? })).collect()
    }

    /// Reads a range of a packed file that stands for `plain` bytes of a GGUF file.
    fn read_stored(&mut self, part: usize, at: u64, len: usize, plain: u64) -> Result<AlignedBytes> {
        let mut bytes = AlignedBytes::on(&mut self.shelf, len)?;
        let Self { progress, on_progress, direct, .. } = self;
        let (before, mut done) = (progress.done, 0u64);
        read_place(&self.gguf, direct, (part, at), bytes.bytes_mut(), &mut |read| {
            done += read;
            let share = u128::from(plain) * u128::from(done) / (len as u128).max(1);
            progress.done = before.saturating_add(u64::try_from(share).unwrap_or(plain));
            if on_progress(*progress) { Ok(()) } else { Err(Error::cancelled("loading was cancelled by the host")) }
        })?;
        Ok(bytes)
    }
}

fn map_parts(gguf: &Gguf) -> Result<Vec<Arc<FileMap>>> {
    let map = |part: &crate::gguf::Part| {
        let name = part.path().display().to_string();
        let file =
            part.file().ok_or_else(|| Error::unsupported(format!("{name} is not a file and cannot be mapped")))?;
        FileMap::new(file, &name).map(Arc::new)
    };
    gguf.parts().iter().map(map).collect()
}
