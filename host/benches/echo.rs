//! Echo through a node against a bare libzmq echo of the same frames, over ipc.
//!
//! ```console
//! $ cargo bench                  # ten rounds
//! $ cargo bench -- 30            # thirty
//! $ cargo bench -- 10 pinned     # every process on the first core
//! $ cargo bench -- 10 reused     # only the bare echoes and what has "reused" in its name
//! ```
//!
//! The bare echo is a ROUTER in a process of its own that sends back what it gets: what ZeroMQ itself costs. `core` is a
//! request that the node answers without a plugin (`mmi.service`); `reused` and `fresh` run a plugin that answers with what
//! it was asked, in an instance that is kept, and in a new one for each request; `peer` asks the same of a second node,
//! with which the first is linked over ipc. `zones` is a service of another zone, through two routers over tcp, against the
//! sum of bare echoes of the connections on its way: one over ipc, three over tcp. `tcp` is the same echo over tcp, without
//! keys (NULL) and with (CURVE). All take turns in each round, so
//! that whatever else the machine does hits all of them alike; the figures are medians over the rounds. Left to the
//! scheduler, a wake-up may cross cores, which costs more than most of what is measured: pinned figures show the work.

#[path = "../../tests/guests/mod.rs"]
mod guests;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use wasmnode_core::message::{Ask, Frame, native};

/// Requests in one turn with one outstanding, and with many.
const ALONE: usize = 2_000;
const TOGETHER: usize = 20_000;
const OUTSTANDING: usize = 64;

const BODY: usize = 128;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What one turn measured.
struct Turn {
    /// Round-trip times with one request outstanding, sorted.
    alone: Vec<Duration>,
    /// Requests per second.
    alone_rate: f64,
    together_rate: f64,
}

struct Contender {
    name: &'static str,
    endpoint: String,
    /// The server's public key, in Z85, where it asks for keys.
    server: Option<String>,
    frames: Vec<Vec<u8>>,
    turns: Vec<Turn>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, endpoint, secret @ ..] = &arguments[..]
        && flag == "--bare-echo"
    {
        return bare_echo(endpoint, secret.first());
    }
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let is_pinned = arguments.iter().any(|argument| argument == "pinned");
    let names: Vec<_> =
        arguments.iter().filter(|argument| argument.parse::<usize>().is_err() && *argument != "pinned").collect();
    if is_pinned {
        pin()?;
    }
    let folder = tempfile::tempdir()?;
    let _bare = Stopped(start_bare(&format!("ipc://{}/bare.ipc", folder.path().display()), None)?);
    let client = zmq::CurveKeyPair::new()?;
    let tcp = Tcp::prepare(folder.path(), &client)?;
    let _tcp = tcp.start(folder.path())?;
    let _zones = start_zones(folder.path())?;
    // The far one ends last, and is missed by nobody.
    let seed = format!("seeds = ['ipc://{}/near.ipc']", folder.path().display());
    let _far = Stopped(start_node(folder.path(), "far", &["peer-fresh", "peer-reused"], &seed)?);
    let _near = Stopped(start_node(folder.path(), "near", &["fresh", "reused"], "")?);
    let mut contenders = contenders(folder.path(), &tcp);
    contenders.retain(|contender| {
        let name = contender.name;
        name.contains("bare") || names.is_empty() || names.iter().any(|wanted| name.contains(*wanted))
    });
    for round in 0..=rounds {
        for contender in &mut contenders {
            let turn = turn(contender, &client)?;
            // The first round warms up.
            if round > 0 {
                contender.turns.push(turn);
            }
        }
    }
    report(&contenders, if is_pinned { "pinned to one core" } else { "left to the scheduler" });
    Ok(())
}

/// Keeps this process and all that it starts on the first core.
fn pin() -> Result<()> {
    let mut first = rustix::thread::CpuSet::new();
    first.set(0);
    Ok(rustix::thread::sched_setaffinity(None, &first)?)
}

/// A process that ends with its owner.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _nothing_to_reap = self.0.wait();
    }
}

fn start_bare(endpoint: &str, secret: Option<&str>) -> Result<Child> {
    Ok(Command::new(std::env::current_exe()?).args(["--bare-echo", endpoint]).args(secret).spawn()?)
}

/// A bare echo and a node over tcp, without keys and with.
struct Tcp {
    bare: String,
    bare_curve: String,
    node: String,
    node_curve: String,
    bare_keys: zmq::CurveKeyPair,
    node_key: String,
}

impl Tcp {
    /// Makes the node's keys, and has it trust the client.
    fn prepare(folder: &Path, client: &zmq::CurveKeyPair) -> Result<Self> {
        wasmnode(folder, &["keygen"])?;
        wasmnode(folder, &["trust", "bench", "--", &zmq::z85_encode(&client.public_key)?])?;
        let own = std::fs::read_to_string(folder.join("keys/self.toml"))?;
        let node_key = own.lines().find_map(|line| line.strip_prefix("public = ")).ok_or("no public key")?;
        Ok(Self {
            bare: free_endpoint()?,
            bare_curve: free_endpoint()?,
            node: free_endpoint()?,
            node_curve: free_endpoint()?,
            bare_keys: zmq::CurveKeyPair::new()?,
            node_key: node_key.trim_matches('"').to_owned(),
        })
    }

    fn start(&self, folder: &Path) -> Result<Vec<Stopped>> {
        let services = ["fresh", "reused"];
        let keys = "[security]\nkeys = 'keys'";
        Ok(vec![
            Stopped(start_bare(&self.bare, None)?),
            Stopped(start_bare(&self.bare_curve, Some(&zmq::z85_encode(&self.bare_keys.secret_key)?))?),
            Stopped(start_node_at(folder, "tcp", &[&self.node], &services, "")?),
            Stopped(start_node_at(folder, "curve", &[&self.node_curve], &services, keys)?),
        ])
    }
}

/// Runs a command of the product's in a folder.
fn wasmnode(folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_wasmnode")).args(arguments).current_dir(folder).output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("wasmnode {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// A tcp endpoint that was free a moment ago.
fn free_endpoint() -> Result<String> {
    Ok(format!("tcp://{}", std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?))
}

/// Starts two zones of a node and a router each; what is told is told over tcp.
fn start_zones(folder: &Path) -> Result<Vec<Stopped>> {
    let routers = [("here", free_endpoint()?), ("there", free_endpoint()?)];
    let mut started = Vec::new();
    for (index, (zone, endpoint)) in routers.iter().enumerate() {
        let (other, its_endpoint) = &routers[1 - index];
        let router = format!(
            "zone = '{zone}'\nadvertise = '{endpoint}'\n[router.neighbour.{other}]\nendpoint = '{its_endpoint}'\n\
             export = ['*']\nimport = ['*']"
        );
        started.push(Stopped(start_node_at(folder, &format!("router-{zone}"), &[endpoint], &[], &router)?));
        let node = format!("zone = '{zone}'\nseeds = ['{endpoint}']");
        let (name, ipc) = (format!("node-{zone}"), format!("ipc://node-{zone}.ipc"));
        let services: &[&str] = if index == 1 { &["abroad-reused"] } else { &[] };
        started.push(Stopped(start_node_at(folder, &name, &[&ipc, "tcp://127.0.0.1:0"], services, &node)?));
    }
    Ok(started)
}

fn bare_echo(endpoint: &str, secret: Option<&String>) -> Result<()> {
    let router = zmq::Context::new().socket(zmq::ROUTER)?;
    if let Some(secret) = secret {
        router.set_curve_server(true)?;
        router.set_curve_secretkey(&zmq::z85_decode(secret)?)?;
    }
    router.bind(endpoint)?;
    let mut frame = zmq::Message::new();
    loop {
        router.recv(&mut frame, 0)?;
        loop {
            let more = if frame.get_more() { zmq::SNDMORE } else { 0 };
            router.send(std::mem::replace(&mut frame, zmq::Message::new()), more)?;
            if more == 0 {
                break;
            }
            router.recv(&mut frame, 0)?;
        }
    }
}

/// Starts a node that serves these, each by an echo; those whose names end in "reused" keep their instance.
fn start_node(folder: &Path, name: &str, services: &[&str], settings: &str) -> Result<Child> {
    start_node_at(folder, name, &[&format!("ipc://{name}.ipc")], services, settings)
}

fn start_node_at(folder: &Path, name: &str, listen: &[&str], services: &[&str], settings: &str) -> Result<Child> {
    let plugins = folder.join(name);
    std::fs::create_dir(&plugins)?;
    let echo = guests::component(include_str!("../../tests/guests/echo.wat"));
    let mut text =
        format!("[node]\nname = '{name}'\nlisten = {listen:?}\nplugins = '{name}'\ncache = 'cache'\n{settings}\n");
    for service in services {
        std::fs::write(plugins.join(format!("{service}.wasm")), &echo)?;
        if service.ends_with("reused") {
            writeln!(text, "[service.{service}]\nreuse = 1_000_000_000")?;
        }
    }
    let config = folder.join(format!("{name}.toml"));
    std::fs::write(&config, text)?;
    Ok(Command::new(env!("CARGO_BIN_EXE_wasmnode")).arg("--config").arg(&config).args(["--log", "warn"]).spawn()?)
}

fn contenders(folder: &Path, tcp: &Tcp) -> Vec<Contender> {
    let (bare, node) = (format!("ipc://{}/bare.ipc", folder.display()), format!("ipc://{}/near.ipc", folder.display()));
    let native = |service: &str| {
        let ask = Ask {
            id: 1,
            service: Frame::copy_from_slice(service.as_bytes()),
            deadline_ms: None,
            // The nodes may still be about to find each other.
            wait: true,
            trace: false,
            traceparent: None,
            idempotency_key: None,
            body: vec![vec![b'x'; BODY].into()],
        };
        native::encode_request(&ask).into_iter().map(Into::into).collect::<Vec<Vec<u8>>>()
    };
    let majordomo = |service: &str| vec![b"MDPC02".to_vec(), vec![1], service.into(), vec![b'x'; BODY]];
    let contender = |name, endpoint: &String, frames| Contender {
        name,
        endpoint: endpoint.clone(),
        server: None,
        frames,
        turns: Vec::new(),
    };
    let keyed = |name, endpoint, key: &str, service| Contender {
        server: Some(key.to_owned()),
        ..contender(name, endpoint, native(service))
    };
    let bare_key = zmq::z85_encode(&tcp.bare_keys.public_key).unwrap_or_default();
    vec![
        contender("native: bare", &bare, native("fresh")),
        contender("native: core", &node, native("mmi.service")),
        contender("native: reused", &node, native("reused")),
        contender("native: fresh", &node, native("fresh")),
        contender("native: peer, reused", &node, native("peer-reused")),
        contender("native: peer, fresh", &node, native("peer-fresh")),
        contender("MDP 0.2: bare", &bare, majordomo("fresh")),
        contender("MDP 0.2: core", &node, majordomo("mmi.service")),
        contender("MDP 0.2: reused", &node, majordomo("reused")),
        contender("MDP 0.2: fresh", &node, majordomo("fresh")),
        contender("MDP 0.2: peer, reused", &node, majordomo("peer-reused")),
        contender("tcp: bare, NULL", &tcp.bare, native("fresh")),
        keyed("tcp: bare, CURVE", &tcp.bare_curve, &bare_key, "fresh"),
        contender("tcp: core, NULL", &tcp.node, native("mmi.service")),
        keyed("tcp: core, CURVE", &tcp.node_curve, &tcp.node_key, "mmi.service"),
        contender("tcp: reused, NULL", &tcp.node, native("reused")),
        keyed("tcp: reused, CURVE", &tcp.node_curve, &tcp.node_key, "reused"),
        contender("tcp: fresh, NULL", &tcp.node, native("fresh")),
        keyed("tcp: fresh, CURVE", &tcp.node_curve, &tcp.node_key, "fresh"),
        contender("zones: bare tcp", &tcp.bare, native("fresh")),
        contender("zones: two routers", &format!("ipc://{}/node-here.ipc", folder.display()), native("abroad-reused")),
    ]
}

fn turn(contender: &Contender, client: &zmq::CurveKeyPair) -> Result<Turn> {
    let socket = zmq::Context::new().socket(zmq::DEALER)?;
    socket.set_rcvtimeo(10_000)?;
    if let Some(server) = &contender.server {
        socket.set_curve_serverkey(&zmq::z85_decode(server)?)?;
        socket.set_curve_publickey(&client.public_key)?;
        socket.set_curve_secretkey(&client.secret_key)?;
    }
    socket.connect(&contender.endpoint)?;
    let mut requests = Requests { socket, frames: contender.frames.clone(), next_id: 1 };
    for _ in 0..100 {
        requests.send()?;
        requests.receive()?;
    }
    let mut alone = Vec::with_capacity(ALONE);
    let began = Instant::now();
    for _ in 0..ALONE {
        let began = Instant::now();
        requests.send()?;
        requests.receive()?;
        alone.push(began.elapsed());
    }
    let alone_rate = ALONE as f64 / began.elapsed().as_secs_f64();
    alone.sort_unstable();
    let began = Instant::now();
    for _ in 0..OUTSTANDING {
        requests.send()?;
    }
    for _ in OUTSTANDING..TOGETHER {
        requests.receive()?;
        requests.send()?;
    }
    for _ in 0..OUTSTANDING {
        requests.receive()?;
    }
    Ok(Turn { alone, alone_rate, together_rate: TOGETHER as f64 / began.elapsed().as_secs_f64() })
}

struct Requests {
    socket: zmq::Socket,
    frames: Vec<Vec<u8>>,
    next_id: u64,
}

impl Requests {
    fn send(&mut self) -> Result<()> {
        if self.frames[0].starts_with(native::MAGIC) {
            self.frames[0][7..15].copy_from_slice(&self.next_id.to_be_bytes());
            self.next_id += 1;
        }
        Ok(self.socket.send_multipart(&self.frames, 0)?)
    }

    fn receive(&self) -> Result<()> {
        let mut frame = zmq::Message::new();
        self.socket.recv(&mut frame, 0)?;
        while frame.get_more() {
            self.socket.recv(&mut frame, 0)?;
        }
        Ok(())
    }
}

fn report(contenders: &[Contender], how: &str) {
    println!(
        "{BODY} bytes of body over ipc, {how}; medians of {} rounds; in brackets: against bare",
        contenders[0].turns.len()
    );
    let p50 = |name: &str| {
        let contender = contenders.iter().find(|contender| contender.name == name);
        let turns = contender.into_iter().flat_map(|contender| &contender.turns);
        median(turns.map(|turn| turn.alone[ALONE / 2].as_secs_f64()))
    };
    let hops = p50("native: bare") + 3.0 * p50("zones: bare tcp");
    println!("two routers: p50 {:.2} of the bare echoes of its connections", p50("zones: two routers") / hops);
    println!("{:<22} {:>18} {:>18} {:>20} {:>20}", "", "p50", "p99", "requests/s, 1", "requests/s, 64");
    let dialect = |contender: &Contender| contender.name.split(':').next();
    for dialect in contenders.chunk_by(|a, b| dialect(a) == dialect(b)) {
        let figures = |contender: &Contender| {
            let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
            [
                median(contender.turns.iter().map(|turn| micros(turn.alone[ALONE / 2]))),
                median(contender.turns.iter().map(|turn| micros(turn.alone[ALONE * 99 / 100]))),
                median(contender.turns.iter().map(|turn| turn.alone_rate)),
                median(contender.turns.iter().map(|turn| turn.together_rate)),
            ]
        };
        let bare = figures(&dialect[0]);
        for contender in dialect {
            let [p50, p99, alone, together] = figures(contender);
            println!(
                "{:<22} {p50:>8.1} µs ({:>4.2}) {p99:>8.1} µs ({:>4.2}) {alone:>12.0} ({:>5.2}) {together:>12.0} ({:>5.2})",
                contender.name,
                p50 / bare[0],
                p99 / bare[1],
                alone / bare[2],
                together / bare[3],
            );
        }
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
