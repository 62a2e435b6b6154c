//! In which order the addresses of one name are tried (RFC 8305, section 4). A rule: it resolves and connects nothing.

use std::net::SocketAddr;

/// Addresses of one name that are tried at most.
pub const MAX: usize = 8;

/// The resolver's order, but the two families take turns, so that one that leads nowhere costs one head start only.
pub fn interleaved(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.into_iter().peekable();
    let first_is_v6 = addresses.peek().is_some_and(SocketAddr::is_ipv6);
    let (mut leading, mut other): (Vec<_>, Vec<_>) = addresses.partition(|address| address.is_ipv6() == first_is_v6);
    let mut order: Vec<SocketAddr> = Vec::new();
    let turns = leading.len().max(other.len());
    let (mut leading, mut other) = (leading.drain(..), other.drain(..));
    for _ in 0..turns {
        order.extend(leading.next());
        order.extend(other.next());
    }
    order.dedup();
    order.truncate(MAX);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(text: &[&str]) -> Vec<SocketAddr> {
        text.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_resolver_s_first_leads() {
        let table: [(&[&str], &[&str]); 4] = [
            (&["[::1]:1", "[::2]:1", "1.1.1.1:1"], &["[::1]:1", "1.1.1.1:1", "[::2]:1"]),
            (&["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"]),
            (&["1.1.1.1:1", "1.1.1.1:1"], &["1.1.1.1:1"]),
            (&[], &[]),
        ];
        for (given, wanted) in table {
            assert_eq!(interleaved(addresses(given)), addresses(wanted));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_invented_and_not_too_much_tried(given in prop::collection::vec((any::<bool>(), any::<u8>()), 0..30)) {
            let given: Vec<SocketAddr> = given
                .into_iter()
                .map(|(six, last)| if six { format!("[::{last:x}]:1") } else { format!("10.0.0.{last}:1") }.parse().unwrap())
                .collect();
            let order = interleaved(given.clone());
            prop_assert!(order.len() <= MAX && order.iter().all(|address| given.contains(address)));
            prop_assert_eq!(order.first(), given.first());
        }
    }
}
