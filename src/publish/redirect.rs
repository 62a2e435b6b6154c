//! Where a server sends us: a reference in its words, resolved against the URL that we are connected to. Pure.
//!
//! Enhanced RTMP v2 wants the `tcUrl` of a reconnect request resolved as RFC 3986 says; of that, this knows the forms that make
//! sense for RTMP. It judges no result: the configuration's own reader of URLs does.

/// The longest reference that is worth a thought.
const MAX_REFERENCE: usize = 2048;

/// A reference as a server wrote it, if it can be one at all.
pub fn reference(text: &str) -> Option<String> {
    let sane = !text.is_empty() && text.len() <= MAX_REFERENCE && text.chars().all(|c| c.is_ascii_graphic());
    sane.then(|| text.to_owned())
}

/// `base` is the present `tcUrl`, as `rtmp://host/app`.
pub fn resolve(base: &str, reference: &str) -> String {
    let (scheme, rest) = base.split_once("://").unwrap_or(("rtmp", base));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if has_scheme(reference) {
        reference.to_owned()
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{reference}")
    } else {
        let path = path.split('?').next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        format!("{scheme}://{authority}/{folder}{reference}")
    }
}

fn has_scheme(reference: &str) -> bool {
    reference.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn references_are_resolved_against_the_present_url() {
        let table = [
            ("rtmp://other.example/app", "rtmp://other.example/app"),
            ("rtmps://other.example:443/app", "rtmps://other.example:443/app"),
            ("//10.0.0.1/app", "rtmps://10.0.0.1/app"),
            ("/other", "rtmps://a.example:1936/other"),
            ("/other/x?u=rtmp://b/c", "rtmps://a.example:1936/other/x?u=rtmp://b/c"),
            ("other", "rtmps://a.example:1936/app/other"),
        ];
        for (reference, wanted) in table {
            assert_eq!(resolve("rtmps://a.example:1936/app/instance?q=1/2", reference), wanted);
        }
        assert_eq!(resolve("rtmp://a", "b"), "rtmp://a/b");
    }

    #[test]
    fn nonsense_is_no_reference() {
        for text in ["", "rtmp://a/b c", "rtmp://a/\n", "rtmp://ä/b", &"a".repeat(MAX_REFERENCE + 1)] {
            assert_eq!(reference(text), None);
        }
        assert_eq!(reference("/other"), Some("/other".into()));
    }

    proptest! {
        #[test]
        fn nothing_can_hurt(base in "\\PC{0,30}", reference in "\\PC{0,30}") {
            resolve(&base, &reference);
        }
    }
}
