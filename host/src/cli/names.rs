//! Names that a user types: checked before anything is sent, alike in every command, and corrected where nobody has them.

use super::{Failed, read};
use std::time::Duration;
use wasmnode::client::{self, Ask, Client};
use wasmnode::near::nearest;
use wasmnode::report::{self, Report, ServiceReport};
use wasmnode_core::{Address, Code, Failure, ServiceName};

/// How long the names of services are waited for. They only improve an error.
const PATIENCE: Duration = Duration::from_secs(1);

/// An address, or the failure that a node would answer.
pub(super) fn address(text: &str) -> Result<Address, Failure> {
    Ok(Address::from_bytes(text.as_bytes())?)
}

/// The name of a service, or the failure that a node would answer.
pub(super) fn service(text: &str) -> Result<ServiceName, Failure> {
    Ok(ServiceName::from_bytes(text.as_bytes())?)
}

/// Adds to an unknown service the one that was perhaps meant, of those that the node shows this client.
pub(super) fn suggest(client: &mut Client, asked: &ServiceName, error: client::Error) -> Failed {
    let is_unknown = matches!(&error, client::Error::Failure(failure) if failure.code == Code::UnknownService);
    let hint = is_unknown.then(|| meant(client, asked)).flatten();
    let mut failed = Failed::from(error);
    failed.message.push_str(&hint.unwrap_or_default());
    failed
}

/// The service that was perhaps meant, as it is put behind an error: `; did you mean print?`
pub(super) fn meant(client: &mut Client, asked: &ServiceName) -> Option<String> {
    let reply = client.call(Ask::new(report::SERVICES).deadline(PATIENCE), |_| {}).ok()?;
    let report: Report = read(&reply).ok()?;
    let is_offered = |service: &&ServiceReport| {
        service.plugin.is_some() || service.workers_idle + service.workers_busy > 0 || !service.peers.is_empty()
    };
    let offered = report.services.iter().filter(is_offered).map(|service| service.name.as_str());
    nearest(asked.as_str(), offered).map(|name| format!("; did you mean {name}?"))
}
