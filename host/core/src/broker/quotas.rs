//! Quotas of users: requests and bytes per second, and outstanding requests.
//!
//! Rates are token buckets that hold one second's worth. A request is admitted while a whole request and any byte are
//! left. A large request may overdraw the bucket, and later ones are refused until it has refilled, so that the average
//! rate holds whatever their size.

use crate::access::{Access, Quota};
use crate::failure::{Code, Failure};
use crate::name::Label;
use crate::time::Time;
use std::collections::BTreeMap;

/// One request or byte, in the millionths that a [`Bucket`] counts.
const ONE: i64 = 1_000_000;

/// The accounts of all users that have a quota.
#[derive(Debug, Default)]
pub(super) struct Quotas(BTreeMap<Label, Account>);

#[derive(Debug)]
struct Account {
    quota: Quota,
    requests: Bucket,
    bytes: Bucket,
    outstanding: usize,
}

/// Token bucket, in millionths; below zero after a large request.
#[derive(Debug, Default)]
struct Bucket {
    left: i64,
    filled: Time,
}

impl Bucket {
    /// Refills the bucket at `rate` units per second; returns `true` if `least` millionths are left.
    fn has(&mut self, least: i64, rate: u64, now: Time) -> bool {
        let rate = i64::try_from(rate).unwrap_or(i64::MAX);
        let full = rate.saturating_mul(ONE);
        let elapsed = i64::try_from(now.since(self.filled).as_micros()).unwrap_or(i64::MAX);
        (self.left, self.filled) = (self.left.saturating_add(rate.saturating_mul(elapsed)).min(full), now);
        self.left >= least
    }

    fn take(&mut self, amount: usize) {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX).saturating_mul(ONE);
        self.left = self.left.saturating_sub(amount);
    }
}

impl Quotas {
    /// Replaces the quotas. The usage of users whose quota stays the same still counts.
    pub(super) fn set(&mut self, access: &Access, now: Time) {
        let mut before = std::mem::take(&mut self.0);
        for (name, grant) in access.grants.iter().filter(|(_, grant)| grant.quota != Quota::default()) {
            let known = before.remove(name);
            let account = match known {
                Some(account) if account.quota == grant.quota => account,
                known => {
                    // Full, because a bucket fills within a second.
                    let full = |rate: Option<u64>| {
                        let left = i64::try_from(rate.unwrap_or_default()).unwrap_or(i64::MAX).saturating_mul(ONE);
                        Bucket { left, filled: now }
                    };
                    let (requests, bytes) = (full(grant.quota.requests_per_second), full(grant.quota.bytes_per_second));
                    let outstanding = known.map_or(0, |account| account.outstanding);
                    Account { quota: grant.quota.clone(), requests, bytes, outstanding }
                }
            };
            self.0.insert(name.clone(), account);
        }
    }

    /// Counts a request of a user, or refuses it if a quota is exceeded.
    pub(super) fn admit(&mut self, user: &Label, bytes: usize, now: Time) -> Result<(), Failure> {
        let Some(account) = self.0.get_mut(user) else { return Ok(()) };
        let over = |what: &str, limit: String| {
            Err(Failure::new(Code::Overloaded, format!("{what} = {limit} of the key of {user} is reached")))
        };
        let Quota { requests_per_second, bytes_per_second, outstanding } = account.quota;
        if let Some(most) = outstanding.filter(|most| account.outstanding >= *most) {
            return over("outstanding", most.to_string());
        }
        if let Some(rate) = requests_per_second.filter(|rate| !account.requests.has(ONE, *rate, now)) {
            return over("requests-per-second", rate.to_string());
        }
        if let Some(rate) = bytes_per_second.filter(|rate| !account.bytes.has(1, *rate, now)) {
            return over("bytes-per-second", rate.to_string());
        }
        account.requests.take(1);
        account.bytes.take(bytes);
        Ok(())
    }

    /// Counts an admitted request as outstanding.
    pub(super) fn begin(&mut self, user: &Label) {
        if let Some(account) = self.0.get_mut(user) {
            account.outstanding += 1;
        }
    }

    /// Releases the slot that [`Self::begin`] took, once the request is answered.
    pub(super) fn end(&mut self, user: &Label) {
        if let Some(account) = self.0.get_mut(user) {
            account.outstanding = account.outstanding.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Grant, Role};
    use std::time::Duration;

    fn user() -> Label {
        "shop".parse().unwrap()
    }

    fn access(quota: Quota) -> Access {
        let grant = Grant { role: Role::Client, allow: Vec::new(), work: Vec::new(), is_admin: false, quota };
        Access { grants: [(user(), grant)].into() }
    }

    fn quotas(quota: Quota) -> Quotas {
        let mut quotas = Quotas::default();
        quotas.set(&access(quota), Time::ZERO);
        quotas
    }

    /// Returns how many of these requests are admitted together.
    fn admitted(quotas: &mut Quotas, requests: usize, bytes: usize, now: Time) -> usize {
        (0..requests).filter(|_| quotas.admit(&user(), bytes, now).is_ok()).count()
    }

    #[test]
    fn a_rate_allows_a_burst_of_one_second_and_no_more_on_average() {
        let mut quotas = quotas(Quota { requests_per_second: Some(100), ..Quota::default() });
        assert_eq!(admitted(&mut quotas, 1_000, 1, Time::ZERO), 100);
        let mut now = Time::ZERO;
        let later: usize = (0..1_000)
            .map(|_| {
                now = now + Duration::from_millis(10);
                admitted(&mut quotas, 10, 1, now)
            })
            .sum();
        assert_eq!(later, 1_000, "in ten seconds");
        assert_eq!(
            admitted(&mut quotas, 1_000, 1, now + Duration::from_secs(3_600)),
            100,
            "unused rate does not accumulate"
        );
    }

    #[test]
    fn a_fraction_of_a_request_admits_none() {
        let mut quotas = quotas(Quota { requests_per_second: Some(10), ..Quota::default() });
        assert_eq!(admitted(&mut quotas, 11, 1, Time::ZERO), 10);
        let at = |milliseconds| Time::ZERO + Duration::from_millis(milliseconds);
        assert_eq!([0, 1, 50, 99].map(|time| admitted(&mut quotas, 1, 1, at(time))), [0; 4]);
        assert_eq!([100, 101].map(|time| admitted(&mut quotas, 1, 1, at(time))), [1, 0]);
    }

    #[test]
    fn a_request_larger_than_the_bucket_is_admitted_and_charged() {
        let mut quotas = quotas(Quota { bytes_per_second: Some(1_000), ..Quota::default() });
        assert_eq!(admitted(&mut quotas, 2, 5_000, Time::ZERO), 1);
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        assert_eq!(admitted(&mut quotas, 1, 1, at(4)), 0);
        assert_eq!(admitted(&mut quotas, 1, 1, at(5)), 1);
    }

    #[test]
    fn outstanding_requests_count_after_the_quota_is_replaced() {
        let mut quotas = quotas(Quota { outstanding: Some(1), ..Quota::default() });
        assert!(quotas.admit(&user(), 1, Time::ZERO).is_ok());
        quotas.begin(&user());
        let refused = quotas.admit(&user(), 1, Time::ZERO).unwrap_err();
        assert!(refused.reason.contains("outstanding = 1 of the key of shop"), "{refused}");
        quotas.set(&access(Quota { outstanding: Some(2), ..Quota::default() }), Time::ZERO);
        assert!(quotas.admit(&user(), 1, Time::ZERO).is_ok());
        quotas.begin(&user());
        assert!(quotas.admit(&user(), 1, Time::ZERO).is_err());
        quotas.end(&user());
        assert!(quotas.admit(&user(), 1, Time::ZERO).is_ok());
    }
}
