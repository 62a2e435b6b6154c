//! Power cuts: the daemon records onto a disk of its own, and the machine is killed at random moments.
//!
//! ```text
//!   boot ── recover, record ── a random moment ── SIGKILL ── the next life
//!    ▲                                               │
//!    │ the disk as a power cut leaves it             ▼
//!    └── the disk as it was + what was flushed + luck ── QEMU's log of all writes
//! ```
//!
//! Killing QEMU spares the host's cache, so that its disk image would be kinder than any real disk. What the next life finds is
//! therefore made from the log: what was on the disk before, every write that a flush followed, and of the others half, chosen by
//! lot. Of every life some more cuts, at other flushes, are looked into on the host: each must show that a fragment was on the
//! platters before the next one was begun, which is what each fragment's sync is for.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use onaird::demo::child::Child;
use onaird::demo::origin::Origin;

use crate::bench;
use crate::image;
use crate::loss::{self, Loss};
use crate::support::{judge, now, pause, poll, recorder};
use crate::writelog::{self, Entry};

/// What may be lost.
const GOAL_S: f64 = 1.0;

const DISK_MIB: u64 = 192;

/// For a boot until media of that life is on the disk.
const BOOT: Duration = Duration::from_secs(400);

/// The longest life of the machine itself.
const LIFE_S: u64 = 480;

/// The power goes so many milliseconds after that.
const MOMENTS_MS: std::ops::Range<u64> = 500..6500;

/// Cuts of each life that are looked into on the host, beside the last one.
const CUTS: usize = 4;

pub fn cut(cuts: usize, seed: u64) {
    let mut power = Power::set(seed);
    for life in 1..=cuts {
        power.live(life);
    }
    power.last_life(cuts + 1);
    println!("\n==== {cuts} power cuts on the bench machine (emulated CPU), seed {seed} ====");
    power.lines.iter().for_each(|line| println!("{line}"));
    println!("largest loss {:.2} s; may be {GOAL_S:.2} s", power.largest_s);
    println!("====================================================================");
    assert!(power.faults.is_empty(), "{} faults:\n{}", power.faults.len(), power.faults.join("\n"));
    power.keep = bench::keeps_all();
}

struct Power {
    folder: PathBuf,
    origin: Origin,
    rng: Rng,
    lines: Vec<String>,
    faults: Vec<String>,
    largest_s: f64,
    /// Recordings of earlier lives.
    told: usize,
    /// What the origin got of the life before.
    before: Vec<PathBuf>,
    /// Segments that were looked at.
    judged: BTreeSet<PathBuf>,
    keep: bool,
}

impl Power {
    fn set(seed: u64) -> Self {
        let folder = bench::folder();
        let origin = recorder(&folder.join("origin"));
        let product = folder.join("product");
        bench::fill_product(&product);
        fs::write(product.join("bench"), "cards=0\ndata=vda\n").unwrap();
        fs::write(product.join("onaird.toml"), config(&origin)).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/guest-power.sh"), folder.join("guest-power.sh")).unwrap();
        let power = Self {
            folder,
            origin,
            rng: Rng::with_seed(seed),
            lines: vec![],
            faults: vec![],
            largest_s: 0.0,
            told: 0,
            before: vec![],
            judged: BTreeSet::new(),
            keep: true,
        };
        image::make(&power.path("data.img"), DISK_MIB);
        fs::write(power.path("qemu.arguments"), power.disk()).unwrap();
        power
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The data disk, whose every write is logged. What is zeroed or discarded is written or left, so that the log tells all.
    fn disk(&self) -> String {
        let node = |name: &str, file: &str| {
            format!("-blockdev\ndriver=raw,node-name={name},file.driver=file,file.filename={}\n", self.path(file).display())
        };
        let log = "-blockdev\ndriver=blklogwrites,node-name=logged,file=data,log=log\n";
        let device = "-device\nvirtio-blk-pci,drive=logged,discard=off,write-zeroes=off\n";
        let pid = format!("-pidfile\n{}\n", self.path("qemu.pid").display());
        [node("data", "data.img"), node("log", "writes.log"), log.into(), device.into(), pid].concat()
    }

    /// Boots with the disk as it is.
    fn boot(&self, life: usize, words: &[&str]) -> Child {
        image::copy(&self.path("data.img"), &self.path("base.img"));
        fs::write(self.path("writes.log"), "").unwrap();
        let _ = fs::remove_file(self.path("qemu.pid"));
        let mut command = bench::machine(&self.folder, LIFE_S);
        command.arg("-q").arg(self.path("qemu.arguments")).args(["--", "/out/guest-power.sh", &life.to_string()]).args(words);
        Child::spawn(&mut command, &self.path(&format!("run-{life}.log"))).unwrap()
    }

    /// One life: what the one before left is judged, and the power goes.
    fn live(&mut self, life: usize) {
        let mut machine = self.boot(life, &[]);
        let ready = self.path(&format!("life-{life}.ready"));
        let booted = poll(BOOT, || machine.ended().map(|_| false).or(ready.exists().then_some(true)));
        assert_eq!(booted, Some(true), "life {life} records nothing: {}", self.said(life));
        self.judge_the_life_before(life);
        let moment = Duration::from_millis(self.rng.u64(MOMENTS_MS));
        let begun = now();
        while begun.elapsed() < moment {
            pause(Duration::from_millis(1));
        }
        let pid = fs::read_to_string(self.path("qemu.pid")).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        assert!(machine.wait(Duration::from_secs(30)).is_some(), "run.sh goes on without its machine");
        self.before = self.new_records();
        self.lines.push(format!("cut {life}: {:.1} s after the first media were seen on the disk", moment.as_secs_f64()));
        self.cut_the_disk(life);
    }

    /// It ends in good order: what is told of it is the judgement of the one before.
    fn last_life(&mut self, life: usize) {
        let mut machine = self.boot(life, &["last"]);
        let ended = machine.wait(Duration::from_secs(LIFE_S + 20));
        assert!(ended.is_some_and(|status| status.success()), "life {life} did not end well: {}", self.said(life));
        self.judge_the_life_before(life);
    }

    fn said(&self, life: usize) -> String {
        fs::read_to_string(self.path(&format!("run-{life}.log"))).unwrap_or_default()
    }

    /// The recordings of the life that has ended, once nothing is added to them.
    fn new_records(&mut self) -> Vec<PathBuf> {
        let records = self.origin.records("bench-a");
        let size = || records.iter().map(|path| path.metadata().map_or(0, |data| data.len())).sum::<u64>();
        let (mut last, mut calm) = (0, 0);
        let still = poll(Duration::from_secs(30), || {
            calm = if size() == last { calm + 1 } else { 0 };
            last = size();
            (calm >= 10).then_some(())
        });
        assert!(still.is_some(), "the origin's recording goes on without the machine");
        let new = records[self.told..].to_vec();
        self.told = records.len();
        new
    }

    /// After a reboot: every closed segment is sound, and the loss is told.
    fn judge_the_life_before(&mut self, life: usize) {
        self.faults.extend(fs::read_to_string(self.path("faults")).unwrap_or_default().lines().map(str::to_owned));
        let _ = fs::remove_file(self.path("faults"));
        if life == 1 {
            return;
        }
        let mut closed: Vec<PathBuf> = fs::read_dir(self.path("closed")).unwrap().flatten().map(|entry| entry.path()).collect();
        closed.sort_by_key(|segment| age(segment));
        for segment in &closed {
            let sound = !self.judged.insert(segment.clone()) || catch_unwind(|| judged(segment)).is_ok();
            if !sound {
                self.faults.push(format!("after cut {}: {} is not sound (see above)", life - 1, segment.display()));
            }
        }
        let log = fs::read_to_string(self.path(&format!("life-{life}.log"))).unwrap_or_default();
        // A cut between two segments, or before a segment's first fragment, leaves nothing to be saved. What should have been and was
        // not shows as a loss: only closed segments are measured.
        let told = |line: &&str| line.contains("archive: saved") || line.contains("holds no picture");
        self.lines.extend(log.lines().filter(told).map(|line| format!("    {}", line.trim())));
        let verified = fs::read_to_string(self.path(&format!("life-{life}.verified"))).unwrap_or_default();
        self.lines.extend(verified.lines().last().map(|line| format!("    verify: {line}")));
        match loss::measure(&self.before, &closed) {
            Ok(loss) => self.tell(life - 1, &loss),
            Err(fault) => self.faults.push(format!("cut {}: {fault}", life - 1)),
        }
    }

    fn tell(&mut self, cut: usize, loss: &Loss) {
        let Loss { pictures, by_time_s, by_count_s, holes } = loss;
        self.lines.push(format!(
            "    {pictures} pictures saved, {holes} missing between them; lost at the end: {by_time_s:.2} s by the origin's times, {by_count_s:.2} s by the count in the picture"
        ));
        let worst = by_time_s.max(*by_count_s);
        self.largest_s = self.largest_s.max(worst);
        if worst > GOAL_S {
            self.faults.push(format!("cut {cut}: {worst:.2} s are lost"));
        }
        if *holes > 0 {
            self.faults.push(format!("cut {cut}: {holes} holes between what was saved"));
        }
    }

    /// Makes the disk what a power cut leaves of it, having looked into cuts at other moments.
    fn cut_the_disk(&mut self, life: usize) {
        let log = fs::read(self.path("writes.log")).unwrap();
        let entries = writelog::parse(&log).unwrap();
        let flushes = writelog::flushes(&entries);
        let disk = fs::File::open(self.path("base.img")).unwrap();
        let known = |at: u64, head: &[u8]| {
            let mut there = vec![0; head.len()];
            disk.read_exact_at(&mut there, at).is_ok() && there == head
        };
        let begun = writelog::fragments_begun(&log, &entries, known);
        let media = begun.first().map_or(0, |begun| begun.entry);
        let later: Vec<usize> = flushes.iter().copied().filter(|flush| *flush > media).collect();
        assert!(later.len() > begun.len() && begun.len() > 2, "{} flushes for {} fragments", later.len(), begun.len());
        let old = stems(&self.left(&log, &[], "base"));
        let mut most_behind = 0;
        let mut cuts: Vec<usize> = (0..CUTS).map(|_| later[self.rng.usize(..later.len())]).collect();
        cuts.push(later[later.len() - 1]);
        for (number, flush) in cuts.iter().enumerate() {
            // Just after the flush, and just before the next one, when others may have been lucky.
            let next = flushes.iter().copied().find(|other| other > flush).unwrap_or(entries.len());
            for (cut, lucky) in [(flush + 1, false), (next, true)] {
                let writes = self.writes(&entries, cut, lucky);
                let saved = self.saved(&self.left(&log, &writes, &format!("cut-{number}-{lucky}")), &old);
                let begun = begun.iter().filter(|begun| begun.entry < cut).count();
                most_behind = most_behind.max(begun.saturating_sub(saved));
                if saved + 1 < begun {
                    self.faults.push(format!(
                        "life {life}, cut at entry {cut} of {}: {begun} fragments were begun and only {saved} are on the disk",
                        entries.len()
                    ));
                }
            }
        }
        self.lines.push(format!(
            "    {} writes and flushes, {} flushes; cut at {} of them, with and without luck: at most {most_behind} of the {} fragments begun not on the disk",
            entries.len(),
            flushes.len(),
            cuts.len(),
            begun.len()
        ));
        fs::rename(self.path("base.img"), self.path("data.img")).unwrap();
        let writes = self.writes(&entries, entries.len(), true);
        image::write(&self.path("data.img"), &log, &writes);
    }

    fn writes(&mut self, entries: &[Entry], cut: usize, lucky: bool) -> Vec<(u64, std::ops::Range<usize>)> {
        writelog::left_by_a_cut(entries, cut, || lucky && self.rng.bool())
    }

    /// The files that such a cut leaves.
    fn left(&self, log: &[u8], writes: &[(u64, std::ops::Range<usize>)], name: &str) -> Vec<PathBuf> {
        let (image, folder) = (self.path("cut.img"), self.path("cuts").join(name));
        let _ = fs::remove_dir_all(&folder);
        image::copy(&self.path("base.img"), &image);
        image::write(&image, log, writes);
        image::unpack(&image, &folder)
    }

    /// Fragments of this life's segments.
    fn saved(&mut self, files: &[PathBuf], old: &BTreeSet<String>) -> usize {
        let mut saved = 0;
        for file in files.iter().filter(|file| stem(file).is_some_and(|stem| !old.contains(&stem))) {
            match image::fragments(file) {
                Ok(fragments) => saved += fragments,
                Err(fault) => self.faults.push(fault),
            }
        }
        saved
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("machine: logs, recordings and disks are in {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn judged(segment: &Path) {
    judge::whole(segment);
    judge::decodes(segment);
}

fn stems(files: &[PathBuf]) -> BTreeSet<String> {
    files.iter().filter_map(|file| stem(file)).collect()
}

/// The name of a segment, open or closed.
fn stem(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    name.strip_suffix(".mp4").or(name.strip_suffix(".mp4.part")).map(str::to_owned)
}

/// By which segments are in order: the second in which one was begun, and which one of that second it is.
fn age(segment: &Path) -> (String, u32) {
    let stem = stem(segment).unwrap_or_default();
    let (second, number) = stem.split_once('-').unwrap_or((&stem, "0"));
    (second.to_owned(), number.parse().unwrap())
}

/// Short segments, so that every life closes some.
fn config(origin: &Origin) -> String {
    format!(
        "version = 1\n[device]\nname = \"bench\"\n[program]\nwidth = 640\nheight = 360\nframerate = \"15\"\nvideo_bitrate = \"800k\"\n\
         keyframe_interval = 1\n[[input]]\nname = \"test\"\nkind = \"test\"\n\
         [archive]\ndirectory = \"/var/lib/onaird/archive\"\nsegment_seconds = 4\nkeep_free = \"0\"\n\
         [[leg]]\nname = \"a\"\n[[leg.origin]]\nurl = \"{}\"\nstream_key = \"bench-a\"\n",
        bench::url_in_guest(origin)
    )
}
