//! A tcp proxy between two nodes that behaves like a bad network: it delays, throttles, holds back, or resets.

use rustix::net::sockopt::set_socket_linger;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Time within which a change takes effect.
const STEP: Duration = Duration::from_millis(5);

/// Proxy that is dialled instead of a node.
pub(crate) struct Proxy {
    /// Endpoint that the proxy listens on.
    pub(crate) endpoint: String,
    network: Arc<Network>,
}

/// Direction, as seen from the dialling side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    There,
    Back,
}

#[derive(Default)]
struct Network {
    /// Target of the proxy; connections are closed while there is none.
    target: Mutex<Option<String>>,
    delay_us: AtomicU64,
    /// Bytes per second in each direction of each connection; 0 for no limit.
    rate: AtomicU64,
    is_held: [AtomicBool; 2],
    /// Connections with an earlier age are reset.
    age: AtomicU64,
    is_over: AtomicBool,
}

impl Proxy {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let network = Arc::new(Network::default());
        let accepting = network.clone();
        std::thread::spawn(move || accepting.accept(&listener));
        Self { endpoint, network }
    }

    /// Sets the target, `tcp://HOST:PORT`.
    pub(crate) fn lead_to(&self, endpoint: &str) {
        *self.network.target.lock().unwrap() = endpoint.strip_prefix("tcp://").map(str::to_owned);
    }

    /// Delays all later data.
    pub(crate) fn delay(&self, delay: Duration) {
        self.network.delay_us.store(u64::try_from(delay.as_micros()).unwrap(), SeqCst);
    }

    /// Limits the bytes per second in each direction of each connection; faster data waits.
    pub(crate) fn throttle(&self, bytes: u64) {
        self.network.rate.store(bytes, SeqCst);
    }

    /// Holds back all data in this direction until [`Self::heal`]; the connections stay open.
    pub(crate) fn hold_back(&self, way: Direction) {
        self.network.is_held[way as usize].store(true, SeqCst);
    }

    /// Forwards the data that was held back, and all later data.
    pub(crate) fn heal(&self) {
        self.network.is_held.iter().for_each(|way| way.store(false, SeqCst));
    }

    /// Resets all connections, which loses data in transit; new ones can be made.
    pub(crate) fn cut(&self) {
        self.network.age.fetch_add(1, SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.is_over.store(true, SeqCst);
        self.cut();
    }
}

impl Network {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while !self.is_over.load(SeqCst) {
            match listener.accept() {
                Ok((stream, _)) => self.connect(&stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(STEP),
                Err(error) => panic!("the proxy cannot accept: {error}"),
            }
        }
    }

    fn connect(self: &Arc<Self>, dialled: &TcpStream) {
        let target = self.target.lock().unwrap().clone();
        let Some(Ok(node)) = target.map(TcpStream::connect) else { return };
        for stream in [dialled, &node] {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(STEP)).unwrap();
            stream.set_nodelay(true).unwrap();
            // The last thread to close the stream resets it.
            set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
        }
        self.pipe(Direction::There, dialled, &node);
        self.pipe(Direction::Back, &node, dialled);
    }

    /// Starts two threads for one direction, so that a delay does not limit the throughput.
    fn pipe(self: &Arc<Self>, way: Direction, from: &TcpStream, to: &TcpStream) {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let (reader, writer, age) = (self.clone(), self.clone(), self.age.load(SeqCst));
        let (chunks, due) = channel();
        std::thread::spawn(move || reader.read(from, &chunks, age));
        std::thread::spawn(move || writer.write(way, to, &due, age));
    }

    fn read(&self, mut from: TcpStream, chunks: &Sender<(Instant, Vec<u8>)>, age: u64) {
        let mut buffer = [0; 16 << 10];
        while self.age.load(SeqCst) == age {
            match from.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    let due = Instant::now() + Duration::from_micros(self.delay_us.load(SeqCst));
                    if chunks.send((due, buffer[..length].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => return,
            }
        }
    }

    fn write(&self, way: Direction, mut to: TcpStream, chunks: &Receiver<(Instant, Vec<u8>)>, age: u64) {
        let mut free = Instant::now();
        for (due, bytes) in chunks {
            std::thread::sleep(due.max(free).saturating_duration_since(Instant::now()));
            if let Some(us) = (bytes.len() as u64 * 1_000_000).checked_div(self.rate.load(SeqCst)) {
                free = free.max(Instant::now()) + Duration::from_micros(us);
            }
            while self.is_held[way as usize].load(SeqCst) && self.age.load(SeqCst) == age {
                std::thread::sleep(STEP);
            }
            if self.age.load(SeqCst) != age || to.write_all(&bytes).is_err() {
                return;
            }
        }
        if self.age.load(SeqCst) == age {
            let _it_may_be_closed_already = to.shutdown(Shutdown::Write);
        }
    }
}
