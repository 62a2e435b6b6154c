//! The index and the folder held against each other, and files that the index does not know brought into it.

use super::Catalogue;
use super::reading::Reading;
use super::stock::{self, Found};
use crate::archive::disk;
use crate::archive::fault::Fault;
use crate::archive::name::Name;
use crate::archive::rebuild::Facts;

impl Catalogue {
    /// The index with the files.
    pub(super) fn compare(&mut self) -> Result<(), Fault> {
        let files = disk::segments(&self.folder)?;
        let files: Vec<Found> = files.iter().map(|file| Found { name: file.name, protected: file.protected }).collect();
        let index = self.index()?;
        let differences = stock::compare(&files, &index.marks()?);
        differences.gone.iter().try_for_each(|name| index.set_gone(*name))?;
        // Whoever protected one meant it, whichever way it was done.
        differences.protect.iter().try_for_each(|name| index.set_protected(*name, true).map(drop))?;
        self.unread = differences.unknown.difference(&self.refused).copied().collect();
        if !self.unread.is_empty() {
            let count = self.unread.len();
            self.events.add(format!("archive: the index does not know {count} of the segments; they are being read"));
        }
        Ok(())
    }

    /// Nothing that is known is overruled.
    pub(super) fn read(&mut self, name: Name, facts: &Facts) -> Result<(), Fault> {
        self.unread.remove(&name);
        let index = self.index()?;
        let known = index.get(name)?;
        if known.as_ref().is_some_and(|known| !known.gone) || !self.folder.join(name.closed()).exists() {
            return Ok(());
        }
        let mut entry = facts.entry(name);
        entry.upload = known.map(|known| known.upload).unwrap_or_default();
        let newest = index.newest_of(entry.run)?;
        let step = stock::settle(&mut entry, newest.as_ref());
        index.put(&entry)?;
        if let Some(flaw) = &facts.flaw {
            self.events.add(format!("archive: {} is damaged: {flaw}", name.closed()));
        }
        step.map_or(Ok(()), |step| self.step(entry.run, step))
    }

    pub(super) fn unreadable(&mut self, name: Name, fault: &str) {
        self.unread.remove(&name);
        self.refused.insert(name);
        if self.folder.join(name.closed()).exists() {
            self.events.add(format!("archive: {fault}"));
        }
    }

    pub(super) fn read_on(&mut self) -> Result<(), Fault> {
        if self.reading.is_some() || self.unread.is_empty() {
            return Ok(());
        }
        let names = self.unread.iter().rev().copied().collect();
        let reading = Reading::start(self.folder.clone(), names, self.sender.clone());
        self.reading = Some(reading.map_err(Fault::io("start the thread that reads", &self.folder))?);
        Ok(())
    }

    pub(super) fn all_read(&mut self) -> Result<(), Fault> {
        self.reading = None;
        if !self.unread.is_empty() {
            return Ok(());
        }
        self.settle_opening()?;
        let entries = self.index()?.all()?;
        let (there, gaps) = (entries.iter().filter(|entry| !entry.gone).count(), self.find_holes(&entries)?);
        self.events.add(format!("archive: the index knows all {there} segments; {gaps} gaps were found between them"));
        Ok(())
    }
}
