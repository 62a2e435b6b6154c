//! As much of HLS, HTTP and MPEG-TS as it takes to see the newest pictures of a playlist. Pure: text and bytes in, words out.
//!
//! A request is for one answer, after which the connection ends; so an answer is read as it comes, for as long as it is wanted.
//! It refuses what it would misread: encrypted segments and segments that are parts of a file. Of several renditions it takes
//! the one with the highest bit rate, which is the one most likely to be passed on as it was sent.

use std::time::Duration;

/// Longer heads of an answer are nonsense.
const MAX_HEAD: usize = 16 << 10;

const PACKET: usize = 188;
const SYNC: u8 = 0x47;

/// `http[s]://host[:port]/path`. It may hold a password: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub secure: bool,
    pub host: String,
    pub port: u16,
    /// With its query; begins with `/`.
    path: String,
}

impl Address {
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (authority, if secure { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let odd = |c: char| c.is_whitespace() || c.is_control() || "@/\\".contains(c);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let fits = !host.is_empty() && !host.contains(odd) && !path.contains(|c: char| c.is_whitespace() || c.is_control());
        fits.then(|| Self { secure, host: host.into(), port, path })
    }

    /// What a playlist or an answer from here refers to.
    pub fn join(&self, reference: &str) -> Option<Self> {
        if reference.contains("://") {
            return Self::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", if self.secure { "https" } else { "http" }));
        }
        let bare = self.path.split('?').next().unwrap_or_default();
        let path = match reference.chars().next()? {
            '/' => reference.to_owned(),
            '?' => format!("{bare}{reference}"),
            _ => format!("{}/{reference}", bare.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
        let path = format!("{}{query}", without_dots(path));
        let odd = path.contains(|c: char| c.is_whitespace() || c.is_control());
        (!odd).then(|| Self { path: path.split('#').next().unwrap_or_default().to_owned(), ..self.clone() })
    }

    pub fn request(&self) -> String {
        let brackets = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!(
            "GET {} HTTP/1.1\r\nHost: {}{}{}:{}\r\nUser-Agent: onaird/{}\r\nAccept: */*\r\nCache-Control: no-cache\r\n\
             Connection: close\r\n\r\n",
            self.path,
            brackets.0,
            self.host,
            brackets.1,
            self.port,
            env!("CARGO_PKG_VERSION")
        )
    }
}

fn without_dots(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// An answer, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Vec<u8>,
    /// All of the body is there; never, where only the end of the connection tells.
    pub complete: bool,
}

/// Reads what has come so far; `None` as long as the head is not complete, an error if it never will be.
pub fn answer(bytes: &[u8]) -> Result<Option<Answer>, String> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD { Err("its answer is not HTTP".into()) } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().filter(|line| line.starts_with("HTTP/1.")).and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or("its answer is not HTTP")?;
    let fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let field = |name: &str| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    let raw = &bytes[end + 4..];
    let chunked = field("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"));
    let (body, complete) = match field("content-length").and_then(|length| length.parse().ok()) {
        _ if chunked => joined(raw),
        Some(length) => (raw[..raw.len().min(length)].to_vec(), raw.len() >= length),
        None => (raw.to_vec(), false),
    };
    Ok(Some(Answer { status, location: field("location").map(str::to_owned), body, complete }))
}

/// A body in chunks, and whether its end is there.
fn joined(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&raw[..end]).ok().and_then(|line| line.split(';').next());
        match size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok()) {
            None | Some(0) => return (body, true),
            Some(size) => {
                let rest = &raw[end + 2..];
                body.extend_from_slice(&rest[..rest.len().min(size)]);
                raw = rest.get(size.saturating_add(2)..).unwrap_or_default();
            }
        }
    }
    (body, false)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Playlist {
    /// Leads to other playlists; the best one of them.
    Renditions(String),
    Segments {
        /// The longest that a segment lasts.
        target: Duration,
        newest: String,
    },
}

pub fn playlist(text: &str) -> Result<Playlist, String> {
    if !text.trim_start_matches('\u{feff}').starts_with("#EXTM3U") {
        return Err("what it serves is not a playlist".into());
    }
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let tagged = |tag: &str| lines.iter().filter_map(|line| line.strip_prefix(tag)).map(str::to_owned).collect::<Vec<_>>();
    if let Some(best) = best_rendition(&lines) {
        return Ok(Playlist::Renditions(best));
    }
    if tagged("#EXT-X-KEY:").iter().any(|key| !key.contains("METHOD=NONE")) {
        return Err("its segments are encrypted; give a playlist without encryption".into());
    }
    if !tagged("#EXT-X-BYTERANGE:").is_empty() {
        return Err("its segments are parts of one file, which is not supported".into());
    }
    let target = tagged("#EXT-X-TARGETDURATION:").first().and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(6);
    let newest = lines.iter().rev().find(|line| !line.is_empty() && !line.starts_with('#'));
    let newest = newest.ok_or("its playlist has no segment yet")?;
    Ok(Playlist::Segments { target: Duration::from_secs(u64::min(target, 60)), newest: (*newest).to_owned() })
}

fn best_rendition(lines: &[&str]) -> Option<String> {
    let rate = |line: &str| {
        let rate = line.strip_prefix("#EXT-X-STREAM-INF:")?.split(',').find_map(|field| field.trim().strip_prefix("BANDWIDTH="));
        Some(rate.and_then(|rate| rate.parse().ok()).unwrap_or(0u64))
    };
    let next_uri = |after: usize| lines[after..].iter().find(|line| !line.is_empty() && !line.starts_with('#'));
    let renditions = lines.iter().enumerate().filter_map(|(index, line)| Some((rate(line)?, next_uri(index + 1)?)));
    renditions.max_by_key(|(rate, _)| *rate).map(|(_, uri)| (*uri).to_owned())
}

/// Whether these are packets of MPEG-TS; else, in HLS, it is MP4.
pub fn is_ts(bytes: &[u8]) -> bool {
    bytes.first() == Some(&SYNC) && bytes.get(PACKET).is_none_or(|byte| *byte == SYNC)
}

/// The payload of each elementary stream of a segment, its packets joined.
pub fn elementary(segment: &[u8]) -> Vec<Vec<u8>> {
    let mut streams: Vec<(u16, Vec<u8>)> = Vec::new();
    for packet in segment.chunks_exact(PACKET).filter(|packet| packet[0] == SYNC) {
        let id = u16::from_be_bytes([packet[1] & 0x1F, packet[2]]);
        let (adaptation, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let start = 4 + if adaptation { 1 + usize::from(packet[4]) } else { 0 };
        let Some(payload) = packet.get(start..).filter(|_| has_payload) else { continue };
        match streams.iter_mut().find(|(known, _)| *known == id) {
            Some((_, stream)) => stream.extend_from_slice(payload),
            None => streams.push((id, payload.to_vec())),
        }
    }
    streams.into_iter().map(|(_, stream)| stream).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(address: &Address) -> String {
        format!("{} {}:{}{}", address.secure, address.host, address.port, address.path)
    }

    #[test]
    fn addresses_are_read_and_joined() {
        let table = [
            ("http://h/a.m3u8", "false h:80/a.m3u8"),
            ("HTTPS://h:8443/live/a.m3u8?x=/y#z", "true h:8443/live/a.m3u8?x=/y"),
            ("https://[::1]/a", "true ::1:443/a"),
            ("https://[::1]:99/a", "true ::1:99/a"),
            ("http://h?x", "false h:80/?x"),
        ];
        for (url, want) in table {
            assert_eq!(text(&Address::parse(url).unwrap()), want, "{url}");
        }
        for odd in ["", "h/a", "ftp://h/a", "http:///a", "http://h:x/a", "http://u:p@h/a", "http://h/a b", "http://h/a\r\nb"] {
            assert!(Address::parse(odd).is_none(), "{odd}");
        }
        let base = Address::parse("https://h/live/x/a.m3u8?token=1").unwrap();
        let table = [
            ("b.ts", "true h:443/live/x/b.ts"),
            ("../b.ts?q=1/..", "true h:443/live/b.ts?q=1/.."),
            ("./y/b.ts", "true h:443/live/x/y/b.ts"),
            ("/b.ts", "true h:443/b.ts"),
            ("?v=2", "true h:443/live/x/a.m3u8?v=2"),
            ("//cdn/b.ts", "true cdn:443/b.ts"),
            ("http://cdn:81/b.ts", "false cdn:81/b.ts"),
            ("../../../../b.ts", "true h:443/b.ts"),
        ];
        for (reference, want) in table {
            assert_eq!(text(&base.join(reference).unwrap()), want, "{reference}");
        }
        assert!(base.join("").is_none() && base.join("b\r\nc").is_none());
        assert!(Address::parse("http://[::1]:81/a?b").unwrap().request().starts_with("GET /a?b HTTP/1.1\r\nHost: [::1]:81\r\n"));
    }

    #[test]
    fn answers_are_read_as_they_come() {
        let sized = b"HTTP/1.1 200 OK\r\nContent-length: 5\r\n\r\nhello";
        for cut in 0..sized.len() {
            match answer(&sized[..cut]).unwrap() {
                None => assert!(cut < 38),
                Some(answer) => assert!(!answer.complete && b"hello".starts_with(&answer.body[..])),
            }
        }
        let whole = answer(sized).unwrap().unwrap();
        assert_eq!((whole.status, whole.complete, &whole.body[..]), (200, true, &b"hello"[..]));
        let open = answer(b"HTTP/1.0 404 x\r\n\r\nno").unwrap().unwrap();
        assert_eq!((open.status, open.complete), (404, false));
        let moved = answer(b"HTTP/1.1 302 x\r\nLOCATION: /b.m3u8\r\n\r\n").unwrap().unwrap();
        assert_eq!(moved.location.as_deref(), Some("/b.m3u8"));
        assert!(answer(b"SSH-2.0\r\n\r\n").is_err() && answer(&[7; MAX_HEAD + 1]).is_err());
    }

    #[test]
    fn chunks_are_joined() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let table = [
            ("5\r\nhello\r\n3;x=y\r\n, y\r\n0\r\n\r\n", "hello, y", true),
            ("5\r\nhello\r\n3\r\n,", "hello,", false),
            ("5\r\nhello\r", "hello", false),
            ("5", "", false),
            ("zz\r\nx", "", true),
            ("ffffffffffffffff\r\nab", "ab", false),
        ];
        for (raw, body, complete) in table {
            let answer = answer(format!("{head}{raw}").as_bytes()).unwrap().unwrap();
            assert_eq!((String::from_utf8(answer.body).unwrap().as_str(), answer.complete), (body, complete), "{raw:?}");
        }
    }

    #[test]
    fn playlists_lead_to_the_newest_segment() {
        let media = "#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n#EXTINF:4,\r\na-1.ts\r\n#EXTINF:4,\r\na-2.ts?x\r\n\r\n";
        let want = Playlist::Segments { target: Duration::from_secs(4), newest: "a-2.ts?x".into() };
        assert_eq!(playlist(media), Ok(want.clone()));
        assert_eq!(playlist(&media.replace("#EXTM3U\r\n", "#EXTM3U\r\n#EXT-X-KEY:METHOD=NONE\r\n")), Ok(want));
        let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=500000\nlow.m3u8\n\n#EXT-X-STREAM-INF:CODECS=\"a,b\",BANDWIDTH=4000000\n\
            # note\nhigh.m3u8\n";
        assert_eq!(playlist(master), Ok(Playlist::Renditions("high.m3u8".into())));
        let table = [
            ("<html>", "not a playlist"),
            ("#EXTM3U\n#EXT-X-TARGETDURATION:4\n", "no segment yet"),
            ("#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\na.ts", "encrypted"),
            ("#EXTM3U\n#EXT-X-BYTERANGE:100@0\na.mp4", "parts of one file"),
        ];
        for (text, words) in table {
            assert!(playlist(text).unwrap_err().contains(words), "{text}");
        }
    }

    #[test]
    fn packets_are_joined_by_their_stream() {
        let packet = |id: u16, adaptation: &[u8], byte: u8| {
            let mut packet = vec![byte; PACKET];
            packet[..4].copy_from_slice(&[SYNC, (id >> 8) as u8, id as u8, if adaptation.is_empty() { 0x10 } else { 0x30 }]);
            packet[4..4 + adaptation.len()].copy_from_slice(adaptation);
            packet
        };
        let segment = [packet(256, &[], 1), packet(257, &[], 2), packet(256, &[3, 0, 0, 0], 3), packet(256, &[200], 4)].concat();
        let streams = elementary(&segment);
        assert!(is_ts(&segment) && !is_ts(b"\0\0\0\x18ftyp"));
        assert_eq!(streams, [[vec![1; 184], vec![3; 180]].concat(), vec![2; 184]]);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(#EXT[A-Z:-]{0,20}|[a-z./?#:=,]{0,20}|\\n){0,20}", bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = (playlist(&text), Address::parse(&text), answer(&bytes), elementary(&bytes), is_ts(&bytes), joined(&bytes));
            let base = Address::parse("http://h/a/b").unwrap();
            if let Some(joined) = base.join(&text) {
                let _ = joined.join(&text);
            }
        }
    }
}
