/// How many requests may be tried a second time: a share of those that came first, so that retries do not bury a zone
/// that is in trouble already.
#[derive(Debug)]
pub(super) struct RetryBudget {
    percent: u64,
    /// Hundredths of a retry.
    saved: u64,
}

impl RetryBudget {
    /// What is saved at most, and at the start: a peer that dies with all that it may have leaves no request behind.
    const MOST: u64 = 10_000 * 100;

    pub(super) fn new(percent: u64) -> Self {
        Self { percent, saved: Self::MOST }
    }

    /// A request was forwarded for the first time.
    pub(super) fn deposit(&mut self) {
        self.saved = Self::MOST.min(self.saved + self.percent);
    }

    /// A request is to be tried again; whether it may.
    pub(super) fn try_withdraw(&mut self) -> bool {
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
        let mut budget = RetryBudget::new(20);
        assert_eq!((0..20_000).filter(|_| budget.try_withdraw()).count(), 10_000);
        (0..100).for_each(|_| budget.deposit());
        assert_eq!((0..100).filter(|_| budget.try_withdraw()).count(), 20);
    }
}
