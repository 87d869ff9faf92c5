//! Decisions of a seed before its start: the settings of the node, the peers, and the rates of faults.
//!
//! Limits are small, so that they are reached; times are short, so that much happens within few steps. Each fault is
//! switched per seed; if all were always on, none would meet an otherwise healthy node.

use fastrand::Rng;
use std::time::Duration;
use wasmnode_core::{Body, Frame, Limits, Majordomo, NodeSettings, OnFailure, ServiceName, ServiceSettings, Time};

/// The services that plugins and workers offer.
pub(crate) const SERVICES: [&str; 4] = ["add", "back", "calc", "draw"];

/// Largest delay of the driver's wake-ups.
pub(crate) const LATEST: Duration = Duration::from_millis(5);

/// All decisions of a seed before its start.
pub(crate) struct Scenario {
    pub(crate) settings: NodeSettings,
    pub(crate) weather: Weather,
    pub(crate) clients: usize,
    pub(crate) workers: usize,
    pub(crate) strangers: usize,
    /// Chance, per mille, that a peer keeps its routing id when it reconnects.
    pub(crate) fixed_ids: u32,
    /// The services that workers offer and clients prefer.
    pub(crate) popular: Vec<&'static str>,
    /// The services that plugins offer at times.
    pub(crate) plugins: Vec<ServiceName>,
    /// Times at which plugins are loaded or removed.
    pub(crate) reloads: Vec<Time>,
    /// Times at which connections are lost.
    pub(crate) breaks: Vec<Time>,
    pub(crate) drain: Option<Time>,
    pub(crate) stop: Option<Time>,
    /// Time at which the faults end and clients stop.
    pub(crate) calm: Time,
    /// Time at which everything must be settled.
    pub(crate) end: Time,
}

/// Rates of faults of the network and the peers. Chances are per mille.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    /// The longest time that a message takes.
    pub(crate) delay: Duration,
    pub(crate) loss: u32,
    pub(crate) doubling: u32,
    /// A mutated copy follows a message.
    pub(crate) garbling: u32,
    /// A lost connection is lost again soon.
    pub(crate) flapping: u32,
    /// A pipe to a peer is full for a while.
    pub(crate) full_pipes: u32,
    /// Workers stall, die, send false replies, and leave.
    pub(crate) bad_workers: u32,
    /// Plugins fail, trap and do not start.
    pub(crate) bad_plugins: u32,
    /// Plugins call other services.
    pub(crate) calls: u32,
    /// Delay of the driver's wake-ups.
    pub(crate) late: Duration,
}

impl Weather {
    /// Ends the faults.
    pub(crate) fn clear_up(&mut self) {
        let Self { delay, late, calls, .. } = *self;
        *self = Self { delay, late, calls, ..Self::clean() };
    }

    const fn clean() -> Self {
        let delay = Duration::from_millis(2);
        let (loss, doubling, garbling, flapping, full_pipes) = (0, 0, 0, 0, 0);
        let (bad_workers, bad_plugins, calls, late) = (0, 0, 0, Duration::ZERO);
        Self { delay, loss, doubling, garbling, flapping, full_pipes, bad_workers, bad_plugins, calls, late }
    }

    fn draw(rng: &mut Rng) -> Self {
        let mut weather = Self::clean();
        weather.delay = Duration::from_millis(pick(rng, &[1, 5, 50]));
        weather.calls = pick(rng, &[0, 100, 600]);
        if chance(rng, 300) {
            return weather;
        }
        let mut per_mille = |choices: &[u32]| if chance(rng, 400) { pick(rng, choices) } else { 0 };
        weather.loss = per_mille(&[5, 50, 200]);
        weather.doubling = per_mille(&[5, 50]);
        weather.garbling = per_mille(&[5, 50]);
        weather.flapping = per_mille(&[500, 900]);
        weather.full_pipes = per_mille(&[5, 50]);
        weather.bad_workers = per_mille(&[50, 300, 700]);
        weather.bad_plugins = per_mille(&[50, 300]);
        weather.late = if chance(rng, 200) { up_to(rng, LATEST) } else { Duration::ZERO };
        weather
    }
}

impl Scenario {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let settings = settings(rng);
        let weather = Weather::draw(rng);
        let calm = Time::from_micros(rng.u64(1_000_000..8_000_000));
        let majordomo = &settings.majordomo;
        let settled = MAX_DEADLINE + majordomo.expiry + majordomo.heartbeat * 2 + Duration::from_secs(1);
        let mut moments = |most: usize| -> Vec<Time> {
            let count = if chance(rng, 500) { rng.usize(..=most) } else { 0 };
            (0..count).map(|_| Time::from_micros(rng.u64(..calm.as_micros()))).collect()
        };
        let (reloads, breaks) = (moments(12), moments(8));
        // In the last part of the time, so that there is work to end.
        let late = calm.as_micros() * 2 / 3..calm.as_micros();
        let mut moment = |per_mille| chance(rng, per_mille).then(|| Time::from_micros(rng.u64(late.clone())));
        let (drain, stop) = (moment(200), moment(200));
        let mut popular = SERVICES.to_vec();
        rng.shuffle(&mut popular);
        popular.truncate(rng.usize(1..=SERVICES.len()));
        let is_offered = |service: &&str| chance(rng, if popular.contains(service) { 700 } else { 200 });
        let plugins = SERVICES.into_iter().filter(is_offered).map(name).collect();
        let mut scenario = Self {
            settings,
            weather,
            clients: rng.usize(1..6),
            workers: rng.usize(0..6),
            strangers: if chance(rng, 300) { rng.usize(1..3) } else { 0 },
            fixed_ids: 300,
            popular,
            plugins,
            reloads,
            breaks,
            drain,
            stop,
            calm,
            end: calm + settled,
        };
        if chance(rng, 100) {
            scenario.concentrate_faults(rng);
        }
        scenario
    }

    /// Raises the rates of faults, because the rarest events need many workers of one service that lose their
    /// connections repeatedly.
    fn concentrate_faults(&mut self, rng: &mut Rng) {
        self.workers = 6;
        self.popular.truncate(1);
        self.plugins.clear();
        self.fixed_ids = pick(rng, &[0, 1_000]);
        self.weather.flapping = 900;
        self.weather.full_pipes = pick(rng, &[0, 50, 200]);
        self.settings.majordomo.heartbeat = Duration::from_millis(250);
        self.settings.majordomo.expiry = Duration::from_secs(2);
        self.breaks = (0..10).map(|_| Time::from_micros(rng.u64(..self.calm.as_micros()))).collect();
    }
}

/// Largest deadline of a service.
const MAX_DEADLINE: Duration = Duration::from_secs(2);

fn settings(rng: &mut Rng) -> NodeSettings {
    let heartbeat = Duration::from_millis(pick(rng, &[250, 1_000, 2_500]));
    let majordomo = Majordomo {
        heartbeat,
        expiry: heartbeat * pick(rng, &[1, 2, 4]),
        wait: Duration::from_millis(pick(rng, &[0, 50, 500, 2_000])),
        deadline: pick(rng, &[None, None, Some(Duration::from_millis(300)), Some(MAX_DEADLINE)]),
        on_failure: if rng.bool() { OnFailure::Silence } else { OnFailure::Status },
    };
    let default = Limits::default();
    let mut limit = |default: usize, small: &[usize]| if chance(rng, 150) { pick(rng, small) } else { default };
    let limits = Limits {
        requests: limit(default.requests, &[1, 5, 20]),
        requests_per_client: limit(default.requests_per_client, &[1, 3, 10]),
        held_bytes: limit(default.held_bytes, &[200, 3_000]),
        message: limit(4_096, &[100, 1_000]),
        frames: limit(16, &[1, 3]),
        workers: limit(default.workers, &[1, 3]),
        call_depth: if rng.bool() { 1 } else { default.call_depth },
        ..default
    };
    let defaults = ServiceSettings { deadline: Some(Duration::from_millis(500)), ..ServiceSettings::default() };
    let services = SERVICES.into_iter().map(|service| (name(service), service_settings(rng))).collect();
    NodeSettings { limits, majordomo, defaults, services, ..NodeSettings::default() }
}

fn service_settings(rng: &mut Rng) -> ServiceSettings {
    let calls: &[&str] = match rng.u8(..6) {
        0..3 => &["*"],
        3 => &["calc", "d*"],
        4 => &["back"],
        _ => &[],
    };
    ServiceSettings {
        deadline: pick(
            rng,
            &[None, Some(Duration::from_millis(100)), Some(Duration::from_secs(1)), Some(MAX_DEADLINE)],
        ),
        concurrency: pick(rng, &[1, 2, 64]),
        queue: pick(rng, &[1, 3, 1_000]),
        idempotent: rng.bool(),
        calls: calls.iter().filter_map(|pattern| pattern.parse().ok()).collect(),
        ..ServiceSettings::default()
    }
}

/// A body longer than any message may be.
pub(crate) static FLOOD: [u8; 5_000] = [b'.'; 5_000];

pub(crate) fn flood() -> Body {
    vec![Frame::from_static(&FLOOD)]
}

/// Returns `true` with a chance of `per_mille`.
pub(crate) fn chance(rng: &mut Rng, per_mille: u32) -> bool {
    rng.u32(..1_000) < per_mille
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

/// Returns a random duration up to `longest`.
pub(crate) fn up_to(rng: &mut Rng, longest: Duration) -> Duration {
    Duration::from_micros(rng.u64(..=longest.as_micros().try_into().unwrap_or(u64::MAX)))
}

pub(crate) fn name(service: &str) -> ServiceName {
    let Ok(name) = service.parse() else { panic!("{service} is not a service name") };
    name
}

pub(crate) fn frame(text: impl Into<String>) -> Frame {
    text.into().into()
}
