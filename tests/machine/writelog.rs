//! What a disk was told, in order: reads QEMU's write log, which has the format of the kernel's dm-log-writes
//! (Documentation/admin-guide/device-mapper/log-writes.rst), and says what of it a power cut leaves. Pure.
//!
//! ```text
//! superblock │ entry, data │ entry, data │ flush │ entry, data │ …     each in whole sectors; numbers are little-endian
//!            └── on the platters from the flush on ──┘└─ may or may not be ─
//! ```

use std::ops::Range;

const MAGIC: u64 = 0x6a_7366_7773_6872;
const VERSION: u64 = 1;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// Of an entry, before its data: sector, number of sectors, flags, length of a mark's text.
const HEAD: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Bytes of the log that were written from this byte of the disk on.
    Write { at: u64, data: Range<usize>, fua: bool },
    /// All that came before is on the platters.
    Flush,
    /// A discard or a mark: nothing that a power cut could take.
    Other,
}

/// All entries. The superblock counts those up to the last flush; of what comes behind them, the last one may be torn and is left out.
pub fn parse(log: &[u8]) -> Result<Vec<Entry>, String> {
    let (magic, version) = (number(log, 0)?, number(log, 8)?);
    if (magic, version) != (MAGIC, VERSION) {
        return Err(format!("no write log: magic {magic:#x}, version {version}"));
    }
    let count = number(log, 16)?;
    // Its upper half is padding.
    let sector = (number(log, 24)? & 0xffff_ffff) as usize;
    let mut at = sector;
    let mut entries = Vec::new();
    for _ in 0..count {
        let (entry, end) = entry(log, at, sector)?;
        entries.push(entry);
        at = end;
    }
    while log.get(at..at + HEAD).is_some_and(|head| head.iter().any(|byte| *byte != 0)) {
        let Ok((entry, end)) = entry(log, at, sector) else { break };
        entries.push(entry);
        at = end;
    }
    Ok(entries)
}

fn entry(log: &[u8], at: usize, sector: usize) -> Result<(Entry, usize), String> {
    if log.len() < at + HEAD {
        return Err(format!("the log ends before its entry at byte {at}"));
    }
    let (place, count, flags) = (number(log, at)?, number(log, at + 8)? as usize, number(log, at + 16)?);
    if flags & !(FLUSH | FUA | DISCARD | MARK) != 0 {
        return Err(format!("the entry at byte {at} has flags {flags:#x}"));
    }
    let start = at + sector;
    if flags & (DISCARD | MARK) != 0 {
        return Ok((Entry::Other, start));
    }
    if count == 0 {
        return Ok((if flags & FLUSH != 0 { Entry::Flush } else { Entry::Other }, start));
    }
    let data = start..start + count * sector;
    if log.len() < data.end {
        return Err(format!("the log ends within the data at byte {start}"));
    }
    let end = data.end;
    Ok((Entry::Write { at: place * sector as u64, data, fua: flags & FUA != 0 }, end))
}

fn number(log: &[u8], at: usize) -> Result<u64, String> {
    let bytes = log.get(at..at + 8).and_then(|bytes| bytes.first_chunk()).ok_or("the log is cut short")?;
    Ok(u64::from_le_bytes(*bytes))
}

/// Where a fragment of a segment was first written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Which entry wrote it.
    pub entry: usize,
    /// Byte of the disk.
    pub at: u64,
}

/// All that begin in these writes, in order: a `moof` whose first box is an `mfhd` of 16 bytes (ISO/IEC 14496-12, 8.8.4 and 8.8.5). Pages
/// are written again when the next fragment joins on; `known` says what was on the disk before the log.
pub fn fragments_begun(log: &[u8], entries: &[Entry], known: impl Fn(u64, &[u8]) -> bool) -> Vec<Begun> {
    const BEGIN: &[u8] = b"moof\0\0\0\x10mfhd";
    let mut found: Vec<Begun> = Vec::new();
    for (entry, write) in entries.iter().enumerate() {
        let Entry::Write { at, data, .. } = write else { continue };
        let bytes = &log[data.clone()];
        for place in (0..bytes.len()).filter(|place| bytes[*place] == BEGIN[0] && bytes[*place..].starts_with(BEGIN)) {
            let (at, head) = (at + place as u64, &bytes[place..bytes.len().min(place + 64)]);
            if !found.iter().any(|begun| begun.at == at) && !known(at, head) {
                found.push(Begun { entry, at });
            }
        }
    }
    found
}

/// Places of the flushes among the entries.
pub fn flushes(entries: &[Entry]) -> Vec<usize> {
    let found = entries.iter().enumerate().filter(|(_, entry)| **entry == Entry::Flush);
    found.map(|(index, _)| index).collect()
}

/// The writes, in order, that are on the platters if the power goes just before `cut`: those before the last flush, those that went
/// past the cache, and of the others the ones that `luck` lets through.
pub fn left_by_a_cut(entries: &[Entry], cut: usize, mut luck: impl FnMut() -> bool) -> Vec<(u64, Range<usize>)> {
    let entries = &entries[..cut];
    let flushed = entries.iter().rposition(|entry| *entry == Entry::Flush).unwrap_or(0);
    let stays = |(index, entry): (usize, &Entry)| match entry {
        Entry::Write { at, data, fua } => (index < flushed || *fua || luck()).then(|| (*at, data.clone())),
        Entry::Flush | Entry::Other => None,
    };
    entries.iter().enumerate().filter_map(stays).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 512;

    fn log(entries: &[(u64, u64, u64)]) -> Vec<u8> {
        let mut log = sector(&[MAGIC, VERSION, entries.len() as u64, SECTOR as u64]);
        for (number, (at, count, flags)) in entries.iter().enumerate() {
            log.extend(sector(&[*at, *count, *flags, 0]));
            if flags & DISCARD == 0 {
                log.extend(vec![number as u8 + 1; *count as usize * SECTOR]);
            }
        }
        log
    }

    fn sector(numbers: &[u64]) -> Vec<u8> {
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.resize(SECTOR, 0);
        bytes
    }

    /// First byte of what is written where.
    fn left(log: &[u8], cut: usize, luck: bool) -> Vec<(u64, u8)> {
        let entries = parse(log).unwrap();
        left_by_a_cut(&entries, cut, || luck).into_iter().map(|(at, data)| (at, log[data.start])).collect()
    }

    #[test]
    fn what_was_flushed_is_there_and_the_rest_is_luck() {
        let log = log(&[(8, 2, 0), (0, 0, FLUSH), (16, 1, 0), (24, 9, DISCARD), (8, 1, 0), (0, 0, FLUSH), (9, 1, 0)]);
        let entries = parse(&log).unwrap();
        assert_eq!((entries.len(), flushes(&entries)), (7, vec![1, 5]));
        assert_eq!(left(&log, 1, false), []);
        assert_eq!(left(&log, 2, false), [(4096, 1)]);
        assert_eq!(left(&log, 5, false), [(4096, 1)], "nothing was flushed since");
        assert_eq!(left(&log, 5, true), [(4096, 1), (8192, 3), (4096, 5)]);
        assert_eq!(left(&log, 6, false), [(4096, 1), (8192, 3), (4096, 5)]);
        assert_eq!(left(&log, 7, false), left(&log, 6, false));
    }

    #[test]
    fn what_went_past_the_cache_is_there() {
        let log = log(&[(1, 1, 0), (2, 1, FUA), (3, 1, 0)]);
        assert_eq!(left(&log, 3, false), [(1024, 2)]);
    }

    #[test]
    fn fragments_are_found_where_they_were_first_written() {
        let mut log = log(&[(4, 2, 0), (0, 0, FLUSH), (5, 2, 0)]);
        let moof = b"\0\0\x01\0moof\0\0\0\x10mfhd\0\0\0\0";
        let mut put = |at: usize| log[at..at + moof.len()].copy_from_slice(moof);
        // The first write's data is at sectors 2 and 3, the last one's at 6 and 7: its first sector is written again.
        put(SECTOR * 3 + 100);
        put(SECTOR * 6 + 100);
        put(SECTOR * 7 + 9);
        let entries = parse(&log).unwrap();
        let (one, two) = (Begun { entry: 0, at: 5 * 512 + 104 }, Begun { entry: 2, at: 6 * 512 + 13 });
        assert_eq!(fragments_begun(&log, &entries, |_, _| false), [one, two]);
        assert_eq!(fragments_begun(&log, &entries, |at, _| at == one.at), [two]);
    }

    #[test]
    fn what_came_after_the_last_flush_is_read_as_far_as_it_is_whole() {
        let whole = log(&[(8, 1, 0), (0, 0, FLUSH), (9, 1, 0), (10, 1, 0)]);
        let mut counted = whole.clone();
        counted[16..24].copy_from_slice(&2u64.to_le_bytes());
        assert_eq!(parse(&counted).unwrap(), parse(&whole).unwrap());
        assert_eq!(parse(&counted[..whole.len() - 1]).unwrap().len(), 3);
        assert_eq!(parse(&counted[..SECTOR * 4]).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_log_is_a_fault() {
        assert!(parse(&[0; 4096]).is_err() && parse(b"short").is_err());
        let whole = log(&[(8, 2, 0), (0, 0, FLUSH)]);
        assert!(parse(&whole[..SECTOR * 3]).is_err(), "cut short");
        let mut odd = whole;
        odd[SECTOR + 16] = 0x40;
        assert!(parse(&odd).is_err(), "unknown flags");
    }
}
