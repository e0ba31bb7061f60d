//! Carrying out a conversion: the next group is made while the last one is written, and the journal follows.

use std::path::Path;

use super::pieces::{Group, groups};
use super::{Control, Conversion, Done};
use crate::cancel::CancelFlag;
use crate::error::{Error, Kind, Result};
use crate::gguf::Restart;

impl Conversion {
    /// Writes the file, or goes on where an earlier run of the same conversion was broken off.
    ///
    /// At `out` there is what was there before, or the whole new file; until it is whole the bytes are in
    /// `.NAME.unfinished` beside it, and stay there when the run is stopped or the disk is full.
    ///
    /// # Errors
    /// [`crate::error::Kind::Numeric`] for a weight that is not finite, [`crate::error::Kind::Io`],
    /// [`crate::error::Kind::Argument`] when `out` cannot be taken, [`crate::error::Kind::Cancelled`], and what the sources
    /// give.
    pub fn run(&self, out: &Path, control: &mut Control<'_>) -> Result<Done> {
        let done = self.write(out, control)?;
        Self::forget(out);
        Ok(done)
    }

    /// As [`Conversion::run`], for one of several files that belong together: the journal stays, so that the same command
    /// finds this one whole when a later one was broken off. [`Conversion::forget`] removes it.
    ///
    /// # Errors
    /// As [`Conversion::run`].
    pub fn write(&self, out: &Path, control: &mut Control<'_>) -> Result<Done> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(control.threads.min(1024)).build();
        let threads = threads.map_err(|e| Error::memory(format!("starting threads: {e}")))?;
        threads.install(|| self.write_here(out, control))
    }

    /// Removes the journal of a whole file.
    pub fn forget(out: &Path) {
        Restart::forget(out);
    }

    fn write_here(&self, out: &Path, control: &mut Control<'_>) -> Result<Done> {
        let total = self.bytes();
        let mut report = |bytes: u64| {
            if let Some(progress) = control.progress.as_mut() {
                progress(bytes.min(total), total);
            }
        };
        let cancel = &control.cancel;
        // Another version may round otherwise.
        let key = format!("{} {}", env!("CARGO_PKG_VERSION"), self.key);
        let mut file = self.writer.restart(out, &key, control.replace, cancel, &mut report)?;
        let mut notes = self.notes.clone();
        notes.extend(file.note().map(str::to_owned));
        if let Err(e) = self.write_rest(&mut file, cancel, &mut report) {
            // Full disks and stopped runs go on later; what the sources themselves refuse never will.
            if matches!(e.kind(), Kind::Numeric | Kind::Corrupt | Kind::Unsupported | Kind::Internal) {
                file.discard();
            }
            return Err(e);
        }
        report(total);
        Ok(Done { bytes: file.total(), kept: file.kept(), notes })
    }

    fn write_rest(&self, file: &mut Restart<'_>, cancel: &CancelFlag, report: &mut dyn FnMut(u64)) -> Result<()> {
        let mut made: Option<Vec<Vec<u8>>> = None;
        for (i, group) in self.rest(file)? {
            cancel.check()?;
            let planned = self.planned.get(i).ok_or_else(|| Error::internal(format!("tensor {i} was not planned")))?;
            let (written, next) = rayon::join(|| put(file, made.take()), || self.content.make(i, planned, &group));
            written?;
            report(file.position());
            made = Some(next?);
        }
        put(file, made)?;
        file.finish()
    }

    /// The groups that the file does not have yet.
    fn rest(&self, file: &Restart<'_>) -> Result<Vec<(usize, Group)>> {
        let Some((due, within)) = file.due() else { return Ok(vec![]) };
        let mut all = Vec::new();
        for (i, planned) in self.planned.iter().enumerate().skip(due) {
            let skip = if i == due { within } else { 0 };
            all.extend(groups(planned)?.into_iter().filter(|g| g.bytes.start >= skip).map(|g| (i, g)));
            if skip > 0 && all.first().is_none_or(|(j, g)| *j != i || g.bytes.start != skip) && skip < planned.bytes {
                return Err(Error::internal(format!("tensor {}: {skip} bytes are no whole groups", planned.name)));
            }
        }
        Ok(all)
    }
}

fn put(file: &mut Restart<'_>, made: Option<Vec<Vec<u8>>>) -> Result<()> {
    let Some(pieces) = made else { return Ok(()) };
    pieces.iter().try_for_each(|piece| file.write(piece))?;
    file.mark()
}
