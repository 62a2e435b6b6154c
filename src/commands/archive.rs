//! `onaird archive …`: what a person reads of it, and its exit codes. The work is the shelf's.

mod teller;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use self::teller::{Screen, Teller, now};
use super::pause;
use crate::archive::shelf::export::{self, Order, Report};
use crate::archive::shelf::removable::Removable;
use crate::archive::shelf::{Fault, Shelf, check, list};
use crate::config::store;
use crate::recorded::name::Name;
use crate::recorded::when::Span;
use crate::status::ExportState;

/// How long a disk that may be removed is waited for: as long as the daemon says so.
const REMOVAL: Duration = Duration::from_secs(60);

/// Which archive.
#[derive(Debug)]
pub struct Place {
    pub config: PathBuf,
    /// In place of the one that the configuration names.
    pub directory: Option<PathBuf>,
}

/// Where an export goes.
#[derive(Debug)]
pub enum Target {
    Folder(PathBuf),
    /// A block device, to be mounted for as long as it takes.
    Disk(PathBuf),
}

/// Which segments a command is about.
#[derive(Debug)]
pub enum Chosen {
    Names(Vec<Name>),
    Begun(Span),
}

/// A segment by its file's name, with or without `.mp4`.
pub fn name(text: &str) -> Result<Name, String> {
    let name = Name::parse_closed(text).or_else(|| Name::parse(text));
    name.ok_or_else(|| "want the name of a segment such as 20261123T051656Z.mp4; `onaird archive list` has them".into())
}

pub fn list(place: &Place, span: Span, json: bool) -> ExitCode {
    with_shelf(place, |shelf, _| {
        let (entries, gaps) = shelf.contents(span)?;
        let listing = list::listing(&entries, &gaps);
        match json {
            true => println!("{}", serde_json::to_string_pretty(&listing).unwrap_or_default()),
            false => listing.lines().iter().for_each(|line| println!("{line}")),
        }
        if span == Span::ALL {
            let strangers = shelf.files()?.into_iter().filter(|name| !entries.iter().any(|entry| entry.name == *name)).count();
            if strangers > 0 {
                eprintln!("{strangers} more segments are not in the index: `onaird archive rebuild` reads them");
            }
        }
        Ok(true)
    })
}

pub fn verify(place: &Place, names: &[Name]) -> ExitCode {
    with_shelf(place, |shelf, _| {
        let mut screen = Screen::new();
        let (files, findings) = check::verify(shelf, names, &mut screen)?;
        screen.end();
        match findings.len() {
            0 => println!("{files} segments are what was recorded"),
            faults => println!("{files} segments read, {faults} faults"),
        }
        Ok(findings.is_empty())
    })
}

pub fn protect(place: &Place, chosen: &Chosen, protected: bool) -> ExitCode {
    with_shelf(place, |shelf, _| {
        let names = match chosen {
            Chosen::Names(names) => names.clone(),
            Chosen::Begun(span) => shelf.contents(*span)?.0.iter().map(|entry| entry.name).collect(),
        };
        let unknown = shelf.protect(&names, protected)?;
        for name in &unknown {
            eprintln!("{}: the index does not know it; `onaird archive list` has the names", name.closed());
        }
        let word = if protected { "protected: they are never deleted to make room" } else { "no longer protected" };
        println!("{} segments are {word}", names.len() - unknown.len());
        Ok(unknown.is_empty())
    })
}

pub fn rebuild(place: &Place) -> ExitCode {
    with_shelf(place, |shelf, _| {
        let mut screen = Screen::new();
        let rebuilt = check::rebuild(shelf, &mut screen)?;
        screen.end();
        rebuilt.findings.iter().for_each(|finding| println!("{finding}"));
        let check::Rebuilt { segments, added, changed, lost, .. } = rebuilt;
        println!("{segments} segments are in the index: {added} new, {changed} changed; {lost} have no file any more");
        Ok(rebuilt.findings.is_empty())
    })
}

pub fn export(place: &Place, target: &Target, span: Span, socket: &Path) -> ExitCode {
    with_shelf(place, |shelf, device| {
        let mut teller = Teller::new(socket, target.shown());
        let exported = match target {
            Target::Folder(to) => run_export(shelf, &Order { device, to, span }, &mut teller),
            Target::Disk(disk) => to_disk(shelf, device, disk, span, &mut teller),
        };
        teller.screen.end();
        match exported {
            Ok(report) => Ok(ended(report, target, &mut teller)),
            Err(fault) => {
                teller.last_word(ExportState::Failed, Some(fault.to_string()));
                Err(fault)
            }
        }
    })
}

fn run_export(shelf: &Shelf, order: &Order, teller: &mut Teller) -> Result<Report, Fault> {
    println!("copying to {}", order.to.display());
    export::export(shelf, order, teller)
}

fn to_disk(shelf: &Shelf, device: &str, disk: &Path, span: Span, teller: &mut Teller) -> Result<Report, Fault> {
    let mounted = Removable::mount(disk)?;
    let report = run_export(shelf, &Order { device, to: mounted.folder(), span }, teller)?;
    mounted.unmount()?;
    Ok(report)
}

/// The disk has all that it is to have: tells so, and, of a disk, stays until it has been taken.
fn ended(report: Report, target: &Target, teller: &mut Teller) -> bool {
    let Report { copied, there, deleted, failed } = report;
    println!("{copied} segments copied, {there} were there; each was read back and is what was recorded");
    if deleted > 0 {
        println!("{deleted} segments were deleted by the archive meanwhile");
    }
    if failed > 0 {
        println!("{failed} segments are not exported, see above");
    }
    println!("{}: all is written out, safe to remove", target.shown());
    match failed {
        0 => teller.last_word(ExportState::Done, None),
        _ => teller.last_word(ExportState::Failed, Some(format!("{failed} segments could not be exported; the log says why"))),
    }
    if let Target::Disk(disk) = target {
        wait_for_removal(disk);
        if !disk.exists() {
            teller.last_word(ExportState::None, None);
        }
    }
    failed == 0
}

fn wait_for_removal(disk: &Path) {
    const LOOK: Duration = Duration::from_millis(500);
    let begun = now();
    while disk.exists() && begun.elapsed() < REMOVAL {
        pause(LOOK);
    }
}

impl Target {
    fn shown(&self) -> String {
        let (Self::Folder(path) | Self::Disk(path)) = self;
        path.display().to_string()
    }
}

/// The shelf and the device's name; what stands in the way is told.
fn with_shelf(place: &Place, work: impl FnOnce(&Shelf, &str) -> Result<bool, Fault>) -> ExitCode {
    let (directory, device) = match find(place) {
        Ok(found) => found,
        Err(faults) => {
            faults.iter().for_each(|fault| eprintln!("{fault}"));
            eprintln!("the configuration does not say where the archive is; correct it, or name the folder with --directory");
            return ExitCode::FAILURE;
        }
    };
    match Shelf::open(&directory).and_then(|shelf| work(&shelf, &device)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("onaird: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// By the user's file, else by what the daemon would run with in its place.
fn find(place: &Place) -> Result<(PathBuf, String), Vec<String>> {
    let others = [store::LAST_GOOD, store::FACTORY].map(Path::new);
    let is_default = place.config == Path::new(store::USER);
    let others = others.iter().filter(|_| is_default).filter_map(|path| store::check(path).ok());
    let config =
        store::check(&place.config).or_else(|faults| others.into_iter().next().ok_or(faults)).map(|checked| checked.config);
    match (&place.directory, config) {
        (Some(directory), Ok(config)) => Ok((directory.clone(), config.device.name)),
        (Some(directory), Err(_)) => Ok((directory.clone(), "onair".into())),
        (None, Ok(config)) => Ok((config.archive.directory, config.device.name)),
        (None, Err(faults)) => Err(faults),
    }
}
