//! Settings of a service: from `[service.NAME]`, else from `[defaults]`, else built in.

use super::fields::Fields;
use super::grants;
use super::value::{self, number, size};
use std::num::NonZeroU32;
use std::path::Path;
use wasmnode_core::{CallsAs, ServiceName, ServiceSettings};
use wasmnode_sandbox::{Grants, Reuse, SandboxSettings, Trial};

/// Complete settings of `[service.NAME]` or `[defaults]`, not yet divided between the core and the sandbox.
///
/// `lifetime` is separate from `reuse` and concurrency, so that a service can revert the singleton of `[defaults]`
/// without losing the rest.
#[derive(Debug, Clone)]
pub(super) struct ServiceFields {
    settings: ServiceSettings,
    sandbox: SandboxSettings,
    lifetime: Lifetime,
    reuse: NonZeroU32,
}

/// Identities under which a plugin may call.
const CALLS_AS: [(&str, CallsAs); 2] = [("service", CallsAs::Service), ("caller", CallsAs::Caller)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    Request,
    Singleton,
}

impl Default for ServiceFields {
    fn default() -> Self {
        Self {
            settings: ServiceSettings::default(),
            sandbox: SandboxSettings::default(),
            lifetime: Lifetime::Request,
            reuse: NonZeroU32::MIN,
        }
    }
}

impl ServiceFields {
    /// Reads one table; keys that it leaves out have the values of `default`. Relative paths start at `folder`.
    pub(super) fn read(mut given: Fields<'_>, default: &Self, folder: &Path) -> Self {
        let lifetimes = [("request", Lifetime::Request), ("singleton", Lifetime::Singleton)];
        let lifetime = given.take("lifetime", value::choice(&lifetimes)).unwrap_or(default.lifetime);
        let reuse = given.take("reuse", number(1..=u32::MAX.into())).and_then(NonZeroU32::new);
        let concurrency: Option<usize> = given.take("concurrency", number(1..=100_000));
        let (settings, sandbox) = (&default.settings, &default.sandbox);
        let service = Self {
            settings: ServiceSettings {
                // The deadline of [defaults] is not inherited: it applies to plugins, and workers may serve this
                // service.
                deadline: given.take("deadline", value::duration),
                concurrency: concurrency.unwrap_or(settings.concurrency),
                queue: given.take("queue", number(0..=1_000_000)).unwrap_or(settings.queue),
                spill: given.take("spill", number(0..=1_000_000)).unwrap_or(settings.spill),
                idempotent: given.take("idempotent", value::boolean).unwrap_or(settings.idempotent),
                calls_as: given.take("calls-as", value::choice(&CALLS_AS)).unwrap_or(settings.calls_as),
                calls: given.list("calls", value::pattern).unwrap_or_else(|| settings.calls.clone()),
            },
            sandbox: SandboxSettings {
                memory: given.take("memory", size(64 << 10..=4 << 30)).unwrap_or(sandbox.memory),
                reuse: sandbox.reuse,
                reply: given.take("reply", size(1 << 10..=1 << 30)).unwrap_or(sandbox.reply),
                log_lines: given.take("log-lines", number(0..=1_000_000)).unwrap_or(sandbox.log_lines),
                trial: Trial {
                    requests: given.take("trial-requests", number(0..=1_000_000)).unwrap_or(sandbox.trial.requests),
                    crashes: given.take("trial-crashes", number(0..=100)).unwrap_or(sandbox.trial.crashes),
                },
                quarantine_after: given
                    .take("quarantine-after", number(0..=1_000_000))
                    .unwrap_or(sandbox.quarantine_after),
                grants: Grants {
                    env: if given.has("env") { grants::env(given.table("env")) } else { sandbox.grants.env.clone() },
                    fs: given
                        .tables("fs", |given| grants::folder(given, folder))
                        .unwrap_or_else(|| sandbox.grants.fs.clone()),
                    net: given.list("net", grants::address).unwrap_or_else(|| sandbox.grants.net.clone()),
                    http: given.list("http", grants::http_host).unwrap_or_else(|| sandbox.grants.http.clone()),
                },
            },
            lifetime,
            reuse: reuse.unwrap_or(default.reuse),
        };
        if lifetime == Lifetime::Singleton && given.is_good("lifetime") {
            if reuse.is_some_and(|reuse| reuse != NonZeroU32::MIN) {
                given.complain(
                    "reuse",
                    "a singleton is never replaced; leave reuse out, or set lifetime to \"request\"",
                );
            }
            if concurrency.is_some_and(|concurrency| concurrency != 1) {
                given.complain(
                    "concurrency",
                    "a singleton runs one request at a time; leave concurrency out, or set lifetime to \"request\"",
                );
            }
        }
        given.done();
        service
    }

    /// Divides the settings into those of the core and those of the sandbox.
    pub(super) fn settle(self) -> (ServiceSettings, SandboxSettings) {
        let Self { mut settings, mut sandbox, lifetime, reuse } = self;
        match lifetime {
            Lifetime::Request => sandbox.reuse = Reuse::Requests(reuse),
            Lifetime::Singleton => {
                sandbox.reuse = Reuse::Singleton;
                settings.concurrency = 1;
            }
        }
        (settings, sandbox)
    }
}

/// Reads every `[service.NAME]`. A service with an invalid name is checked too, then left out.
pub(super) fn named(
    services: Fields<'_>,
    defaults: &ServiceFields,
    folder: &Path,
) -> Vec<(ServiceName, ServiceFields)> {
    let entries = services.entries(value::service_name).into_iter();
    let read = entries.map(|(name, given)| (name, ServiceFields::read(given, defaults, folder)));
    read.filter_map(|(name, service)| Some((name?, service))).collect()
}
