//! The archive for a person with a terminal: what there is, whether it is whole, what is kept, and a copy of it on another disk.
//!
//! ```text
//!                     ┌─ list ─── (rule) lines and JSON
//! folder ── Shelf ────┼─ check ── re-reads files against the index; makes the index anew
//! index ──┘           └─ export ─ copy (one file, proven) ── manifest of each day ── another disk (removable: mounted, unmounted)
//! ```
//!
//! It works beside a running daemon and without one, and goes by the folder and its index alone. Who only reads leaves no trace.
//! Nothing here deletes a recording, and the open segment is left alone.

pub mod check;
mod copy;
pub mod export;
mod fault;
pub mod list;
pub mod place;
pub mod progress;
pub mod removable;

use std::path::{Path, PathBuf};

use super::index::{Entry, Gap, Index};
use super::name::Name;
use crate::recorded::when::Span;

pub use fault::Fault;
pub use progress::{Progress, Watch};

/// An archive's folder.
pub struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// The folder must be there, and whoever asks must be allowed to read it.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        std::fs::read_dir(folder).map_err(|error| Fault::of_archive("read", folder, error))?;
        Ok(Self { folder: folder.to_owned() })
    }

    pub fn path_of(&self, name: Name) -> PathBuf {
        self.folder.join(name.closed())
    }

    /// What the index says lies in the span, if only in part, oldest first.
    pub fn contents(&self, span: Span) -> Result<(Vec<Entry>, Vec<Gap>), Fault> {
        let index = self.index()?;
        let lies = |entry: &Entry| span.touches(entry.start_ms, entry.end_ms());
        let entries = index.entries().map_err(|fault| self.fault(fault))?.into_iter().filter(lies).collect();
        let gaps = index.gaps(span.from_ms, span.until_ms).map_err(|fault| self.fault(fault))?;
        Ok((entries, gaps))
    }

    /// Protects the segments, or takes that back; returns those that the index does not know.
    pub fn protect(&self, names: &[Name], protected: bool) -> Result<Vec<Name>, Fault> {
        self.index()?;
        let index = self.index_to_change()?;
        let mut unknown = Vec::new();
        for name in names {
            if !index.set_protected(*name, protected).map_err(|fault| self.fault(fault))? {
                unknown.push(*name);
            }
        }
        Ok(unknown)
    }

    /// The closed segments that are in the folder, oldest first, whatever the index says.
    pub fn files(&self) -> Result<Vec<Name>, Fault> {
        let fault = |error| Fault::of_archive("read", &self.folder, error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(fault)? {
            names.extend(entry.map_err(fault)?.file_name().to_str().and_then(Name::parse_closed));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn index(&self) -> Result<Index, Fault> {
        let index = Index::look(&self.folder).map_err(|fault| self.fault(fault))?;
        index.ok_or_else(|| Fault::NoIndex { path: self.folder.clone() })
    }

    fn index_to_change(&self) -> Result<Index, Fault> {
        Index::open(&self.folder).map_err(|fault| self.fault(fault))
    }

    /// In words for whoever stands in front of another's folder.
    fn fault(&self, fault: super::fault::Fault) -> Fault {
        Fault::of_room(fault, &self.folder)
    }
}
