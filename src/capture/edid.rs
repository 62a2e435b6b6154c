//! What the box tells a source about itself: the built-in EDID, made here byte by byte, and the check of a user's own. Pure.
//!
//! ```text
//!   block 0  EDID 1.3: who, sRGB primaries, the preferred timing in full, limits      (VESA E-EDID, release A)
//!   block 1  CTA-861: timings by code, stereo LPCM, speakers, HDMI's vendor block     (CTA-861, HDMI 1.4)
//! ```
//!
//! It offers what every receiver takes that takes 1080p60: no deep colour, no 4:2:0, nothing compressed. A source that gets this
//! sends a picture that can be shown, and two channels of PCM; for anything else there is the user's file.

use thiserror::Error;

/// Bytes of a block.
pub const BLOCK: usize = 128;

const HEADER: [u8; 8] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];

/// A timing in full, as CTA-861 defines it under its code: sizes in pixels and lines, horizontal and vertical.
struct Mode {
    /// Video identification code.
    code: u8,
    fps: f64,
    clock_khz: u32,
    /// Active, front porch, sync, back porch.
    across: [u16; 4],
    down: [u16; 4],
}

const fn full_hd(code: u8, fps: f64, clock_khz: u32, front_porch: u16) -> Mode {
    Mode { code, fps, clock_khz, across: [1920, front_porch, 44, 148], down: [1080, 4, 5, 36] }
}

const fn hd(code: u8, fps: f64, front_porch: u16) -> Mode {
    Mode { code, fps, clock_khz: 74_250, across: [1280, front_porch, 40, 220], down: [720, 5, 5, 20] }
}

/// What may be preferred; the first one is unless the program says otherwise.
const MODES: [Mode; 7] = [
    full_hd(16, 60.0, 148_500, 88),
    full_hd(31, 50.0, 148_500, 528),
    full_hd(34, 30.0, 74_250, 88),
    full_hd(33, 25.0, 74_250, 528),
    full_hd(32, 24.0, 74_250, 638),
    hd(4, 60.0, 110),
    hd(19, 50.0, 440),
];

/// Taken too, never preferred: 1080i60 and 50, 576p and 480p in both shapes, 640x480.
const ALSO: [u8; 7] = [5, 20, 18, 17, 3, 2, 1];

/// The name that sources show for it.
const NAME: &[u8; 13] = b"onair\n       ";

/// The built-in EDID, preferring the timing that suits a program of this size and rate best.
///
/// That is its own timing, else twice its rate (every second picture is used), else 1080p60.
pub fn built_in(width: u32, height: u32, fps: f64) -> Vec<u8> {
    let preferred = preferred(width, height, fps);
    let second = if preferred.code == MODES[0].code { &MODES[5] } else { &MODES[0] };
    let mut edid = base_block(preferred, second);
    edid.extend(extension(preferred));
    edid
}

fn preferred(width: u32, height: u32, fps: f64) -> &'static Mode {
    // 59.94 and 60 Hz are one code.
    let runs_at = |mode: &Mode, fps: f64| (mode.fps / fps - 1.0).abs() < 0.002;
    let sized = |mode: &&Mode| (u32::from(mode.across[0]), u32::from(mode.down[0])) == (width, height);
    let by_rate = |rate: f64| MODES.iter().filter(sized).find(|mode| runs_at(mode, rate));
    by_rate(fps).or_else(|| by_rate(2.0 * fps)).unwrap_or(&MODES[0])
}

fn base_block(preferred: &Mode, second: &Mode) -> Vec<u8> {
    let mut block = HEADER.to_vec();
    block.extend(manufacturer(b"LNX")); // the Linux Foundation's: a box of no registered maker
    block.extend([0x4f, 0x41, 0, 0, 0, 0]); // product; no serial number, so that a source knows every box again as the same
    block.extend([0, 36]); // made in 2026, no week
    block.extend([1, 3]); // version
    block.extend([0x80, 0, 0, 120]); // digital; no size, for there is no screen; gamma 2.2
    block.push(0x0e); // RGB in colour, sRGB, the first timing is the preferred one
    block.extend([0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]); // primaries of sRGB, which are those of BT.709
    block.extend([0x20, 0, 0]); // established timings: 640x480 at 60 Hz
    block.extend([1; 16]); // no standard timings
    block.extend(detailed(preferred));
    block.extend(detailed(second));
    block.extend([0, 0, 0, 0xfc, 0]);
    block.extend(NAME);
    // Limits: 23 to 61 Hz, 15 to 68 kHz, 150 MHz.
    block.extend([0, 0, 0, 0xfd, 0, 23, 61, 15, 68, 15, 0, 0x0a, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20]);
    block.push(1); // extensions
    sealed(block)
}

/// Three letters in five bits each.
fn manufacturer(letters: &[u8; 3]) -> [u8; 2] {
    letters.iter().fold(0u16, |word, letter| word << 5 | u16::from(letter - b'@')).to_be_bytes()
}

/// Detailed timing descriptor: digital separate sync, both positive, as all of [`MODES`] have it.
fn detailed(mode: &Mode) -> [u8; 18] {
    let low = |value: u16| value.to_le_bytes()[0];
    let high = |value: u16| value.to_le_bytes()[1];
    let blank = |part: &[u16; 4]| part[1] + part[2] + part[3];
    let ([width, across_front, across_sync, _], [height, down_front, down_sync, _]) = (mode.across, mode.down);
    let (across_blank, down_blank) = (blank(&mode.across), blank(&mode.down));
    let [clock_low, clock_high] = ((mode.clock_khz / 10) as u16).to_le_bytes();
    [
        clock_low,
        clock_high,
        low(width),
        low(across_blank),
        high(width) << 4 | high(across_blank),
        low(height),
        low(down_blank),
        high(height) << 4 | high(down_blank),
        low(across_front),
        low(across_sync),
        low(down_front) << 4 | low(down_sync),
        high(across_front) << 6 | high(across_sync) << 4,
        0, // no size
        0,
        0,
        0, // no border
        0,
        0x1e,
    ]
}

fn extension(preferred: &Mode) -> Vec<u8> {
    const AUDIO: u8 = 1;
    const VIDEO: u8 = 2;
    const VENDOR: u8 = 3;
    const SPEAKERS: u8 = 4;
    const EXTENDED: u8 = 7;
    let others = MODES.iter().map(|mode| mode.code).filter(|code| *code != preferred.code);
    let codes: Vec<_> = [preferred.code].into_iter().chain(others).chain(ALSO).collect();
    let blocks = [
        data_block(VIDEO, &codes),
        data_block(AUDIO, &[1 << 3 | (2 - 1), 0b111, 0b111]), // LPCM, two channels: 32, 44.1, 48 kHz; 16, 20, 24 bit
        data_block(SPEAKERS, &[1, 0, 0]),                     // left and right
        // HDMI, at address 1.0.0.0; no further features, and at most 150 MHz.
        data_block(VENDOR, &[0x03, 0x0c, 0x00, 0x10, 0x00, 0, 30]),
        // Video capability: the source may choose its range if it says which, and the whole picture is seen.
        data_block(EXTENDED, &[0, 0b1100_1010]),
    ]
    .concat();
    // Revision 3; whole picture, basic audio, YCbCr 4:4:4 and 4:2:2, one native timing. Detailed timings would follow the blocks.
    let mut block = vec![2, 3, 4 + blocks.len() as u8, 0xf1];
    block.extend(blocks);
    sealed(block)
}

fn data_block(tag: u8, payload: &[u8]) -> Vec<u8> {
    let mut block = vec![tag << 5 | payload.len() as u8];
    block.extend(payload);
    block
}

/// A block of full length, ending in what makes the sum of its bytes 0.
fn sealed(mut block: Vec<u8>) -> Vec<u8> {
    block.resize(BLOCK - 1, 0);
    block.push(checksum(&block));
    block
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// What is wrong with a user's EDID.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    #[error(
        "the file has {0} bytes; an EDID has 128 for each of 1 to 256 blocks (is it a hex dump? `xxd -r -p` makes it binary)"
    )]
    Length(usize),
    #[error(
        "the file does not begin with 00 ff ff ff ff ff ff 00; it is no EDID (is it a hex dump? `xxd -r -p` makes it binary)"
    )]
    Header,
    #[error(
        "block {block} ends with the checksum {got:02x} instead of {want:02x}; the file is damaged or was edited: `edid-decode` tells where"
    )]
    Checksum { block: usize, got: u8, want: u8 },
    #[error("byte 126 announces {told} extension blocks, the file has {there}; copy the whole EDID again")]
    Extensions { told: usize, there: usize },
}

/// A user's EDID, if a source can be given it.
pub fn read(bytes: &[u8]) -> Result<&[u8], Fault> {
    let blocks = bytes.len() / BLOCK;
    if !bytes.len().is_multiple_of(BLOCK) || !(1..=256).contains(&blocks) {
        return Err(Fault::Length(bytes.len()));
    }
    if !bytes.starts_with(&HEADER) {
        return Err(Fault::Header);
    }
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        let (got, want) = (block[BLOCK - 1], checksum(&block[..BLOCK - 1]));
        if got != want {
            return Err(Fault::Checksum { block: number, got, want });
        }
    }
    let (told, there) = (usize::from(bytes[126]), blocks - 1);
    // An HDMI 2.1 screen with many blocks announces one, for old sources, and tells the true count inside of it.
    if told != there && override_count(bytes) != Some(there) {
        return Err(Fault::Extensions { told, there });
    }
    Ok(bytes)
}

/// Whether a receiver has this EDID already.
///
/// The physical address does not count: drivers put in the one that the connector has on the CEC bus.
pub fn is_same(present: &[u8], wanted: &[u8]) -> bool {
    present.len() == wanted.len() && without_address(present) == without_address(wanted)
}

/// The EDID with the address of HDMI's vendor blocks, and so the checksum of their blocks, set to 0.
fn without_address(edid: &[u8]) -> Vec<u8> {
    let mut edid = edid.to_vec();
    for block in edid.chunks_exact_mut(BLOCK).skip(1) {
        if let Some(at) = address_in(block) {
            [at, at + 1, BLOCK - 1].iter().for_each(|at| block[*at] = 0);
        }
    }
    edid
}

/// Where the physical address is in a CTA extension.
fn address_in(block: &[u8]) -> Option<usize> {
    const VENDOR: u8 = 3;
    const HDMI: [u8; 3] = [0x03, 0x0c, 0x00];
    let end = usize::from(*block.get(2).filter(|_| block[0] == 2)?).min(BLOCK - 1);
    let mut at = 4;
    while at + 6 <= end {
        if block[at] >> 5 == VENDOR && block[at + 1..at + 4] == HDMI {
            return Some(at + 4);
        }
        at += 1 + usize::from(block[at] & 0x1f);
    }
    None
}

/// The count in HDMI's extension override block, which must be the first one of the CTA extension.
fn override_count(bytes: &[u8]) -> Option<usize> {
    const EXTENDED_TAG: u8 = 7;
    const OVERRIDE: u8 = 0x78;
    let extension = bytes.chunks(BLOCK).nth(1).filter(|block| block[0] == 2)?;
    let (tag, length) = (extension[4] >> 5, extension[4] & 0x1f);
    ((tag, length, extension[5]) == (EXTENDED_TAG, 2, OVERRIDE)).then_some(usize::from(extension[6]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    const CASES: [((u32, u32, f64), u8); 12] = [
        ((1920, 1080, 60.0), 16),
        ((1920, 1080, 60_000.0 / 1001.0), 16),
        ((1920, 1080, 50.0), 31),
        ((1920, 1080, 30.0), 34),
        ((1920, 1080, 25.0), 33),
        ((1920, 1080, 24_000.0 / 1001.0), 32),
        ((1280, 720, 60.0), 4),
        ((1280, 720, 30_000.0 / 1001.0), 4),
        ((1280, 720, 25.0), 19),
        ((640, 360, 30.0), 16),
        ((3840, 2160, 30.0), 16),
        ((1280, 720, 15.0), 16),
    ];

    #[test]
    fn the_preferred_timing_is_the_program_s() {
        for ((width, height, fps), code) in CASES {
            assert_eq!(preferred(width, height, fps).code, code, "{width}x{height} {fps}");
        }
    }

    /// The clock divided by all pixels of a frame is the rate.
    #[test]
    fn every_timing_adds_up() {
        for mode in MODES {
            let pixels = mode.across.iter().sum::<u16>() as f64 * mode.down.iter().sum::<u16>() as f64;
            let fps = f64::from(mode.clock_khz) * 1000.0 / pixels;
            assert!((fps - mode.fps).abs() < 1e-9, "code {}: {fps}", mode.code);
        }
    }

    #[test]
    fn what_is_built_in_is_read_back() {
        for ((width, height, fps), _) in CASES {
            let edid = built_in(width, height, fps);
            assert_eq!((read(&edid), edid.len()), (Ok(&edid[..]), 256));
        }
    }

    /// The judgement of somebody else: `edid-decode --check` of the V4L2 tools.
    fn decoded(edid: &[u8]) -> String {
        let mut child = Command::new("edid-decode")
            .args(["--check", "--long-timings", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("edid-decode is needed here: tools/install-deps test");
        child.stdin.take().unwrap().write_all(edid).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn an_independent_decoder_finds_everything_and_no_fault() {
        for ((width, height, fps), _) in CASES {
            let text = decoded(&built_in(width, height, fps));
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains("EDID conformity: PASS") && !text.contains("Warnings"), "{text}");
            for expected in [
                "Display Product Name: 'onair'",
                "1920x1080 60.000000 Hz",
                "1920x1080 50.000000 Hz",
                "1920x1080 30.000000 Hz",
                "1920x1080 25.000000 Hz",
                "1280x720 60.000000 Hz",
                "1280x720 50.000000 Hz",
                "720x576 50.000000 Hz",
                "720x480 59.940060 Hz",
                "640x480 59.940476 Hz",
                "Linear PCM",
                "Max channels: 2",
                "Supported sample rates (kHz): 48 44.1 32",
                "Supported sample sizes (bits): 24 20 16",
                "Supports YCbCr 4:4:4",
                "Supports YCbCr 4:2:2",
                "Vendor-Specific Data Block (HDMI), OUI 00-0C-03",
                "Source physical address: 1.0.0.0",
            ] {
                assert!(text.contains(expected), "no \"{expected}\" in\n{text}");
            }
        }
    }

    #[test]
    fn the_decoder_finds_the_preferred_timing_first() {
        let text = decoded(&built_in(1280, 720, 25.0));
        let first = text.lines().find(|line| line.trim_start().starts_with("DTD 1:")).unwrap_or_default();
        assert!(first.contains("1280x720") && first.contains("50.000"), "{text}");
    }

    #[test]
    fn a_user_s_file_is_told_what_is_wrong() {
        let good = built_in(1920, 1080, 60.0);
        let spoiled = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            bytes
        };
        let cut = sealed(good[..BLOCK - 1].to_vec());
        let table = [
            (good[..200].to_vec(), "the file has 200 bytes; an EDID has 128"),
            (vec![], "the file has 0 bytes"),
            (spoiled(0), "the file does not begin with 00 ff"),
            (spoiled(200), "block 1 ends with the checksum"),
            (spoiled(127), "block 0 ends with the checksum"),
            (cut, "byte 126 announces 1 extension blocks, the file has 0"),
        ];
        for (bytes, want) in table {
            let got = read(&bytes).unwrap_err().to_string();
            assert!(got.starts_with(want), "{got}\n{want}");
        }
    }

    #[test]
    fn a_screen_with_many_blocks_may_announce_one() {
        let base = built_in(1920, 1080, 60.0)[..BLOCK].to_vec();
        let extension = sealed(vec![2, 3, 7, 0, 7 << 5 | 2, 0x78, 3]);
        let other = sealed(vec![0x70]);
        let whole = [base.clone(), extension.clone(), other.clone(), other.clone()].concat();
        assert!(read(&whole).is_ok());
        let short = [base, extension, other].concat();
        assert_eq!(read(&short), Err(Fault::Extensions { told: 1, there: 2 }));
    }

    #[test]
    fn the_address_alone_makes_no_other_edid() {
        let ours = built_in(1920, 1080, 60.0);
        let at = BLOCK + address_in(&ours[BLOCK..]).unwrap();
        assert_eq!(ours[at..at + 2], [0x10, 0x00]);
        let changed = |place: usize, value: u8| {
            let mut extension = ours[BLOCK..2 * BLOCK - 1].to_vec();
            extension[place - BLOCK] = value;
            [ours[..BLOCK].to_vec(), sealed(extension)].concat()
        };
        assert!(is_same(&ours, &ours) && is_same(&changed(at, 0x32), &ours) && is_same(&changed(at + 1, 0x10), &ours));
        assert!(!is_same(&changed(at + 2, 1), &ours) && !is_same(&ours[..BLOCK], &ours) && !is_same(&[], &ours));
    }

    proptest! {
        #[test]
        fn a_sealed_block_sums_to_zero_and_one_changed_byte_is_found(
            bytes in prop::collection::vec(any::<u8>(), BLOCK - 1), at in 8usize..BLOCK, change in 1u8..
        ) {
            let block = sealed(bytes);
            prop_assert_eq!(block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
            let mut edid = built_in(1920, 1080, 60.0);
            edid[at] ^= change;
            let faulty = matches!(read(&edid), Err(Fault::Checksum { block: 0, .. }));
            prop_assert!(faulty);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), headed in any::<bool>()) {
            let mut bytes = bytes;
            if headed && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(&HEADER);
            }
            let _ = read(&bytes);
            prop_assert!(is_same(&bytes, &bytes));
        }
    }
}
