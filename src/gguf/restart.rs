//! Writing a file that may be left at any byte and taken up again: unfinished bytes beside the target, and a journal of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::unfinished::sync_folder;
use super::writer::Writer;
use crate::cancel::CancelFlag;
use crate::digest::hex;
use crate::error::{Error, Result};

/// The first word of a journal.
const JOURNAL: &str = "palisade-journal-1";
/// The last line of a journal whose file is whole.
const WHOLE: &str = "whole";
/// The longest journal that is read: a line is about 90 bytes, so this is 180,000 pieces.
const LONGEST: u64 = 16 << 20;
/// Bytes gathered before the operating system is asked to write, or read again at a time.
const BUFFER: usize = 1 << 20;

/// A GGUF file that is being written in order.
///
/// The bytes go to `.NAME.unfinished` beside the target; `.NAME.journal` says with a checksum up to where they stand. The
/// target appears whole or not at all. Whatever ends the writing, both stay, and [`Writer::restart`] with the same key goes
/// on where the journal ends; every byte that it keeps is read and compared with its checksum first.
#[derive(Debug)]
pub struct Restart<'a> {
    writer: &'a Writer,
    paths: Paths,
    /// `None` once the target is whole.
    out: Option<BufWriter<File>>,
    journal: Option<File>,
    /// Where each tensor begins and ends in the file.
    spans: Vec<(u64, u64)>,
    pos: u64,
    /// The bytes since the last mark, and where that was.
    since: Sha256,
    /// What lies between the marks, from the file's first byte on.
    digests: Vec<[u8; 32]>,
    marked: u64,
    kept: u64,
    note: Option<String>,
}

#[derive(Debug)]
struct Paths {
    target: PathBuf,
    unfinished: PathBuf,
    journal: PathBuf,
}

impl Paths {
    fn of(target: &Path) -> Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(Error::argument(format!("{} ends in no file name", target.display())));
        };
        let beside = |ending: &str| {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(ending);
            target.with_file_name(hidden)
        };
        Ok(Self { target: target.to_owned(), unfinished: beside(".unfinished"), journal: beside(".journal") })
    }
}

/// A journal's lines: how far the file stood, and the SHA-256 of the bytes since the line before.
struct Journal {
    key: String,
    marks: Vec<(u64, String)>,
    whole: bool,
}

impl Writer {
    /// Begins the file at `path`, or goes on with one that was begun with the same metadata, tensors and `key`.
    ///
    /// `key` names everything else that the bytes depend on. Without `replace`, a file that is at `path` already is refused,
    /// unless it is the whole result of the same writing. `checked` hears how many kept bytes were compared.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] when `path` cannot be taken, [`crate::error::Kind::Busy`] when another process is
    /// writing it, [`crate::error::Kind::Io`], [`crate::error::Kind::Cancelled`], and what [`Writer::write_into`] says of
    /// the header.
    pub fn restart(
        &self,
        path: &Path,
        key: &str,
        replace: bool,
        cancel: &CancelFlag,
        checked: &mut dyn FnMut(u64),
    ) -> Result<Restart<'_>> {
        let paths = Paths::of(path)?;
        let header = self.whole_header()?;
        let key = key_of(key, &header);
        let journal = Journal::read(&paths.journal)?;
        let spans = self.spans(header.len() as u64);
        let end = spans.last().map_or(header.len() as u64, |(_, end)| self.aligned(*end));
        let mut this = Restart {
            writer: self,
            paths,
            out: None,
            journal: None,
            spans,
            pos: end,
            since: Sha256::new(),
            digests: vec![],
            marked: 0,
            kept: 0,
            note: None,
        };
        let same = journal.as_ref().is_some_and(|j| j.key == key);
        if let Ok(meta) = fs::symlink_metadata(path) {
            if same && journal.as_ref().is_some_and(|j| j.whole) && meta.is_file() && meta.len() == end {
                this.kept = end;
                return Ok(this);
            }
            this.check_target(&meta, replace)?;
        }
        let file = this.open_unfinished()?;
        let marks = match journal {
            Some(journal) if same => journal.marks,
            Some(_) => {
                this.note = Some("what was begun here belongs to other sources or options; starting over".into());
                vec![]
            }
            None => vec![],
        };
        this.go_on(file, &key, &header, &marks, cancel, checked)?;
        Ok(this)
    }
}

impl Restart<'_> {
    /// Bytes of the file that an earlier run wrote.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Why an earlier run's bytes were not all kept, if they were not.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Bytes the whole file will have.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.spans.last().map_or(self.pos, |(_, end)| self.writer.aligned(*end))
    }

    /// Bytes of the file so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.pos
    }

    /// The tensor that is due and how many of its bytes are there; `None` when all are.
    #[must_use]
    pub fn due(&self) -> Option<(usize, u64)> {
        let i = self.spans.partition_point(|(_, end)| *end <= self.pos);
        self.spans.get(i).map(|(start, _)| (i, self.pos.saturating_sub(*start)))
    }

    /// Writes the next bytes of the tensor that is due. After its last one comes the padding.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for more bytes than are due, [`crate::error::Kind::Io`] when writing fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let due = self.due().and_then(|(i, _)| self.spans.get(i)).map_or(0, |(_, end)| end - self.pos);
        if bytes.len() as u64 > due {
            return Err(Error::argument(format!("{} bytes for a tensor that takes {due} more", bytes.len())));
        }
        self.put(bytes)?;
        if bytes.len() as u64 == due {
            let gap = self.writer.aligned(self.pos) - self.pos;
            let zeros = vec![0; usize::try_from(gap).unwrap_or_default()];
            self.put(&zeros)?;
        }
        Ok(())
    }

    /// Notes in the journal that everything up to here is written.
    ///
    /// # Errors
    /// [`crate::error::Kind::Io`] when writing fails.
    pub fn mark(&mut self) -> Result<()> {
        let (Some(out), Some(journal)) = (&mut self.out, &mut self.journal) else { return Ok(()) };
        if self.marked == self.pos {
            return Ok(());
        }
        out.flush().map_err(|e| unwritten(&self.paths.unfinished, &e))?;
        let digest: [u8; 32] = self.since.finalize_reset().into();
        self.digests.push(digest);
        let digest = hex(&digest);
        let line = format!("{} {digest}\n", self.pos);
        journal.write_all(line.as_bytes()).map_err(|e| unwritten(&self.paths.journal, &e))?;
        self.marked = self.pos;
        Ok(())
    }

    /// SHA-256 of the bytes from each mark to the next, from the file's first byte on.
    pub(super) fn digests(&self) -> &[[u8; 32]] {
        &self.digests
    }

    /// Brings the bytes to disk and gives the file its name. The journal stays for [`Restart::forget`], so that one of
    /// several files that belong together is known to be whole.
    ///
    /// # Errors
    /// [`crate::error::Kind::State`] when tensors are missing, [`crate::error::Kind::Io`].
    pub fn finish(&mut self) -> Result<()> {
        if let Some((i, _)) = self.due() {
            return Err(Error::state(format!("tensor number {i} is not written")));
        }
        if self.out.is_none() {
            return Ok(());
        }
        self.mark()?;
        let (Some(out), Some(journal)) = (&mut self.out, &mut self.journal) else { return Ok(()) };
        let io = |path: &Path, e: &io::Error| unwritten(path, e);
        out.get_ref().sync_all().map_err(|e| io(&self.paths.unfinished, &e))?;
        let said = writeln!(journal, "{WHOLE}").and_then(|()| journal.sync_all());
        said.map_err(|e| io(&self.paths.journal, &e))?;
        fs::rename(&self.paths.unfinished, &self.paths.target).map_err(|e| io(&self.paths.target, &e))?;
        (self.out, self.journal) = (None, None);
        sync_folder(&self.paths.target).map_err(|e| io(&self.paths.target, &e))
    }

    /// Removes what was written: nothing will come of it.
    pub fn discard(self) {
        let paths = self.paths;
        drop((self.out, self.journal));
        // What is left over harms nobody: the next run finds that it does not belong to it.
        let _ = (fs::remove_file(&paths.unfinished), fs::remove_file(&paths.journal));
    }

    /// Removes the journal beside `target`, if that is there; an unfinished file's journal stays.
    pub fn forget(target: &Path) {
        let Ok(paths) = Paths::of(target) else { return };
        if target.is_file() && !paths.unfinished.exists() {
            // What is left over harms nobody: the next run finds that it does not belong to it.
            let _ = fs::remove_file(&paths.journal);
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(out) = &mut self.out else { return Err(Error::state("the file is finished")) };
        out.write_all(bytes).map_err(|e| unwritten(&self.paths.unfinished, &e))?;
        self.since.update(bytes);
        self.pos += bytes.len() as u64;
        Ok(())
    }

    fn check_target(&self, meta: &fs::Metadata, replace: bool) -> Result<()> {
        let path = self.paths.target.display();
        if !meta.is_file() && !meta.is_symlink() {
            return Err(Error::argument(format!("{path} is there and is no regular file")));
        }
        if !replace {
            return Err(Error::argument(format!(
                "{path} is there already; name another file, or ask to replace it (--force in the tool)"
            )));
        }
        Ok(())
    }

    /// Opens the unfinished file for one writer at a time.
    fn open_unfinished(&self) -> Result<File> {
        let path = &self.paths.unfinished;
        if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return Err(Error::argument(format!("{} is there and is no regular file", path.display())));
        }
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = open.map_err(|e| Error::io(path.display(), &e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                Err(Error::busy(format!("{} is being written by another process", path.display())))
            }
            // A file system without locks.
            Err(fs::TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(file),
            Err(fs::TryLockError::Error(e)) => Err(Error::io(path.display(), &e)),
        }
    }

    /// Keeps what the marks vouch for, cuts the rest off, and writes the journal anew up to there.
    fn go_on(
        &mut self,
        mut file: File,
        key: &str,
        header: &[u8],
        marks: &[(u64, String)],
        cancel: &CancelFlag,
        checked: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let io = |e: &io::Error| unwritten(&self.paths.unfinished, e);
        let good = verify(&mut file, marks, cancel, checked).map_err(|e| e.context(self.paths.unfinished.display()))?;
        if good.len() < marks.len() {
            self.note = Some(format!(
                "the unfinished file does not hold what its journal says after byte {}; going on from there",
                good.last().map_or(0, |(end, _)| *end)
            ));
        }
        self.digests = good.iter().filter_map(|(_, digest)| unhex(digest)).collect();
        let end = good.last().map_or(0, |(end, _)| *end);
        let mut text = format!("{JOURNAL} {key}\n");
        good.iter().for_each(|(end, digest)| text.push_str(&format!("{end} {digest}\n")));
        // Another file under the name, so that a kill leaves the old journal or the new one, and either is true.
        let draft = self.paths.journal.with_extension("draft");
        let journal = File::create(&draft).and_then(|mut f| f.write_all(text.as_bytes()).map(|()| f));
        let journal = journal.map_err(|e| unwritten(&draft, &e))?;
        fs::rename(&draft, &self.paths.journal).map_err(|e| unwritten(&self.paths.journal, &e))?;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(|e| io(&e))?;
        self.out = Some(BufWriter::with_capacity(BUFFER, file));
        self.journal = Some(journal);
        (self.pos, self.kept, self.marked) = (end, end, end);
        if end == 0 {
            self.put(header)?;
            self.mark()?;
        }
        Ok(())
    }
}

/// The digest that [`hex`] wrote.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    for (byte, pair) in out.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (rest.is_empty() && pairs.len() == out.len()).then_some(out)
}

/// The marks that the file bears out, from the first on.
fn verify<'m>(
    file: &mut File,
    marks: &'m [(u64, String)],
    cancel: &CancelFlag,
    checked: &mut dyn FnMut(u64),
) -> Result<&'m [(u64, String)]> {
    let io = |e: io::Error| Error::io("reading what was written", &e);
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let (mut pos, mut buffer) = (0u64, vec![0; BUFFER]);
    for (i, (end, digest)) in marks.iter().enumerate() {
        let mut sum = Sha256::new();
        let mut left = end.saturating_sub(pos);
        while left > 0 {
            cancel.check()?;
            let step = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = file.read(buffer.get_mut(..step).unwrap_or_default()).map_err(io)?;
            if n == 0 {
                break;
            }
            sum.update(buffer.get(..n).unwrap_or_default());
            left -= n as u64;
            pos += n as u64;
            checked(pos);
        }
        if left > 0 || hex(&sum.finalize()) != *digest {
            return Ok(marks.get(..i).unwrap_or_default());
        }
    }
    Ok(marks)
}

impl Journal {
    /// Reads the journal, `None` when there is none or it is not one. A torn last line counts as not written.
    fn read(path: &Path) -> Result<Option<Self>> {
        if !fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()) {
            return Ok(None);
        }
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
        read.map_err(|e| Error::io(path.display(), &e))?;
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let Some(key) = lines.next().and_then(|line| line.strip_prefix(JOURNAL)) else { return Ok(None) };
        let mut this = Self { key: key.trim().to_owned(), marks: vec![], whole: false };
        for line in lines {
            if line == WHOLE {
                this.whole = true;
                break;
            }
            let Some((end, digest)) = line.split_once(' ') else { break };
            let Some(end) = end.parse().ok().filter(|end| this.marks.last().is_none_or(|(last, _)| last < end)) else {
                break;
            };
            this.marks.push((end, digest.to_owned()));
        }
        Ok(Some(this))
    }
}

/// Everything that the bytes depend on, as one word.
fn key_of(key: &str, header: &[u8]) -> String {
    let mut sum = Sha256::new();
    sum.update((key.len() as u64).to_le_bytes());
    sum.update(key.as_bytes());
    sum.update(header);
    hex(&sum.finalize())
}

/// A failed write, with what a full disk means for the host.
fn unwritten(path: &Path, e: &io::Error) -> Error {
    let advice = match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; what is written stays: make room and run the same command again to go on"
        }
        _ => "",
    };
    let error = Error::io(format_args!("writing {}", path.display()), e);
    if advice.is_empty() { error } else { Error::new(error.kind(), format!("{}{advice}", error.message())) }
}
