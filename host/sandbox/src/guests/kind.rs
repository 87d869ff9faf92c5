//! The kind of a component, by its exports, which decides how it is linked and called.

use super::interfaces;
use super::service::ServiceGuest;
use crate::error::EngineError;
use crate::host_state::HostState;
use crate::host_state::bindings::ServicePre;
use crate::linker::Sandbox;
use std::fmt;
use wasmtime::component::Component;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

/// Kind of a plugin, with its linked component.
pub(crate) enum Kind {
    /// Exports the `handler` of `wit/service.wit`.
    Service(ServiceGuest),
    /// Exports `wasi:cli/run`.
    Command(CommandPre<HostState>),
    /// Exports `wasi:http/incoming-handler`.
    Http(ProxyPre<HostState>),
}

/// Reason why a component is not a plugin.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// The component imports these interfaces, which the host does not offer.
    Imports(Vec<String>),
    /// The component exports only these interfaces, none of which is called.
    Exports(Vec<String>),
    /// An interface differs from that of the host.
    Mismatch(EngineError),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Imports(missing) => {
                write!(f, "it imports interfaces that the host does not offer: {}", missing.join(", "))
            }
            Self::Exports(exports) => {
                let exports = match exports.as_slice() {
                    [] => {
                        "nothing; a core module has to be built as a component (in Rust: --target wasm32-wasip2)".into()
                    }
                    exports => exports.join(", "),
                };
                write!(
                    f,
                    "a plugin exports wasmnode:service/handler@0.1.0 (see wit/service.wit), wasi:cli/run@0.2 (a WASI \
                     command) or wasi:http/incoming-handler@0.2, but this exports {exports}"
                )
            }
            Self::Mismatch(source) => {
                write!(f, "an interface does not match the host's version: {source}; see wit/service.wit")
            }
        }
    }
}

impl std::error::Error for Unfit {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Mismatch(source) => Some(source),
            Self::Imports(_) | Self::Exports(_) => None,
        }
    }
}

impl Kind {
    /// Recognises a component by its exports, and links it to the host.
    ///
    /// # Errors
    /// If the component exports no known interface, or imports one that the host does not offer; the text lists them.
    pub(crate) fn of(sandbox: &Sandbox, component: &Component) -> Result<Self, Unfit> {
        let missing: Vec<String> = interfaces::imports(sandbox, component)
            .into_iter()
            .filter(|name| interfaces::offer(name).is_none())
            .collect();
        if !missing.is_empty() {
            return Err(Unfit::Imports(missing));
        }
        let exports = interfaces::exports(sandbox, component);
        let has = |name: &str| exports.iter().any(|export| export.starts_with(name));
        let linked = || sandbox.linker.instantiate_pre(component);
        let linked = match () {
            () if has("wasmnode:service/handler@") => {
                linked().and_then(ServicePre::new).map(ServiceGuest::new).map(Self::Service)
            }
            () if has("wasi:cli/run@0.2.") => linked().and_then(CommandPre::new).map(Self::Command),
            () if has("wasi:http/incoming-handler@0.2.") => linked().and_then(ProxyPre::new).map(Self::Http),
            () => return Err(Unfit::Exports(exports)),
        };
        linked.map_err(|error| Unfit::Mismatch(EngineError(error)))
    }

    /// Returns the same component without idle instances.
    pub(crate) fn without_instances(&self) -> Self {
        match self {
            Self::Service(guest) => Self::Service(guest.without_instances()),
            Self::Command(pre) => Self::Command(pre.clone()),
            Self::Http(pre) => Self::Http(pre.clone()),
        }
    }

    /// Name of the kind, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Service(_) => "component of the world wasmnode:service/service",
            Self::Command(_) => "WASI command",
            Self::Http(_) => "handler of HTTP requests (wasi:http/incoming-handler)",
        }
    }
}
