//! How often a password may be guessed. Only wrong ones count, for one user from one address, so that nobody can lock out a user
//! from elsewhere, nor one user another behind the same address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Wrong passwords in a row that are looked at.
const BURST: u32 = 20;
/// From then on, one in this time.
const EVERY: Duration = Duration::from_secs(1);
/// Users and addresses that are remembered.
const REMEMBERED_MAX: usize = 4_096;

/// Failed logins that are not yet forgotten: until when each pair is in debt.
#[derive(Default)]
pub(crate) struct Attempts(HashMap<(IpAddr, String), Instant>);

/// Who has a network of IPv6 addresses counts as one.
fn origin(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

impl Attempts {
    /// Whether a password of this user may be looked at now.
    pub(crate) fn may_try(&self, peer: IpAddr, user: &str, now: Instant) -> bool {
        let debt = self.0.get(&(origin(peer), user.to_owned())).map(|until| until.saturating_duration_since(now));
        debt.is_none_or(|debt| debt <= EVERY * (BURST - 1))
    }

    /// It was wrong.
    pub(crate) fn failed(&mut self, peer: IpAddr, user: &str, now: Instant) {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() >= REMEMBERED_MAX
            && let Some(least) = self.0.iter().min_by_key(|(_, until)| **until).map(|(pair, _)| pair.clone())
        {
            self.0.remove(&least);
        }
        let until = self.0.entry((origin(peer), user.to_owned())).or_insert(now);
        *until = (*until).max(now) + EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_few_and_nobody_else_pays_for_them() {
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let (mut attempts, begun) = (Attempts::default(), Instant::now());
        let mut tried = 0;
        for tenth in 0..600 {
            let now = begun + Duration::from_millis(100 * tenth);
            if attempts.may_try(here, "search", now) {
                attempts.failed(here, "search", now);
                tried += 1;
            }
            assert!(attempts.may_try(there, "search", now) && attempts.may_try(here, "ads", now));
        }
        assert_eq!(tried, 20 + 60 - 1, "those of the start, and one a second in a minute");
        assert!(attempts.may_try(here, "search", begun + Duration::from_secs(200)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..2 * REMEMBERED_MAX {
            attempts.failed(IpAddr::from([10, 0, 0, 1]), &format!("user-{n}"), now);
        }
        assert_eq!(attempts.0.len(), REMEMBERED_MAX);
    }

    #[test]
    fn a_network_of_addresses_is_one_guesser() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for n in 0..u16::try_from(BURST).unwrap() {
            attempts.failed(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]), "search", now);
        }
        let of = |network| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, 0xffff]);
        assert!(!attempts.may_try(of(0), "search", now) && attempts.may_try(of(1), "search", now));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(origin(mapped), IpAddr::from([10, 0, 0, 1]));
    }
}
