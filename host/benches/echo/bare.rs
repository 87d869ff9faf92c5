//! Cost of ZeroMQ itself: a ROUTER in a separate process that sends messages back, and the same behind a chain of
//! proxies as long as the path to another zone.

use super::Result;
use super::connection::{Dialect, Keys, native};
use super::contender::{Contender, Wanted};
use super::stage::{self, Stage};

pub(crate) fn contenders(stage: &mut Stage, wanted: &Wanted, context: &zmq::Context) -> Result<Vec<Contender>> {
    let server = zmq::CurveKeyPair::new()?;
    let client = zmq::CurveKeyPair::new()?;
    let keys = Keys {
        server: server.public_key.to_vec(),
        client: client.public_key.to_vec(),
        client_secret: client.secret_key.to_vec(),
    };
    let secret = zmq::z85_encode(&server.secret_key)?;
    let ipc = stage.endpoint("bare");
    let majordomo = Dialect::Majordomo2("fresh".into());
    let all = [
        ("bare ipc", ipc.as_str(), None, native("fresh")),
        ("bare ipc, MDP", &format!("{ipc}.mdp"), None, majordomo),
        ("bare tcp", "tcp://127.0.0.1:*", None, native("fresh")),
        ("bare tcp, CURVE", "tcp://127.0.0.1:*", Some(keys), native("fresh")),
    ];
    let mut contenders = Vec::new();
    for (name, endpoint, keys, dialect) in all {
        if wanted.is(name) {
            let arguments: &[&str] = if keys.is_some() { &["bare", endpoint, &secret] } else { &["bare", endpoint] };
            let (id, endpoint) = stage.start_role(arguments)?;
            contenders.push(Contender::over_zeromq(name, vec![id], (context, &endpoint, keys.as_ref()), dialect));
        }
    }
    let name = "zones, bare";
    if wanted.is(name) {
        let (processes, endpoint) = way_of_proxies(stage)?;
        let at = (context, endpoint.as_str(), None);
        contenders.push(Contender::over_zeromq(name, processes, at, native("fresh")));
    }
    Ok(contenders)
}

/// Starts the connections that a request to another zone takes, without nodes and routers: one over ipc and three over
/// tcp, with a proxy of libzmq between each two.
fn way_of_proxies(stage: &mut Stage) -> Result<(Vec<u32>, String)> {
    let (id, mut next) = stage.start_role(&["bare", "tcp://127.0.0.1:*"])?;
    let mut processes = vec![id];
    let ipc = stage.endpoint("proxies");
    for endpoint in ["tcp://127.0.0.1:*", "tcp://127.0.0.1:*", &ipc] {
        let (id, endpoint) = stage.start_role(&["bare-proxy", endpoint, &next])?;
        processes.push(id);
        next = endpoint;
    }
    Ok((processes, next))
}

/// Forwards messages in both directions.
pub(crate) fn proxy(endpoint: &str, next: &str) -> Result<()> {
    let context = zmq::Context::new();
    let (router, dealer) = (context.socket(zmq::ROUTER)?, context.socket(zmq::DEALER)?);
    for socket in [&router, &dealer] {
        socket.set_sndhwm(0)?;
        socket.set_rcvhwm(0)?;
    }
    dealer.connect(next)?;
    router.bind(endpoint)?;
    stage::ready(&router.get_last_endpoint()?.unwrap_or_default());
    Ok(zmq::proxy(&router, &dealer)?)
}

/// Sends each message back; with a secret key, to clients that have the public one.
pub(crate) fn echo(endpoint: &str, secret: Option<&String>) -> Result<()> {
    let router = zmq::Context::new().socket(zmq::ROUTER)?;
    router.set_sndhwm(0)?;
    router.set_rcvhwm(0)?;
    if let Some(secret) = secret {
        router.set_curve_server(true)?;
        router.set_curve_secretkey(&zmq::z85_decode(secret)?)?;
    }
    router.bind(endpoint)?;
    stage::ready(&router.get_last_endpoint()?.unwrap_or_default());
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
