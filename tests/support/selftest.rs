//! The judges judged: a test card made by ffmpeg alone, with faults put in on purpose.

use std::panic::catch_unwind;
use std::path::Path;

use super::support::flv::{Flv, Track};
use super::support::mp4::{Movie, SOUND, VIDEO};
use super::support::{judge, picture, tool};

/// Draws the card with ffmpeg's own means: the bits of the frame count, the flash, the beep, the latter late by so many ms.
fn card(path: &Path, beep_late_ms: u32) {
    let cell = "mod(floor((N+77)/pow(2\\,31-floor(X/20)))\\,2)*255";
    let flash = "gte(X\\,480)*gte(Y\\,180)*lt(Y\\,270)*lt(mod(T\\,1)\\,0.0999)*255";
    let picture = format!("nullsrc=s=640x360:r=30,format=yuv420p,geq=lum='if(lt(Y\\,22)\\,{cell}\\,{flash})':cb=128:cr=128");
    let late = f64::from(beep_late_ms) / 1000.0;
    let beep = format!("aevalsrc='0.25*sin(2*PI*1000*(t-{late}))*lt(mod(t+1-{late}\\,1)\\,0.1)*gte(t\\,0.5)':s=48000");
    let inputs = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &beep, "-t", "4"];
    let video = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "30", "-b:v", "1M"];
    let rest = ["-c:a", "aac", "-f", "flv", "-flvflags", "no_duration_filesize", path.to_str().unwrap()];
    tool("ffmpeg", &[&inputs[..], &video[..], &rest[..]].concat());
}

#[test]
fn a_card_drawn_by_another_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("card.flv");
    card(&file, 0);
    let shots = picture::shots(&file);
    assert_eq!(shots.len(), 120);
    assert!(shots.iter().enumerate().all(|(index, shot)| shot.count == index as u32 + 77), "{shots:?}");
    let flashes = picture::flashes(&shots);
    assert_eq!(flashes.len(), 3, "the first second begins in the middle of nothing: {flashes:?}");
    let offsets = picture::offsets(&flashes, &picture::beeps(&file));
    // ffmpeg's encoder begins 1024 samples early and FLV cannot say so: its times tell.
    assert!(offsets.len() == 3 && offsets.iter().all(|offset| offset.abs() < 0.003), "{offsets:?}");
}

#[test]
fn a_late_beep_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("late.flv");
    card(&file, 40);
    let offsets = picture::offsets(&picture::flashes(&picture::shots(&file)), &picture::beeps(&file));
    assert!(offsets.len() == 3 && offsets.iter().all(|offset| (offset - 0.040).abs() < 0.003), "{offsets:?}");
}

#[test]
fn gaps_and_differences_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("card.flv");
    card(&file, 0);
    let whole = Flv::read(&file);
    assert_eq!((whole.headers(Track::Video).len(), whole.headers(Track::Audio).len()), (1, 1));
    judge::no_gap(&whole.media(Track::Video), 34);
    judge::decodes(&file);

    let mut late = Flv::read(&file);
    late.tags.retain(|tag| tag.track != Track::Video || tag.header || tag.millis >= 1000);
    assert_eq!(judge::same_media(&whole, &late, Track::Video), (90, 30));

    let mut holed = Flv::read(&file);
    let hole = holed.tags.iter().position(|tag| tag.track == Track::Video && tag.millis > 2000).unwrap();
    holed.tags.remove(hole);
    assert!(catch_unwind(|| judge::no_gap(&holed.media(Track::Video), 34)).is_err());
    assert!(catch_unwind(|| judge::same_media(&whole, &holed, Track::Video)).is_err());

    let bytes = std::fs::read(&file).unwrap();
    assert!(Flv::parse(&bytes[..bytes.len() - 7]).is_err() && Flv::parse(b"MP4").is_err());
}

#[test]
fn fragments_that_do_not_hold_together_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let (card, file) = (folder.path().join("card.flv"), folder.path().join("card.mp4"));
    self::card(&card, 0);
    let fragments = ["-c", "copy", "-movflags", "frag_keyframe+empty_moov+default_base_moof", file.to_str().unwrap()];
    tool("ffmpeg", &[&["-nostdin", "-v", "error", "-i", card.to_str().unwrap()], &fragments[..]].concat());
    // ffmpeg closes its file with an index behind the last fragment.
    let mut bytes = std::fs::read(&file).unwrap();
    let index = bytes.windows(4).rposition(|four| four == b"mfra").unwrap() - 4;
    bytes.truncate(index);
    let movie = Movie::parse(&bytes).unwrap();
    assert_eq!((movie.fragments.len(), movie.samples(VIDEO).count(), movie.rest), (4, 120, 0));
    assert!(movie.samples(SOUND).count() > 180 && movie.faults().is_empty(), "{:?}", movie.faults());

    let second = movie.fragments[1].bytes.clone();
    let holed = [&bytes[..second.start], &bytes[second.end..]].concat();
    let faults = Movie::parse(&holed).unwrap().faults();
    assert!(faults.iter().any(|fault| fault.contains("numbered 3")), "{faults:?}");
    let ticks = f64::from(movie.track(VIDEO).scale);
    assert_eq!((movie.gap(VIDEO), movie.gap(SOUND)), (0, 0));
    assert!((Movie::parse(&holed).unwrap().gap(VIDEO) as f64 / ticks - 1.0).abs() < 0.001);

    let torn = Movie::parse(&bytes[..second.end - 1]).unwrap();
    assert_eq!((torn.fragments.len(), torn.rest), (1, second.len() - 1));
    assert!(Movie::parse(b"no film").is_err() && Movie::parse(&bytes[second.start..]).is_err());
}
