//! Objects as files of a folder. What is written is on the disk before it is answered, and a file
//! is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use im_core::port::{Blobs, ObjectKey, PortError, PortErrorKind, Signed};

/// Where files are written before they get their name. No key begins with a point.
const UNFINISHED: &str = ".new";
/// How old an unfinished file is that nobody writes any more.
const UNFINISHED_AGE: Duration = Duration::from_secs(24 * 3_600);
/// How often a write begins again because its folder was removed meanwhile.
const TRIES_MAX: u32 = 8;

/// Objects as files.
#[derive(Debug, Clone)]
pub struct DiskBlobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    next: AtomicU64,
}

impl DiskBlobs {
    /// The objects of a folder, which is made when the first is written. What a crash left
    /// unfinished there is removed when it is a day old.
    ///
    /// # Errors
    /// When the folder is there and can't be read.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        match fs::read_dir(root.join(UNFINISHED)) {
            Ok(files) => {
                for file in files {
                    sweep(&file?);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let next = AtomicU64::new(0);
        Ok(Self {
            shared: Arc::new(Shared { root, next }),
        })
    }

    /// Does it off the async threads.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> io::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        let done = done.map_err(|error| PortError::with_source(PortErrorKind::Internal, error))?;
        done.map_err(told)
    }
}

/// Removes an unfinished file that is old. That it can't be is no reason not to start.
fn sweep(file: &fs::DirEntry) {
    let written = file.metadata().and_then(|about| about.modified());
    let age = written.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    if age.is_ok_and(|age| age > UNFINISHED_AGE) {
        let _ = fs::remove_file(file.path());
    }
}

fn told(error: io::Error) -> PortError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            PortErrorKind::Exhausted
        }
        io::ErrorKind::InvalidData => PortErrorKind::Corrupt,
        _ => PortErrorKind::Unavailable,
    };
    PortError::with_source(kind, error)
}

impl Shared {
    fn path(&self, key: &ObjectKey) -> PathBuf {
        // A key has no part that leads elsewhere.
        self.root.join(key.as_str())
    }

    /// Writes a file under another name, and gives it its own when it is on the disk.
    fn write(
        &self,
        key: &ObjectKey,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let unfinished = self.root.join(UNFINISHED);
        self.folder(&unfinished)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let temporary = unfinished.join(name);
        let mut file = File::create(&temporary)?;
        let written = fill(&mut file)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.name(&temporary, &self.path(key)));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn name(&self, temporary: &Path, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.root);
        let mut tries = 0;
        loop {
            self.folder(parent)?;
            match fs::rename(temporary, path) {
                // Who removed the last file of the folder removed that, too.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES_MAX => {
                    tries += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return sync_folder(parent),
            }
        }
    }

    /// Makes a folder, and its name is on the disk.
    fn folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        let above = folder.ancestors().skip(1);
        for parent in above.take_while(|parent| parent.starts_with(&self.root)) {
            sync_folder(parent)?;
        }
        Ok(())
    }
}

/// A name is on the disk when its folder is. Folders that were removed meanwhile have none.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}

/// `None` of what is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        // A file that stands where a folder would has nothing below it.
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(error),
        },
    }
}

#[async_trait]
impl Blobs for DiskBlobs {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), PortError> {
        let key = key.clone();
        self.run(move |shared| shared.write(&key, |file| file.write_all(&bytes)))
            .await
    }

    async fn join(&self, key: &ObjectKey, parts: &[ObjectKey]) -> Result<(), PortError> {
        let (key, parts) = (key.clone(), parts.to_vec());
        self.run(move |shared| {
            shared.write(&key, |file| {
                for part in &parts {
                    let part = found(File::open(shared.path(part)))?;
                    let missing = || io::Error::from(io::ErrorKind::InvalidData);
                    io::copy(&mut part.ok_or_else(missing)?, file)?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn read(
        &self,
        key: &ObjectKey,
        from: u64,
        len: usize,
    ) -> Result<Option<Bytes>, PortError> {
        let key = key.clone();
        self.run(move |shared| {
            let Some(mut file) = found(File::open(shared.path(&key)))? else {
                return Ok(None);
            };
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(len as u64).read_to_end(&mut bytes)?;
            Ok(Some(bytes.into()))
        })
        .await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, PortError> {
        let key = key.clone();
        self.run(move |shared| {
            let about = found(fs::metadata(shared.path(&key)))?;
            Ok(about.filter(fs::Metadata::is_file).map(|about| about.len()))
        })
        .await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), PortError> {
        let key = key.clone();
        self.run(move |shared| {
            let path = shared.path(&key);
            found(fs::remove_file(&path))?;
            // Folders that are empty go too; those that are not stay by themselves.
            let above = path.ancestors().skip(1);
            for folder in above.take_while(|folder| **folder != *shared.root) {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
            Ok(())
        })
        .await
    }

    async fn list(&self, below: &ObjectKey, limit: usize) -> Result<Vec<ObjectKey>, PortError> {
        let below = below.clone();
        self.run(move |shared| {
            let mut listed = Vec::new();
            let mut folders = vec![below.as_str().to_owned()];
            while let Some(folder) = folders.pop() {
                let Some(files) = found(fs::read_dir(shared.root.join(&folder)))? else {
                    continue;
                };
                for file in files {
                    if listed.len() >= limit {
                        return Ok(listed);
                    }
                    let file = file?;
                    let key = format!("{folder}/{}", file.file_name().to_string_lossy());
                    if file.file_type()?.is_dir() {
                        folders.push(key);
                    } else {
                        listed.extend(ObjectKey::parse(&key));
                    }
                }
            }
            Ok(listed)
        })
        .await
    }

    async fn sign(
        &self,
        _: &ObjectKey,
        _: Signed,
        _: Duration,
    ) -> Result<Option<String>, PortError> {
        Ok(None)
    }
}
