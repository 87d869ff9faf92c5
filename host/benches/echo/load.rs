//! One turn of a contender: clients that keep a number of requests outstanding, or send at a given rate.

use super::Result;
use super::connection::{Connection, PATIENCE};
use super::contender::Contender;
use super::stage;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use std::time::{Duration, Instant};

/// Parameters of a measurement.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Cell {
    /// Bytes of body.
    pub(crate) payload: usize,
    /// Outstanding requests of all clients together.
    pub(crate) outstanding: usize,
    pub(crate) clients: usize,
    /// Set for half of the maximal load: half as many requests per second, evenly spaced, by one client.
    pub(crate) is_half: bool,
}

/// Results of a turn; round-trip times in seconds.
pub(crate) struct Turn {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Answers per second.
    pub(crate) rate: f64,
    /// Processor time of the contender's processes per answer, in seconds.
    pub(crate) processor: f64,
    /// Memory of the contender's processes, in bytes.
    pub(crate) memory: f64,
}

/// Round-trip times in nanoseconds, and the duration of the measurement.
pub(crate) struct Measured {
    pub(crate) times: Vec<u64>,
    took: Duration,
}

/// Measures a cell for `length`, after a quarter of that to warm up. A cell of half the load needs the full `rate`.
pub(crate) fn turn(contender: &Contender, cell: Cell, length: Duration, rate: f64) -> Result<Turn> {
    let connections = if contender.is_serial { cell.clients.max(cell.outstanding) } else { cell.clients };
    let mut connections: Vec<_> = (0..connections).map(|_| (contender.connect)(cell.payload)).collect::<Result<_>>()?;
    let mut measure = |length| match &mut connections[..] {
        [one] if cell.is_half => paced(&mut **one, rate, |now| now < nanos(length)),
        [one] => alone(&mut **one, cell.outstanding, |now| now < nanos(length)),
        many => together(many, cell.outstanding, length),
    };
    measure(length / 4)?;
    let processor = stage::processor_time(&contender.processes)?;
    let Measured { mut times, took } = measure(length)?;
    let processor = stage::processor_time(&contender.processes)?.saturating_sub(processor);
    times.sort_unstable();
    let quantile = |thousandths: usize| times[(times.len() * thousandths / 1000).min(times.len() - 1)] as f64 / 1e9;
    Ok(Turn {
        p50: quantile(500),
        p99: quantile(990),
        p999: quantile(999),
        rate: times.len() as f64 / took.as_secs_f64(),
        processor: processor.as_secs_f64() / times.len() as f64,
        memory: stage::memory(&contender.processes)? as f64,
    })
}

/// Source of unique stamps: nanoseconds since the start of a turn.
struct Stamps {
    began: Instant,
    last: u64,
}

impl Stamps {
    fn new() -> Self {
        Self { began: Instant::now(), last: 0 }
    }

    fn next(&mut self) -> u64 {
        self.last = self.now().max(self.last + 1);
        self.last
    }

    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs one client that sends a request for each answer, as long as `goes_on` holds for the time since its start.
pub(crate) fn alone(
    connection: &mut dyn Connection,
    outstanding: usize,
    goes_on: impl Fn(u64) -> bool,
) -> Result<Measured> {
    let mut stamps = Stamps::new();
    let mut times = Vec::new();
    for _ in 0..outstanding {
        connection.send(stamps.next())?;
    }
    while goes_on(stamps.now()) || times.is_empty() {
        let stamp = connection.receive(true)?.ok_or("no answer")?;
        times.push(stamps.now().saturating_sub(stamp));
        connection.send(stamps.next())?;
    }
    let took = stamps.began.elapsed();
    for _ in 0..outstanding {
        connection.receive(true)?;
    }
    Ok(Measured { times, took })
}

/// Runs many clients, each with its share of the outstanding requests.
fn together(clients: &mut [Box<dyn Connection>], outstanding: usize, length: Duration) -> Result<Measured> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, client) in clients.iter().enumerate() {
        epoll::add(&epoll, client.fd()?, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
    }
    let mut stamps = Stamps::new();
    let share = outstanding.div_ceil(clients.len());
    for client in &mut *clients {
        for _ in 0..share {
            client.send(stamps.next())?;
        }
    }
    let mut missing = share * clients.len();
    let mut times = Vec::new();
    let mut took = None;
    // Clients that may have more to receive than their descriptors signal; at first all, because a request may be sent
    // only when its client waits.
    let mut is_ready = vec![true; clients.len()];
    let mut events = Vec::with_capacity(clients.len());
    while missing > 0 {
        for (client, is_ready) in clients.iter_mut().zip(&mut is_ready).filter(|(_, is_ready)| **is_ready) {
            for _ in 0..share {
                let Some(stamp) = client.receive(false)? else {
                    *is_ready = false;
                    break;
                };
                if took.is_some() {
                    missing -= 1;
                } else {
                    times.push(stamps.now().saturating_sub(stamp));
                    client.send(stamps.next())?;
                }
            }
        }
        if stamps.began.elapsed() >= length && took.is_none() && !times.is_empty() {
            took = Some(stamps.began.elapsed());
        }
        let wait = if is_ready.contains(&true) { Duration::ZERO } else { PATIENCE };
        events.clear();
        if missing > 0
            && epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&timespec(wait)?))? == 0
            && !wait.is_zero()
        {
            return Err("no answer".into());
        }
        for event in &events {
            is_ready[usize::try_from(event.data.u64())?] = true;
        }
    }
    Ok(Measured { times, took: took.unwrap_or_default() })
}

/// Runs one client that sends at a fixed rate, whether answers arrive or not, as long as `goes_on` holds when a request
/// is due. Round-trip times count from that moment.
pub(crate) fn paced(connection: &mut dyn Connection, rate: f64, goes_on: impl Fn(u64) -> bool) -> Result<Measured> {
    // Sleeps end up to 50 µs late by default.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let interval = nanos(Duration::from_secs_f64(1.0 / rate)).max(1);
    let stamps = Stamps::new();
    let (mut due, mut missing, mut last_answer) = (0, 0_usize, 0);
    let mut times = Vec::new();
    while goes_on(due) || missing > 0 {
        while goes_on(due) && due <= stamps.now() {
            connection.send(due)?;
            due += interval;
            missing += 1;
        }
        while let Some(stamp) = connection.receive(false)? {
            last_answer = stamps.now();
            times.push(last_answer.saturating_sub(stamp));
            missing -= 1;
        }
        let now = stamps.now();
        if now > last_answer.max(due) + nanos(PATIENCE) {
            return Err("no answer".into());
        }
        let is_over = !goes_on(due);
        let wait = if !is_over { Duration::from_nanos(due.saturating_sub(now)) } else { PATIENCE };
        if (!is_over || missing > 0) && !wait.is_zero() {
            poll(&mut [PollFd::from_borrowed_fd(connection.fd()?, PollFlags::IN)], Some(&timespec(wait)?))?;
        }
    }
    Ok(Measured { times, took: Duration::from_nanos(last_answer.max(1)) })
}

fn timespec(duration: Duration) -> Result<Timespec> {
    Ok(Timespec::try_from(duration)?)
}
