//! What the index has to say to the uploader, and the hashes of a manifest. It reads and changes nothing.

use std::collections::BTreeSet;

use md5::Digest;

use super::plan::{Due, Prints};
use crate::archive::fault::Fault;
use crate::archive::index::{Entry, Index, Upload};
use crate::recorded::name::Name;

/// What the index says.
#[derive(Default)]
pub struct Look {
    pub pending: u64,
    pub uploaded: u64,
    /// The oldest that waits.
    pub segment: Option<Entry>,
    pub due: Vec<Due>,
}

/// `left_out`: segments that are not to be tried now.
pub fn look(index: &Index, left_out: &BTreeSet<Name>) -> Result<Look, Fault> {
    let (pending, uploaded) = index.upload_counts()?;
    let waits = |entry: &Entry| !matches!(entry.upload, Upload::Done { .. }) && !left_out.contains(&entry.name);
    let segment = match index.next_upload()? {
        Some(entry) if left_out.contains(&entry.name) => index.entries()?.into_iter().find(waits),
        next => next,
    };
    Ok(Look { pending, uploaded, segment, due: index.days_due()? })
}

/// The ids of what the index says is begun.
pub fn begun(index: &Index) -> Result<BTreeSet<String>, Fault> {
    let ids = index.entries()?.into_iter().filter_map(|entry| match entry.upload {
        Upload::Begun { id, .. } => Some(id),
        _ => None,
    });
    Ok(ids.collect())
}

/// Of a body that is in memory.
pub fn prints(bytes: &[u8]) -> Prints {
    let mut prints = Prints { bytes: bytes.len() as u64, sha256: [0; 32], md5: md5::Md5::digest(bytes).into() };
    prints.sha256.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    prints
}
