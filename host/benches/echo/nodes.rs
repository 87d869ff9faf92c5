//! Nodes: alone, with a peer, and in two zones that routers join; over ipc, tcp, and tcp with keys.
//!
//! A service whose name ends in `reused` keeps its instance; others get a new one for each request.

use super::Result;
use super::connection::{Dialect, Keys, native};
use super::contender::{Contender, Wanted};
use super::guests;
use super::place;
use super::stage::{self, Stage};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Component that answers with the body of the request.
pub(crate) const ECHO: &str = include_str!("../../../tests/guests/echo.wat");

/// Services of every node.
pub(crate) const SERVICES: &[&str] = &["reused", "fresh"];

/// Number of services of a node with many services.
const MANY: usize = 1_000;

pub(crate) fn contenders(stage: &mut Stage, wanted: &Wanted, context: &zmq::Context) -> Result<Vec<Contender>> {
    let mut contenders = local(stage, wanted, context)?;
    contenders.extend(many(stage, wanted, context)?);
    contenders.extend(tcp(stage, wanted, context)?);
    contenders.extend(curve(stage, wanted, context)?);
    contenders.extend(zones(stage, wanted, context)?);
    Ok(contenders)
}

/// Selects the wanted contenders among these, all at one endpoint.
fn select(
    all: &[(&str, Dialect)],
    wanted: &Wanted,
    processes: &[u32],
    at: (&zmq::Context, &str, Option<&Keys>),
) -> Vec<Contender> {
    let wanted = all.iter().filter(|(name, _)| wanted.is(name));
    wanted.map(|(name, dialect)| Contender::over_zeromq(name, processes.to_vec(), at, dialect.clone())).collect()
}

/// Starts a node over ipc, and its peer.
fn local(stage: &mut Stage, wanted: &Wanted, context: &zmq::Context) -> Result<Vec<Contender>> {
    let alone = [
        ("node ipc, core", native("mmi.service")),
        ("node ipc, reused", native("reused")),
        ("node ipc, fresh", native("fresh")),
        ("node ipc, MDP, reused", Dialect::Majordomo2("reused".into())),
        ("node ipc, MDP, fresh", Dialect::Majordomo2("fresh".into())),
    ];
    let with_peer = [("peer ipc, reused", native("peer-reused")), ("peer ipc, fresh", native("peer-fresh"))];
    let has_peer = with_peer.iter().any(|(name, _)| wanted.is(name));
    if !has_peer && !alone.iter().any(|(name, _)| wanted.is(name)) {
        return Ok(Vec::new());
    }
    let endpoint = stage.endpoint("near");
    let near = start(stage, "near", &["ipc://near.ipc"], SERVICES, "")?;
    let mut contenders = select(&alone, wanted, &[near], (context, &endpoint, None));
    if has_peer {
        let services = &["peer-fresh", "peer-reused"];
        let far = start(stage, "far", &["ipc://far.ipc"], services, &format!("seeds = ['{endpoint}']"))?;
        contenders.extend(select(&with_peer, wanted, &[near, far], (context, &endpoint, None)));
    }
    Ok(contenders)
}

/// Starts nodes with a thousand services over ipc; each request calls another service, or always the same one.
fn many(stage: &mut Stage, wanted: &Wanted, context: &zmq::Context) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    for kind in SERVICES {
        let mut services: Vec<String> = (0..MANY).map(|number| format!("s{number}-{kind}")).collect();
        // Shuffled, so that neighbours in the node's memory are not called one after the other.
        fastrand::Rng::with_seed(1).shuffle(&mut services);
        let all = [
            (format!("1,000 services, {kind}"), Dialect::Native(services.clone())),
            (format!("1,000 services, one, {kind}"), native(&services[0])),
        ];
        let all = all.each_ref().map(|(name, dialect)| (name.as_str(), dialect.clone()));
        if !all.iter().any(|(name, _)| wanted.names(name)) {
            continue;
        }
        let (name, socket) = (format!("many-{kind}"), format!("ipc://many-{kind}.ipc"));
        let services: Vec<&str> = services.iter().map(String::as_str).collect();
        // Every service keeps an instance, and may need a second one while the first is busy.
        let node = start(stage, &name, &[&socket], &services, &format!("[limits]\ninstances = {}", 2 * MANY))?;
        let endpoint = stage.endpoint(&name);
        contenders.extend(select(&all, wanted, &[node], (context, &endpoint, None)));
    }
    Ok(contenders)
}

fn tcp(stage: &mut Stage, wanted: &Wanted, context: &zmq::Context) -> Result<Vec<Contender>> {
    let all = [("node tcp, reused", native("reused")), ("node tcp, fresh", native("fresh"))];
    if !all.iter().any(|(name, _)| wanted.is(name)) {
        return Ok(Vec::new());
    }
    let endpoint = free_endpoint()?;
    let node = start(stage, "tcp", &[&endpoint], SERVICES, "")?;
    Ok(select(&all, wanted, &[node], (context, &endpoint, None)))
}

/// Starts a node that requires keys, which are made with the node's own commands.
fn curve(stage: &mut Stage, wanted: &Wanted, context: &zmq::Context) -> Result<Vec<Contender>> {
    let all = [("node tcp, CURVE, reused", native("reused")), ("node tcp, CURVE, fresh", native("fresh"))];
    if !all.iter().any(|(name, _)| wanted.is(name)) {
        return Ok(Vec::new());
    }
    let client = zmq::CurveKeyPair::new()?;
    run(stage.folder(), &["keygen"])?;
    run(stage.folder(), &["trust", "bench", "--", &zmq::z85_encode(&client.public_key)?])?;
    let own = std::fs::read_to_string(stage.folder().join("keys/self.toml"))?;
    let public = own.lines().find_map(|line| line.strip_prefix("public = ")).ok_or("no public key")?;
    let keys = Keys {
        server: zmq::z85_decode(public.trim_matches('"'))?,
        client: client.public_key.to_vec(),
        client_secret: client.secret_key.to_vec(),
    };
    let endpoint = free_endpoint()?;
    let node = start(stage, "curve", &[&endpoint], SERVICES, "[security]\nkeys = 'keys'")?;
    Ok(select(&all, wanted, &[node], (context, &endpoint, Some(&keys))))
}

/// Starts two zones with a node and a router each. Clients connect by ipc; all other connections are tcp.
fn zones(stage: &mut Stage, wanted: &Wanted, context: &zmq::Context) -> Result<Vec<Contender>> {
    let all = [("zones, reused", native("abroad-reused")), ("zones, fresh", native("abroad-fresh"))];
    if !all.iter().any(|(name, _)| wanted.is(name)) {
        return Ok(Vec::new());
    }
    let routers = [("here", free_endpoint()?), ("there", free_endpoint()?)];
    let mut processes = Vec::new();
    for (index, (zone, endpoint)) in routers.iter().enumerate() {
        let (other, its_endpoint) = &routers[1 - index];
        let router = format!(
            "zone = '{zone}'\nadvertise = '{endpoint}'\n[router.neighbour.{other}]\nendpoint = '{its_endpoint}'\n\
             export = ['*']\nimport = ['*']"
        );
        processes.push(start(stage, &format!("router-{zone}"), &[endpoint], &[], &router)?);
        let (name, ipc) = (format!("node-{zone}"), format!("ipc://node-{zone}.ipc"));
        let services: &[&str] = if index == 1 { &["abroad-reused", "abroad-fresh"] } else { &[] };
        let node = format!("zone = '{zone}'\nseeds = ['{endpoint}']");
        processes.push(start(stage, &name, &[&ipc, "tcp://127.0.0.1:0"], services, &node)?);
    }
    let endpoint = stage.endpoint("node-here");
    Ok(select(&all, wanted, &processes, (context, &endpoint, None)))
}

fn free_endpoint() -> Result<String> {
    Ok(format!("tcp://{}", stage::free_address()?))
}

/// Starts a node that serves these services, each with an echo.
fn start(stage: &mut Stage, name: &str, listen: &[&str], services: &[&str], settings: &str) -> Result<u32> {
    let config = prepare(stage, name, listen, services, settings)?;
    launch(stage, &config)
}

/// Writes a node's configuration, and its echo plugins.
pub(crate) fn prepare(
    stage: &Stage,
    name: &str,
    listen: &[&str],
    services: &[&str],
    settings: &str,
) -> Result<PathBuf> {
    let folder = stage.folder();
    let plugins = folder.join(name);
    std::fs::create_dir(&plugins)?;
    let echo = guests::component(ECHO);
    let mut text = format!(
        "[node]\nname = '{name}'\nlisten = {listen:?}\nplugins = '{name}'\ncache = 'cache'\nstate = 'state'\n{settings}\n"
    );
    for service in services {
        std::fs::write(plugins.join(format!("{service}.wasm")), &echo)?;
        if service.ends_with("reused") {
            writeln!(text, "[service.{service}]\nreuse = 1_000_000_000")?;
        }
    }
    let config = folder.join(format!("{name}.toml"));
    std::fs::write(&config, text)?;
    Ok(config)
}

pub(crate) fn launch(stage: &mut Stage, config: &Path) -> Result<u32> {
    stage.start(Command::new(place::wasmnode()?).arg("--config").arg(config).args(["--log", "error"]))
}

/// Runs a command of the product in a folder.
fn run(folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new(place::wasmnode()?).args(arguments).current_dir(folder).output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("wasmnode {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)).into())
    }
}
