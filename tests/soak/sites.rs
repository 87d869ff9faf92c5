//! The five processes, each with keys, and the proxies in front of those that others dial.

use crate::node::{Folder, Node, PATIENCE, run};
use crate::proxy::Proxy;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use wasmnode::keys;
use wasmnode_client::{Reply, Request};

/// The processes, in the order of their starts.
pub(crate) const NODE: usize = 0;
pub(crate) const PEER: usize = 1;
pub(crate) const FAR: usize = 2;
pub(crate) const ROUTER_A: usize = 3;
pub(crate) const ROUTER_B: usize = 4;
pub(crate) const NAMES: [&str; 5] = ["node", "peer", "far", "router-a", "router-b"];

/// Trusting process, trusted process, and options of the trust.
const TRUST: [(usize, usize, &[&str]); 10] = [
    (NODE, PEER, &["--role", "peer"]),
    (PEER, NODE, &["--role", "peer"]),
    (NODE, ROUTER_A, &["--role", "peer"]),
    (ROUTER_A, NODE, &["--role", "peer"]),
    (PEER, ROUTER_A, &["--role", "peer"]),
    (ROUTER_A, PEER, &["--role", "peer"]),
    (FAR, ROUTER_B, &["--role", "peer"]),
    (ROUTER_B, FAR, &["--role", "peer"]),
    (ROUTER_A, ROUTER_B, &["--role", "router", "--zone", "b"]),
    (ROUTER_B, ROUTER_A, &["--role", "router", "--zone", "a"]),
];

/// Guests that misbehave; all run on the node that is never killed.
pub(crate) const HOSTILE: [&str; 9] =
    ["trap", "deep", "loop", "memory-bomb", "table-bomb", "huge-reply", "log-flood", "partials", "reject"];

const HOSTILE_SETTINGS: &str = concat!(
    "[service.loop]\ndeadline = '50ms'\n[service.leak]\nlifetime = 'singleton'\nmemory = '512MiB'\n",
    "[limits]\nmessage = '1MiB'\n[service.log-flood]\nlog-lines = 10\n",
    include_str!("../guests/hostile.toml")
);

const LEDGER: &str = "fs = [{ host = 'ledger', guest = '/ledger', write = true }]\n";

/// The processes, and the proxies in front of them.
pub(crate) struct Sites {
    pub(crate) nodes: Vec<Node>,
    /// Proxies of the processes in [`PROXIED`], in the same order.
    pub(crate) proxies: [Proxy; 3],
}

/// Default of `service.concurrency`.
const CONCURRENCY: usize = 64;

/// How often as many requests as may run in parallel are sent before the soak.
const WARM_ROUNDS: usize = 3;

/// The processes that are dialled through a proxy.
const PROXIED: [usize; 3] = [PEER, ROUTER_A, ROUTER_B];

impl Sites {
    /// Starts all processes, and waits until every service can be called on every node.
    pub(crate) fn start() -> Self {
        let hostile = [&HOSTILE[..], &["echo", "leak"]].concat();
        let folders = [&hostile[..], &[], &[], &[], &[]].map(Folder::new);
        give_keys(&folders);
        give_ledgers(&folders);
        let proxies = [Proxy::new(), Proxy::new(), Proxy::new()];
        let [before_peer, before_a, before_b] = proxies.each_ref().map(|proxy| proxy.endpoint.clone());
        let mut nodes: Vec<Node> = Vec::new();
        for (site, folder) in folders.into_iter().enumerate() {
            let at =
                |site: usize| nodes.get(site).map(|node| format!("{}@{}", NAMES[site], node.tcp)).unwrap_or_default();
            let rest = match site {
                NODE => format!("zone = 'a'\n{HOSTILE_SETTINGS}{}", services(&["local", "again"])),
                PEER => format!(
                    "zone = 'a'\nseeds = ['{}']\nadvertise = '{before_peer}'\n{}",
                    at(NODE),
                    services(&["once", "again"])
                ),
                FAR => format!("zone = 'b'\n{}", services(&["far", "again"])),
                ROUTER_A => format!("zone = 'a'\nseeds = ['{}']\n{}", at(NODE), neighbour("b", &before_b)),
                _ => format!("zone = 'b'\nseeds = ['{}']\n{}", at(FAR), neighbour("a", &before_a)),
            };
            let settings = format!("name = '{}'\n{rest}[security]\nkeys = 'keys'\n", NAMES[site]);
            nodes.push(Node::start_in(folder, &settings, &[]));
        }
        for (proxy, site) in proxies.iter().zip(PROXIED) {
            proxy.lead_to(&nodes[site].tcp);
        }
        let sites = Self { nodes, proxies };
        sites.wait_until_all_is_reachable();
        sites.warm_up();
        sites
    }

    /// Has every service of the node run as many requests in parallel as it may. The slots of their instances, and
    /// threads, stay for the next peak, so without this each higher peak during the soak would look like a leak.
    fn warm_up(&self) {
        let mut client = self.nodes[NODE].client();
        for round in 0..WARM_ROUNDS {
            let services = HOSTILE.iter().chain(&["local", "again"]);
            let mut sent = 0;
            for (number, service) in (0..CONCURRENCY).flat_map(|number| services.clone().map(move |it| (number, it))) {
                let body = format!("warm-{round}-{number}-{service}");
                client.send(Request::new(service).body([body]).deadline(PATIENCE)).unwrap();
                sent += 1;
            }
            while sent > 0 {
                let (_, reply) = client.receive(Some(PATIENCE)).unwrap();
                sent -= usize::from(!matches!(reply, Reply::Partial(_)));
            }
        }
    }

    fn wait_until_all_is_reachable(&self) {
        let began = std::time::Instant::now();
        for site in [NODE, PEER, FAR] {
            for service in ["local", "once", "again", "far"] {
                while self.nodes[site].call("mmi.service", &[service.as_bytes()]).unwrap() != ["200"] {
                    assert!(began.elapsed() < PATIENCE, "{} cannot reach {service}", NAMES[site]);
                }
            }
        }
    }

    /// Endpoints for the clients of each node; routers have no clients.
    pub(crate) fn endpoints(&self) -> [(usize, String); 3] {
        [NODE, PEER, FAR].map(|site| (site, self.nodes[site].ipc()))
    }

    /// Names and process ids of the processes that are never killed.
    pub(crate) fn never_killed(&self) -> Vec<(&'static str, i32)> {
        [NODE, ROUTER_A].map(|site| (NAMES[site], self.nodes[site].id())).to_vec()
    }

    pub(crate) fn wait_until_quiet(&self) {
        self.nodes.iter().for_each(|node| node.wait_until_quiet(PATIENCE));
    }

    /// Number of runs of each body in the ledgers of all nodes.
    pub(crate) fn ledger(&self) -> BTreeMap<String, u32> {
        let mut runs = BTreeMap::new();
        for site in [NODE, PEER, FAR] {
            let book = fs::read_to_string(self.nodes[site].folder.path("ledger/book")).unwrap_or_default();
            book.lines().for_each(|line| *runs.entry(line.to_owned()).or_default() += 1);
        }
        runs
    }
}

fn services(names: &[&str]) -> String {
    let service = |name: &&str| {
        let idempotent = if *name == "again" { "idempotent = true\n" } else { "" };
        format!("[service.{name}]\n{LEDGER}{idempotent}")
    };
    names.iter().map(service).collect()
}

fn neighbour(zone: &str, endpoint: &str) -> String {
    format!(
        "[router.neighbour.{zone}]\nrouter = 'router-{zone}'\nendpoint = '{endpoint}'\nexport = ['*']\nimport = ['*']\n"
    )
}

fn give_keys(folders: &[Folder]) {
    let keys = |site: usize| folders[site].path("keys").to_str().unwrap().to_owned();
    for site in 0..folders.len() {
        let made = run(&["keygen", "--keys", &keys(site)]);
        assert!(made.status.success(), "{made:?}");
    }
    for (truster, trusted, options) in TRUST {
        let key = keys::load_pair(&folders[trusted].path("keys")).unwrap().public.to_string();
        let trusted = run(&[&["trust", NAMES[trusted], &key, "--keys", &keys(truster)], options].concat());
        assert!(trusted.status.success(), "{trusted:?}");
    }
}

/// Compiles the guest that keeps a ledger, and places it on each node.
fn give_ledgers(folders: &[Folder]) {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = folders[NODE].path("ledger.wasm");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/ledger.rs");
    let mut command = Command::new(rustc);
    command.args(["-O", "--edition", "2024", "--target", "wasm32-wasip2", "-o"]).arg(&compiled).arg(source);
    assert!(command.status().unwrap().success());
    let bytes = fs::read(&compiled).unwrap();
    for (site, names) in [(NODE, ["local", "again"]), (PEER, ["once", "again"]), (FAR, ["far", "again"])] {
        fs::create_dir(folders[site].path("ledger")).unwrap();
        names.iter().for_each(|name| folders[site].plugin(name, &bytes));
    }
}
