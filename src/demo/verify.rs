//! Judges from outside: ffprobe says what an origin serves, ffmpeg whether a recording decodes.
//!
//! Nothing of the house's own code takes part in a verdict. Every judge has a time limit and ends with its question.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// For looking at a stream.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// For decoding a recording: much faster than it was made.
const DECODE_LIMIT: Duration = Duration::from_secs(600);

/// Between two looks at a stream that does not serve yet.
const RETRY: Duration = Duration::from_millis(500);

/// One thing that must be so, and whether it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub what: String,
    /// What was found, or what is wrong.
    pub result: Result<String, String>,
}

impl Check {
    pub fn new(what: impl Into<String>, result: Result<String, String>) -> Self {
        Self { what: what.into(), result }
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.result {
            Ok(found) => write!(f, "ok      {}: {found}", self.what),
            Err(fault) => write!(f, "FAILED  {}: {fault}", self.what),
        }
    }
}

/// Whether H.264 and AAC can be played from `url` (or a file); asked again until `limit`, for a playlist needs its first segment.
pub async fn serves(url: &str, limit: Duration) -> Check {
    let mut last = "not asked".to_string();
    let asking = async {
        loop {
            match codecs(url).await {
                Ok(found) => break found,
                Err(fault) => last = fault,
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    let result = timeout(limit, asking).await;
    Check::new(url, result.map_err(|_| format!("after {} s still {last}", limit.as_secs())))
}

/// What ffprobe finds, if it is H.264 and AAC.
async fn codecs(url: &str) -> Result<String, String> {
    let entries = "stream=codec_name,width,height,sample_rate";
    let output = run("ffprobe", &["-v", "error", "-show_entries", entries, "-of", "csv=p=0", url], PROBE_LIMIT).await?;
    let mut found: Vec<_> = output.lines().filter(|line| !line.trim().is_empty()).map(str::trim).collect();
    found.sort_unstable();
    // HLS lists its streams twice: as the playlist's and as the program's.
    found.dedup();
    let has = |codec: &str| found.iter().any(|line| line.split(',').next() == Some(codec));
    match has("h264") && has("aac") {
        true => Ok(found.join(" + ")),
        false => Err(format!("{:?} instead of h264 and aac", found.join(" + "))),
    }
}

/// Whether every frame of a recording decodes without a word of complaint.
pub async fn decodes(path: &Path) -> Check {
    let text = path.display().to_string();
    // Time stamps as they are: nothing doubled or dropped to make the rate constant, nothing rounded to it.
    let as_they_are = ["-fps_mode", "passthrough", "-enc_time_base:v", "1:90000"];
    let mut arguments = vec!["-nostdin", "-v", "error", "-xerror", "-i", &text];
    arguments.extend(as_they_are);
    arguments.extend(["-f", "null", "-"]);
    let decoded = run("ffmpeg", &arguments, DECODE_LIMIT).await;
    let result = match decoded {
        Ok(_) => codecs(&text).await.map(|found| format!("decodes without an error; {found}")),
        Err(fault) => Err(fault),
    };
    Check::new(text, result)
}

/// Whether there are recordings below `folder`, and all of them decode.
pub async fn recordings_decode(folder: &Path) -> Vec<Check> {
    let files = recordings(folder);
    if files.is_empty() {
        return vec![Check::new(folder.display().to_string(), Err("no recording in it".into()))];
    }
    let mut checks = Vec::new();
    for file in files {
        checks.push(decodes(&file).await);
    }
    checks
}

/// The MP4 files below `folder`, in the order of their names.
pub fn recordings(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let below = |path: PathBuf| if path.is_dir() { recordings(&path) } else { vec![path] };
    let files = entries.flatten().flat_map(|entry| below(entry.path()));
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "mp4")).collect();
    // Of two segments of one second the one without a number is the older.
    files.sort_by_key(|path| path.with_extension(""));
    files
}

/// Runs a judge to its end; what it complains of is an error, even if it says that it succeeded.
async fn run(program: &str, arguments: &[&str], limit: Duration) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(limit, command.output()).await;
    let output = ended.map_err(|_| format!("{program} did not end within {} s", limit.as_secs()))?;
    let output = output.map_err(|error| format!("{program} cannot be run ({error}); `tools/install-deps test` installs it"))?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    match output.status.success() && complaint.is_empty() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false if complaint.is_empty() => Err(format!("{program} failed ({})", output.status)),
        false => Err(complaint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::origin::{Origin, Wishes};

    /// A moving picture with a tone, as arguments for ffmpeg.
    const PICTURE_AND_TONE: &str = "-re -f lavfi -i testsrc2=size=320x180:rate=30 -f lavfi -i sine=frequency=1000:sample_rate=48000 \
        -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 30 -c:a aac";

    fn push(origin: &Origin, key: &str) -> std::process::Child {
        let url = origin.rtmp_url(key);
        let arguments = PICTURE_AND_TONE.split_whitespace().chain(["-f", "flv", &url]);
        let mut command = std::process::Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error"]).args(arguments).spawn().unwrap()
    }

    #[tokio::test]
    async fn an_origin_serves_what_is_pushed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin::start(folder.path(), Wishes { hls: true, record: true }).unwrap();
        let mut pushing = push(&origin, "one");
        let limit = Duration::from_secs(60);
        let (rtmp, hls) = (origin.rtmp_url("one"), origin.hls_url("one"));
        let checks = [serves(&rtmp, limit).await, serves(&hls, limit).await];
        let missing = serves(&origin.hls_url("two"), Duration::from_secs(2)).await;
        pushing.kill().unwrap();
        pushing.wait().unwrap();
        assert!(checks.iter().all(|check| check.result.is_ok()), "{checks:?}");
        assert!(checks[0].result.as_ref().is_ok_and(|found| found == "aac,48000 + h264,320,180"), "{checks:?}");
        assert!(missing.to_string().starts_with("FAILED  http://127.0.0.1:"), "{missing}");
        assert_eq!(origin.records("one").len(), 1);
    }

    #[tokio::test]
    async fn a_good_recording_passes_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(recordings_decode(folder.path()).await[0].result.as_ref().unwrap_err().contains("no recording"));
        let good = folder.path().join("good.mp4");
        let mut arguments: Vec<_> = PICTURE_AND_TONE.split_whitespace().filter(|word| *word != "-re").collect();
        let name = good.display().to_string();
        arguments.extend(["-t", "2", &name]);
        run("ffmpeg", &[&["-nostdin", "-v", "error"], &arguments[..]].concat(), DECODE_LIMIT).await.unwrap();
        assert!(decodes(&good).await.result.is_ok());
        let mut bytes = std::fs::read(&good).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle..middle + 2000].fill(0x55);
        std::fs::create_dir(folder.path().join("day")).unwrap();
        std::fs::write(folder.path().join("day/bad.mp4"), bytes).unwrap();
        let checks = recordings_decode(folder.path()).await;
        assert_eq!(checks.iter().map(|check| check.result.is_ok()).collect::<Vec<_>>(), [false, true], "{checks:?}");
    }
}
