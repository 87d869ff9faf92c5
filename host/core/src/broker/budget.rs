/// How many requests may be tried a second time: a share of those that came first, so that retries do not bury a zone
/// that is in trouble already.
#[derive(Debug)]
pub(super) struct Budget {
    percent: u64,
    /// Hundredths of a retry.
    saved: u64,
}

impl Budget {
    /// What is saved at most, and at the start: a peer that dies with all that it may have leaves no request behind.
    const MOST: u64 = 10_000 * 100;

    pub(super) fn new(percent: u64) -> Self {
        Self { percent, saved: Self::MOST }
    }

    /// A request was forwarded for the first time.
    pub(super) fn earn(&mut self) {
        self.saved = Self::MOST.min(self.saved + self.percent);
    }

    /// A request is to be tried again; whether it may.
    pub(super) fn spend(&mut self) -> bool {
        let may = self.saved >= 100;
        if may {
            self.saved -= 100;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_requests_once_the_savings_are_spent() {
        let mut budget = Budget::new(20);
        assert_eq!((0..20_000).filter(|_| budget.spend()).count(), 10_000);
        (0..100).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 20);
    }
}
