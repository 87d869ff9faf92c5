//! Schedule of the requests, drawn from the seed before the first is sent, so that a slow machine sends the same ones.

use fastrand::Rng;
use std::time::Duration;
use wasmnode::config::{LoadConfig, LoadSender, Rhythm};

/// Planned request of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    /// Time after the start at which it is due.
    pub(super) at: Duration,
    /// Index of the sender's address.
    pub(super) to: usize,
    /// Size of its body, in bytes.
    pub(super) bytes: usize,
}

/// Returns the plan of each sender, in order of time: the first `requests` of all senders together, none after
/// `at_most`.
pub(super) fn plan(traffic: &LoadConfig) -> Vec<Vec<Planned>> {
    let mut rng = Rng::with_seed(traffic.seed);
    let mut sources: Vec<Source<'_>> = traffic.senders.iter().map(|sender| Source::new(sender, rng.fork())).collect();
    let mut plans = vec![Vec::new(); sources.len()];
    for _ in 0..traffic.requests {
        let earliest = sources.iter_mut().zip(&mut plans).min_by_key(|(source, _)| source.next_at);
        match earliest {
            Some((source, plan)) if source.next_at <= traffic.at_most => plan.push(source.take()),
            _ => break,
        }
    }
    plans
}

/// Endless sequence of a sender's requests.
struct Source<'a> {
    sender: &'a LoadSender,
    rng: Rng,
    /// Offset within a period at which the sender begins.
    phase: Duration,
    /// Time for which it has been sending, without pauses.
    sending: Duration,
    /// Number of requests drawn.
    count: u32,
    next_at: Duration,
}

impl<'a> Source<'a> {
    fn new(sender: &'a LoadSender, mut rng: Rng) -> Self {
        let period = match sender.rhythm {
            Rhythm::Poisson { .. } => Duration::ZERO,
            Rhythm::Bursts { every, .. } => every,
            Rhythm::OnOff { on, off, .. } => on + off,
        };
        let phase = period.mul_f64(rng.f64());
        let mut source = Self { sender, rng, phase, sending: Duration::ZERO, count: 0, next_at: Duration::ZERO };
        source.next_at = source.draw();
        source
    }

    fn take(&mut self) -> Planned {
        let LoadSender { to, bytes, .. } = self.sender;
        let (to, size) = (self.rng.usize(..to.len()), self.rng.usize(..bytes.len()));
        let planned = Planned { at: self.next_at, to, bytes: bytes[size] };
        self.next_at = self.draw();
        planned
    }

    /// Returns the time at which the next request is due.
    fn draw(&mut self) -> Duration {
        let at = match self.sender.rhythm {
            Rhythm::Poisson { rate } => {
                self.send_on(rate);
                self.sending
            }
            Rhythm::Bursts { burst, every } => self.phase + every.saturating_mul(self.count / burst),
            Rhythm::OnOff { on, off, rate } => {
                self.send_on(rate);
                let pauses = (self.phase + self.sending).as_nanos() / on.as_nanos().max(1);
                let pauses = u32::try_from(pauses).unwrap_or(u32::MAX);
                self.sending + off.saturating_mul(pauses)
            }
        };
        self.count += 1;
        at
    }

    /// Advances to the next independent request: the gaps are exponentially distributed.
    fn send_on(&mut self, rate: u32) {
        let gap = -(1.0 - self.rng.f64()).ln() / f64::from(rate);
        self.sending += Duration::from_secs_f64(gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn plan_of(senders: &str) -> Vec<Vec<Planned>> {
        plan(&LoadConfig::parse(senders, Path::new("traffic.toml")).unwrap())
    }

    fn sender(name: &str, rhythm: &str) -> String {
        format!("[sender.{name}]\nendpoint = 'ipc://x.ipc'\nto = ['a', 'b', 'b']\nbytes = [1, 2]\n{rhythm}\n")
    }

    const POISSON: &str = "pattern = 'poisson'\nrate = 100";
    const BURSTS: &str = "pattern = 'bursts'\nburst = 10\nevery = '100ms'";
    const ON_OFF: &str = "pattern = 'on-off'\non = '100ms'\noff = '300ms'\nrate = 1000";

    #[test]
    fn the_same_seed_draws_the_same_and_another_seed_does_not() {
        let senders = [sender("a", POISSON), sender("b", BURSTS), sender("c", ON_OFF)].concat();
        let seeded = |seed: u32| plan_of(&format!("seed = {seed}\n{senders}"));
        assert_eq!(seeded(1), seeded(1));
        assert_ne!(seeded(1), seeded(2));
    }

    #[test]
    fn requests_and_time_bound_all_senders_together() {
        let senders = sender("a", POISSON) + &sender("b", BURSTS);
        let count = |limits: &str| plan_of(&format!("{limits}\n{senders}")).concat().len();
        assert_eq!(count("requests = 77"), 77);
        let in_time = plan_of(&format!("requests = 1000000\nat-most = '2s'\n{senders}")).concat();
        assert!(in_time.iter().all(|planned| planned.at <= Duration::from_secs(2)));
        assert!((250..550).contains(&in_time.len()), "{}", in_time.len());
    }

    #[test]
    fn poisson_draws_gaps_sizes_and_addresses_in_proportion() {
        let plan = plan_of(&format!("requests = 10000\nat-most = '1h'\n{}", sender("a", POISSON))).concat();
        let last = plan.last().unwrap().at.as_secs_f64();
        assert!((90.0..110.0).contains(&last), "100 a second, but 10000 in {last} s");
        let share = |what: fn(&Planned) -> bool| plan.iter().filter(|planned| what(planned)).count();
        assert!((3000..3700).contains(&share(|planned| planned.to == 0)));
        assert!((4700..5300).contains(&share(|planned| planned.bytes == 1)));
        // Of exponential gaps, 1 - 1/e are below the mean.
        let short = plan.windows(2).filter(|two| two[1].at - two[0].at < Duration::from_millis(10)).count();
        assert!((6100..6500).contains(&short), "{short}");
    }

    #[test]
    fn a_burst_has_one_time_and_the_next_follows_a_period_later() {
        let plan = plan_of(&format!("requests = 30\n{}", sender("a", BURSTS))).concat();
        for (index, planned) in plan.iter().enumerate() {
            assert_eq!(planned.at - plan[0].at, Duration::from_millis(100) * u32::try_from(index / 10).unwrap());
        }
    }

    #[test]
    fn nothing_is_sent_while_it_is_off() {
        let plan = plan_of(&format!("requests = 1000\n{}", sender("a", ON_OFF))).concat();
        let pauses: Vec<_> =
            plan.windows(2).map(|two| two[1].at - two[0].at).filter(|gap| gap.as_millis() > 50).collect();
        assert!((8..=11).contains(&pauses.len()) && pauses.iter().all(|gap| gap.as_millis() >= 300), "{pauses:?}");
    }
}
