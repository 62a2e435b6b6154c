//! The archive onto another disk: what is not there yet, day by day, oldest first, and the manifest of each day.
//!
//! Each file is proven by [`copy`]. An export that is interrupted at any moment leaves whole files and perhaps one `.part`, which
//! the next one removes; it then goes on where the first one was. What the archive deletes meanwhile is told and left out. All of it
//! waits for whoever records.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use jiff::ToSpan;
use jiff::civil::Date;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::copy::{self, Outcome, Trouble};
use super::{Fault, Progress, Shelf, Watch, place};
use crate::archive::catalogue::background::step_back;
use crate::archive::index::{DAY_MS, Entry, Gap, day_begin_ms, day_of};
use crate::archive::manifest::{self, Manifest};
use crate::archive::name::Name;
use crate::recorded::when::Span;
use crate::units::ByteSize;

/// A gap of more days is told in the manifests of its first days only.
const DAYS: usize = 400;

/// What is to be exported, and to where.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// `[device] name`: there may be several boxes' recordings on one disk.
    pub device: &'a str,
    /// A folder that is there; it is not made, for it may be the place of a disk that is not.
    pub to: &'a Path,
    pub span: Span,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub copied: u64,
    /// Had been there already, whole.
    pub there: u64,
    /// Were deleted by the archive before they could be copied.
    pub deleted: u64,
    /// Could not be copied; each was told.
    pub failed: u64,
}

/// Copies, and returns when the disk has everything.
pub fn export(shelf: &Shelf, order: &Order, watch: &mut dyn Watch) -> Result<Report, Fault> {
    step_back();
    let (entries, gaps) = shelf.contents(order.span)?;
    fs::read_dir(order.to).map_err(Fault::target("read", order.to))?;
    let root = order.to.join(place::device_folder(order.device));
    fs::create_dir_all(&root).map_err(Fault::target("make the folder", &root))?;
    let _lock = lock(&root)?;
    remove_parts(&root)?;
    let progress = Progress { files: entries.len() as u64, bytes: bytes_of(&entries), ..Progress::default() };
    let mut work = Work { shelf, order, watch, progress, report: Report::default() };
    work.warn_of_space(&entries)?;
    work.days(&entries, &gaps)?;
    sync(order.to)?;
    Ok(work.report)
}

fn bytes_of(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.bytes).sum()
}

/// Two exports at once would undo each other's parts. A file system that knows no locks does without.
fn lock(root: &Path) -> Result<Option<Flock<File>>, Fault> {
    let folder = File::open(root).map_err(Fault::target("open", root))?;
    match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Err(Fault::Busy { path: root.to_owned() }),
        Err(_) => Ok(None),
    }
}

/// What an export that was interrupted has left, of whatever day.
fn remove_parts(root: &Path) -> Result<(), Fault> {
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Fault::target("read", &folder))? {
            let entry = entry.map_err(Fault::target("read", &folder))?;
            let (path, is_folder) = (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
            if is_folder && depth < 3 {
                folders.push((path, depth + 1));
            } else if entry.file_name().to_str().is_some_and(is_part) {
                fs::remove_file(&path).map_err(Fault::target("remove", path))?;
            }
        }
    }
    Ok(())
}

fn is_part(file: &str) -> bool {
    let manifest = |name: &str| name.starts_with("manifest-") && name.ends_with(".json");
    Name::parse_part(file).is_some() || file.strip_suffix(".part").is_some_and(manifest)
}

/// All file systems keep something back for later.
fn sync(folder: &Path) -> Result<(), Fault> {
    let synced = File::open(folder).and_then(|folder| nix::unistd::syncfs(&folder).map_err(Into::into));
    synced.map_err(Fault::target("write out", folder))
}

struct Work<'a> {
    shelf: &'a Shelf,
    order: &'a Order<'a>,
    watch: &'a mut dyn Watch,
    progress: Progress,
    report: Report,
}

impl Work<'_> {
    fn days(&mut self, entries: &[Entry], gaps: &[Gap]) -> Result<(), Fault> {
        for day in days_of(entries, gaps) {
            let folder = self.order.to.join(place::day_folder(self.order.device, day));
            fs::create_dir_all(&folder).map_err(Fault::target("make the folder", &folder))?;
            for entry in entries.iter().filter(|entry| day_of(entry.start_ms) == day) {
                self.segment(&folder, entry)?;
            }
            self.manifest(&folder, day)?;
        }
        Ok(())
    }

    fn segment(&mut self, folder: &Path, entry: &Entry) -> Result<(), Fault> {
        let (source, target) = (self.shelf.path_of(entry.name), folder.join(entry.name.closed()));
        let (watch, before) = (&mut *self.watch, self.progress);
        watch.progress(&before);
        let mut done = |bytes| watch.progress(&Progress { bytes_done: before.bytes_done + bytes, ..before });
        let outcome = copy::segment(&source, &target, entry, &mut done)?;
        match &outcome {
            Outcome::Copied => self.report.copied += 1,
            Outcome::There => self.report.there += 1,
            Outcome::Skipped(Trouble::Deleted) => self.report.deleted += 1,
            Outcome::Skipped(_) => self.report.failed += 1,
        }
        if let Outcome::Skipped(trouble) = outcome {
            let text = words_of(&trouble, &source, &target, self.order.device);
            self.watch.tell(&text);
        }
        self.progress.files_done += 1;
        self.progress.bytes_done += entry.bytes;
        self.watch.progress(&self.progress);
        Ok(())
    }

    /// With what an older one on the disk knows; not written again if nothing is new.
    fn manifest(&self, folder: &Path, day: Date) -> Result<(), Fault> {
        // Opened for each day: an export takes hours, and the daemon may come and go.
        let index = self.shelf.index()?;
        let begin = day_begin_ms(day);
        let (entries, gaps) = (index.of_day(day)?, index.gaps(begin, begin + DAY_MS)?);
        let path = folder.join(manifest::file_name(day));
        let older = fs::read(&path).unwrap_or_default();
        let manifest = Manifest::of(self.order.device, day, &entries, &gaps);
        let manifest = match Manifest::parse(&older) {
            Ok(older) => manifest.merge(&older),
            Err(_) => manifest,
        };
        let bytes = manifest.to_bytes();
        if bytes == older { Ok(()) } else { copy::small(&path, &bytes) }
    }

    /// Better known now than when the disk is full.
    fn warn_of_space(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        let fault = |error: Errno| Fault::target("ask for the free space of", self.order.to)(error.into());
        let space = nix::sys::statvfs::statvfs(self.order.to).map_err(fault)?;
        // Their width depends on the platform.
        #[allow(clippy::unnecessary_cast)]
        let free = (space.blocks_available() as u64).saturating_mul(space.fragment_size() as u64);
        let wanted: u64 = entries.iter().filter(|entry| !self.is_there(entry)).map(|entry| entry.bytes).sum();
        if wanted > free {
            let (wanted, free) = (ByteSize::from_bytes(wanted), ByteSize::from_bytes(free));
            let to = self.order.to.display();
            let text = format!("{to} has {free} free and {wanted} are to be copied: the oldest are, as far as they fit");
            self.watch.tell(&text);
        }
        Ok(())
    }

    /// By its length; its hash is looked at when its turn comes.
    fn is_there(&self, entry: &Entry) -> bool {
        let folder = self.order.to.join(place::day_folder(self.order.device, day_of(entry.start_ms)));
        folder.join(entry.name.closed()).metadata().is_ok_and(|metadata| metadata.len() == entry.bytes)
    }
}

/// The days of which something is to be told, in order. Days without a recording before the first and after the last are not.
fn days_of(entries: &[Entry], gaps: &[Gap]) -> BTreeSet<Date> {
    let mut days: BTreeSet<Date> = entries.iter().map(|entry| day_of(entry.start_ms)).collect();
    let (Some(first), Some(last)) = (days.first().copied(), days.last().copied()) else { return days };
    for gap in gaps.iter().filter(|gap| gap.from_ms < gap.until_ms) {
        let (from, until) = (day_of(gap.from_ms).max(first), day_of(gap.until_ms - 1).min(last));
        let each = std::iter::successors(Some(from), |day| day.checked_add(1.day()).ok());
        days.extend(each.take_while(|day| *day <= until).take(DAYS));
    }
    days
}

fn words_of(trouble: &Trouble, source: &Path, target: &Path, device: &str) -> String {
    let (file, place) = (file_of(source), target.display());
    match trouble {
        Trouble::Deleted => format!("{file}: the archive has deleted it meanwhile, by its rules; it is not exported"),
        Trouble::Damaged => format!(
            "{file}: it is not what was recorded, and is not exported; `onaird archive rebuild` takes it as it is, then export again"
        ),
        Trouble::Unreadable(error) => {
            format!("{file}: it cannot be read ({error}), and is not exported; check the archive's disk")
        }
        Trouble::Another => format!(
            "{file}: {place} is another recording and stays: give each box its own `[device] name`, not \"{device}\" to two, or use \
             another disk"
        ),
    }
}

fn file_of(path: &Path) -> String {
    path.file_name().map(PathBuf::from).unwrap_or_default().display().to_string()
}
