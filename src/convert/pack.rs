//! Packing a model: its weights in the order that kernels read, each expert in one place.

use std::path::Path;

use super::folder::stamps;
use super::{Control, Done};
use crate::cancel::CancelFlag;
use crate::error::{Error, Kind, Result};
use crate::gguf::{Gguf, PackedTensor, PackedWriter, Restart, Section};
use crate::model::{Ffn, MatrixRef, Model};
use crate::weights::layout::{layout_name, panel_bytes};
use crate::weights::{free_bytes, pack_rows, packed_bytes};

/// Bytes that are made while as many are written.
const GROUP: u64 = 32 << 20;

/// A packed file to be written: what `palisade pack` does.
#[derive(Debug)]
pub struct Packing {
    gguf: Gguf,
    tensors: Vec<PackedTensor>,
    writer: PackedWriter,
    key: String,
}

impl Packing {
    /// Plans the packed form of the GGUF file (or split model) at `path`. No weight is read.
    ///
    /// # Errors
    /// As [`Gguf::open`] and [`Model::from_gguf`]; [`crate::error::Kind::Argument`] for a file that is packed already.
    pub fn new(path: &Path) -> Result<Self> {
        let gguf = Gguf::open(path)?;
        if gguf.packed().is_some() {
            return Err(Error::argument(format!("{} is packed already", path.display())));
        }
        let model = Model::from_gguf(&gguf)?;
        let mut tensors = Vec::with_capacity(gguf.tensors().len());
        Order { gguf: &gguf, tensors: &mut tensors }.model(&model)?;
        let writer = PackedWriter::new(gguf.metadata(), &tensors)?;
        // Another version may lay out otherwise.
        let key = format!("{} pack {}", env!("CARGO_PKG_VERSION"), stamps(gguf.parts())?);
        Ok(Self { gguf, tensors, writer, key })
    }

    /// Bytes the whole file will have.
    ///
    /// # Errors
    /// [`crate::error::Kind::Limit`] when its metadata is too much.
    pub fn bytes(&self) -> Result<u64> {
        self.writer.total()
    }

    /// The tensors in file order.
    #[must_use]
    pub fn tensors(&self) -> &[PackedTensor] {
        &self.tensors
    }

    /// Writes the file, or goes on where an earlier run of the same packing was broken off; then
    /// [`super::Conversion::forget`] removes its journal. At `out` there is what was there before, or the whole new file.
    ///
    /// # Errors
    /// [`crate::error::Kind::Io`], also when the disk has no room for the file; [`crate::error::Kind::Argument`] when `out`
    /// cannot be taken, [`crate::error::Kind::Cancelled`], and what the source gives.
    pub fn write(&self, out: &Path, control: &mut Control<'_>) -> Result<Done> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(control.threads.min(1024)).build();
        let threads = threads.map_err(|e| Error::memory(format!("starting threads: {e}")))?;
        threads.install(|| self.write_here(out, control))
    }

    fn write_here(&self, out: &Path, control: &mut Control<'_>) -> Result<Done> {
        let total = self.bytes()?;
        let mut report = |bytes: u64| {
            if let Some(progress) = control.progress.as_mut() {
                progress(bytes.min(total), total);
            }
        };
        let cancel = &control.cancel;
        let mut file = self.writer.restart(out, &self.key, control.replace, cancel, &mut report)?;
        let written = check_room(out, total.saturating_sub(file.position()))
            .and_then(|()| self.write_rest(&mut file, cancel, &mut report));
        if let Err(e) = written {
            // Full disks and stopped runs go on later; what the source itself refuses never will.
            if matches!(e.kind(), Kind::Corrupt | Kind::Unsupported | Kind::Internal) {
                file.discard();
            }
            return Err(e);
        }
        report(total);
        let notes = file.note().map(str::to_owned).into_iter().collect();
        Ok(Done { bytes: file.total(), kept: file.kept(), notes })
    }

    fn write_rest(&self, file: &mut Restart<'_>, cancel: &CancelFlag, report: &mut dyn FnMut(u64)) -> Result<()> {
        let Some((due, within)) = file.due() else { return self.writer.finish(file) };
        let mut made: Option<Vec<u8>> = None;
        for (i, section) in self.writer.sections().enumerate().skip(due) {
            let begin = file.position();
            // Marks stand at the ends of sections alone.
            if within > 0 {
                return Err(Error::internal(format!("section {i} was left at {within}")));
            }
            for piece in self.pieces(&section)? {
                cancel.check()?;
                let (written, next) = rayon::join(|| put(file, made.take()), || self.make(&piece));
                written?;
                report(file.position());
                made = Some(next?);
            }
            put(file, made.take())?;
            let padding = begin.saturating_add(section.bytes).saturating_sub(file.position());
            if padding > 0 {
                put(file, Some(vec![0; usize::try_from(padding).unwrap_or_default()]))?;
            }
            file.mark()?;
            report(file.position());
        }
        self.writer.finish(file)
    }

    /// What a section is made of, in order.
    fn pieces(&self, section: &Section) -> Result<Vec<Piece<'_>>> {
        let mut pieces = Vec::new();
        for t in self.tensors.get(section.tensors.clone()).unwrap_or_default() {
            let copies: u64 = t.dims.iter().skip(2).product();
            let Some((_, bytes)) = &t.layout else {
                let all = self.gguf.tensor(&t.name).map_or(0, |t| t.bytes);
                let step = |at: u64| Piece::Plain { name: &t.name, at, len: GROUP.min(all - at) };
                pieces.extend((0..all.div_ceil(GROUP)).map(|n| step(n * GROUP)));
                continue;
            };
            let panel = panel_bytes(t.ty, usize::try_from(t.dims.first().copied().unwrap_or(1)).unwrap_or(usize::MAX))?;
            let panels = bytes / (panel as u64).max(1);
            let step = (GROUP / (panel as u64).max(1)).max(1);
            for copy in section.copy.map_or(0..copies, |copy| copy..copy + 1) {
                let ranges = (0..panels.div_ceil(step)).map(|n| n * step..panels.min((n + 1) * step));
                pieces.extend(ranges.map(|panels| Piece::Panels { name: &t.name, copy, panels }));
            }
            if section.copy.is_some() {
                pieces.push(Piece::Gap(bytes.next_multiple_of(64) - bytes));
            }
        }
        Ok(pieces)
    }

    fn make(&self, piece: &Piece<'_>) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match piece {
            Piece::Gap(len) => out.resize(usize::try_from(*len).unwrap_or_default(), 0),
            Piece::Panels { name, copy, panels } => pack_rows(&self.gguf, name, *copy, panels.clone(), &mut out)?,
            Piece::Plain { name, at, len } => {
                let tensor = self.gguf.tensor(name).ok_or_else(|| Error::internal(format!("tensor {name} is gone")))?;
                let len = usize::try_from(*len).unwrap_or_default();
                crate::bytes::reserve(&mut out, len)?;
                out.resize(len, 0);
                self.gguf.read(tensor, *at, &mut out)?;
            }
        }
        Ok(out)
    }
}

/// Some bytes of a section.
#[derive(Debug)]
enum Piece<'a> {
    /// Panels of one matrix.
    Panels { name: &'a str, copy: u64, panels: std::ops::Range<u64> },
    /// Bytes as the GGUF file has them.
    Plain { name: &'a str, at: u64, len: u64 },
    /// Zeros up to the next matrix.
    Gap(u64),
}

fn put(file: &mut Restart<'_>, made: Option<Vec<u8>>) -> Result<()> {
    made.map_or(Ok(()), |bytes| file.write(&bytes))
}

/// Whether the disk has room for `needed` more bytes of `out`.
fn check_room(out: &Path, needed: u64) -> Result<()> {
    let folder = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match free_bytes(folder) {
        Some(free) if free < needed => Err(Error::io(
            format_args!("writing {}: {needed} bytes are needed, {} has {free} free", out.display(), folder.display()),
            &std::io::ErrorKind::StorageFull.into(),
        )),
        _ => Ok(()),
    }
}

/// Puts the tensors in the order in which a decoder is loaded, so that loading reads a file from front to back.
struct Order<'a> {
    gguf: &'a Gguf,
    tensors: &'a mut Vec<PackedTensor>,
}

impl Order<'_> {
    fn model(&mut self, model: &Model) -> Result<()> {
        self.matrix(&model.embedding, 0)?;
        if !model.is_tied() {
            self.matrix(&model.output, 0)?;
        }
        let mut group = 0;
        for l in &model.layers {
            [&l.q, &l.k, &l.v].into_iter().try_for_each(|m| self.matrix(m, 0))?;
            self.ffn(&l.ffn, 0)?;
            if let Some((router, experts)) = &l.routed {
                group += 1;
                self.ffn(experts, group)?;
                self.matrix(router, 0)?;
            }
            self.plain(&l.attn_norm.name)?;
            self.matrix(&l.o, 0)?;
            self.plain(&l.ffn_norm.name)?;
        }
        // What the decoder does not use, and its vectors, stay as they are.
        let there: std::collections::HashSet<String> = self.tensors.iter().map(|t| t.name.clone()).collect();
        let rest = self.gguf.tensors().iter().map(|t| &t.name).filter(|name| !there.contains(*name));
        rest.cloned().collect::<Vec<_>>().iter().try_for_each(|name| self.plain(name))
    }

    fn ffn(&mut self, ffn: &Ffn, group: u32) -> Result<()> {
        [&ffn.gate, &ffn.up, &ffn.down].into_iter().try_for_each(|m| self.matrix(m, group))
    }

    fn matrix(&mut self, m: &MatrixRef, group: u32) -> Result<()> {
        let layout = (layout_name(m.ty), packed_bytes(m.ty, m.rows, m.cols)?);
        self.add(&m.name, Some(layout), group)
    }

    fn plain(&mut self, name: &str) -> Result<()> {
        self.add(name, None, 0)
    }

    fn add(&mut self, name: &str, layout: Option<(String, u64)>, group: u32) -> Result<()> {
        let t = self.gguf.tensor(name).ok_or_else(|| Error::corrupt(format!("tensor {name} is missing")))?;
        let (name, dims, ty) = (t.name.clone(), t.dims.clone(), t.block_type()?);
        self.tensors.push(PackedTensor { name, dims, ty, layout, group });
        Ok(())
    }
}
