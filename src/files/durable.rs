//! One small file written whole or not at all, and read without following a symlink.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};

/// How often and how long a lock held by another process is waited for: two seconds in all.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Reads a regular file of at most `limit` bytes. `Ok(None)` when there is none.
///
/// The inner `Err` says why a file that is there cannot be trusted; the outer one is the operating system's.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Result<String, String>>> {
    let what = || format!("reading {}", path.display());
    let seen = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(Error::io(what(), &e)),
    };
    if !seen.is_file() {
        return Ok(Some(Err("it is not a regular file (symlinks are not followed)".to_owned())));
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(what(), &e)),
    };
    let opened = file.metadata().map_err(|e| Error::io(what(), &e))?;
    if !same_file(&seen, &opened) {
        return Ok(Some(Err("it was replaced while it was opened".to_owned())));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::io(what(), &e))?;
    if bytes.len() as u64 > limit {
        return Ok(Some(Err(format!("it has more than {limit} bytes"))));
    }
    Ok(Some(String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())))
}

/// Puts `content` at `folder/name`: a new file beside it, flushed to the disk, renamed over it, the folder flushed.
/// After a crash at any moment the name holds the old content or the new one, whole.
pub(crate) fn replace(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    make_folder(folder)?;
    let _lock = open_locked(&folder.join(".lock"))?;
    let target = folder.join(name);
    let temp = folder.join(format!(".{name}.tmp"));
    let what = |e: &std::io::Error| Error::io(format!("writing {}", target.display()), e);
    // Only a writer that died can have left it: we hold the lock.
    match fs::remove_file(&temp) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(what(&e)),
        _ => {}
    }
    let written = write_new(&temp, content).and_then(|()| fs::rename(&temp, &target));
    if let Err(e) = written {
        // The first error is the one to report.
        let _ = fs::remove_file(&temp);
        return Err(what(&e));
    }
    sync_folder(folder).map_err(|e| what(&e))
}

fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private_file(&mut options);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the folder and its parents, readable by their owner only, and refuses one that anybody may write.
fn make_folder(folder: &Path) -> Result<()> {
    let what = |e: &std::io::Error| Error::io(format!("making the folder {}", folder.display()), e);
    let missing: Vec<&Path> = folder.ancestors().take_while(|dir| !dir.exists()).collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    private_folder(&mut builder);
    builder.create(folder).map_err(|e| what(&e))?;
    // A folder that is new must outlast a power failure too: its name stands in its parent.
    for parent in missing.into_iter().filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        sync_folder(parent).map_err(|e| what(&e))?;
    }
    check_folder(folder)
}

/// Refuses a symlink in place of a folder, and a folder where anybody may replace files.
pub(crate) fn check_folder(folder: &Path) -> Result<()> {
    let refuse = |why: &str| Err(Error::new(crate::Kind::Io, format!("the folder {} {why}", folder.display())));
    match fs::symlink_metadata(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io(format!("looking at the folder {}", folder.display()), &e)),
        Ok(meta) if meta.is_symlink() => refuse("is a symlink; name the folder itself"),
        Ok(meta) if !meta.is_dir() => refuse("is not a folder"),
        Ok(meta) if anybody_replaces(&meta) => refuse("can be written by anybody and has no sticky bit"),
        Ok(_) => Ok(()),
    }
}

/// Opens a regular file for this process alone, and makes it where there is none, readable by its owner only. A kernel lock
/// goes with the process that holds it, however that ends. A process that is being started may hold a copy of it for the moment
/// between its fork and its exec, so a held lock is waited for.
pub(crate) fn open_locked(path: &Path) -> Result<File> {
    let what = |e: &std::io::Error| Error::io(format!("opening {}", path.display()), e);
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
        let message = format!("{} is not a regular file (symlinks are not followed)", path.display());
        return Err(Error::new(crate::Kind::Io, message));
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    private_file(&mut options);
    let file = options.open(path).map_err(|e| what(&e))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A file system without locks: a rename alone still keeps each file whole.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(e)) => return Err(what(&e)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
    Err(Error::busy(format!("{} is open in another process", path.display())))
}

#[cfg(unix)]
fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, opened: &fs::Metadata) -> bool {
    opened.is_file()
}

#[cfg(unix)]
fn anybody_replaces(meta: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    meta.mode() & (OTHERS_WRITE | STICKY) == OTHERS_WRITE
}

#[cfg(not(unix))]
fn anybody_replaces(_: &fs::Metadata) -> bool {
    false
}

#[cfg(unix)]
fn private_file(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

#[cfg(not(unix))]
fn private_file(_: &mut OpenOptions) {}

#[cfg(unix)]
fn private_folder(builder: &mut fs::DirBuilder) {
    use std::os::unix::fs::DirBuilderExt;
    builder.mode(0o700);
}

#[cfg(not(unix))]
fn private_folder(_: &mut fs::DirBuilder) {}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be flushed; the rename is as durable as the file system makes it.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}
