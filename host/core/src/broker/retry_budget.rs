/// Limit of retries: a share of first attempts, so that retries do not add to the overload of a zone.
#[derive(Debug)]
pub(super) struct RetryBudget {
    percent: u64,
    /// Hundredths of a retry.
    saved: u64,
}

impl RetryBudget {
    /// Largest and initial budget: enough to retry all requests of a peer that dies with a full window.
    const MOST: u64 = 10_000 * 100;

    pub(super) fn new(percent: u64) -> Self {
        Self { percent, saved: Self::MOST }
    }

    /// Credits the budget with the share of a request that is forwarded for the first time.
    pub(super) fn deposit(&mut self) {
        self.saved = Self::MOST.min(self.saved + self.percent);
    }

    /// Takes one retry from the budget; returns `false` if the budget is spent.
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
