//! Processes of a run: their folder, their cost, and their end with the run.

use super::Result;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time limit for a process until it can be reached.
const START: Duration = Duration::from_secs(20);

/// Temporary folder, and the processes that run in it.
pub(crate) struct Stage {
    processes: Vec<Stopped>,
    folder: tempfile::TempDir,
}

/// Process that ends with its owner.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _nothing_to_reap = self.0.wait();
    }
}

/// Processes end in reverse order, so that each server outlives its clients.
impl Drop for Stage {
    fn drop(&mut self) {
        while self.processes.pop().is_some() {}
    }
}

impl Stage {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { processes: Vec::new(), folder: tempfile::tempdir()? })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the ipc endpoint of a socket of this name in the folder.
    pub(crate) fn endpoint(&self, name: &str) -> String {
        format!("ipc://{}/{name}.ipc", self.folder().display())
    }

    /// Starts a process in the folder, and returns its id.
    pub(crate) fn start(&mut self, command: &mut Command) -> Result<u32> {
        let child = command.current_dir(self.folder()).spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let id = child.id();
        self.processes.push(Stopped(child));
        Ok(id)
    }

    /// Ends the latest process.
    pub(crate) fn stop_last(&mut self) {
        self.processes.pop();
    }

    /// Starts one of this program's own roles, waits until it is ready, and returns its id and its address.
    pub(crate) fn start_role(&mut self, arguments: &[&str]) -> Result<(u32, String)> {
        let mut command = Command::new(std::env::current_exe()?);
        let id = self.start(command.arg("--role").args(arguments).stdout(Stdio::piped()))?;
        let output = self.processes.last_mut().and_then(|process| process.0.stdout.take());
        let mut line = String::new();
        BufReader::new(output.ok_or("no output")?).read_line(&mut line)?;
        if line.is_empty() {
            Err(format!("{arguments:?} ended immediately").into())
        } else {
            Ok((id, line.trim().to_owned()))
        }
    }
}

/// Reports to [`Stage::start_role`] that a role is ready, and where it listens.
pub(crate) fn ready(endpoint: &str) {
    println!("{endpoint}");
}

/// Returns an address that was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Connects to a process that may not listen yet.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let began = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Err(_) if began.elapsed() < START => std::thread::sleep(Duration::from_millis(5)),
            connected => {
                let stream = connected.map_err(|error| format!("{address}: {error}"))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
        }
    }
}

/// Returns the path of a program, if it is installed. Debian installs servers in folders that the PATH of users lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Returns the processor time of these processes, to within 10 ms each.
pub(crate) fn processor_time(processes: &[u32]) -> Result<Duration> {
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let mut ticks = 0_u64;
    for process in processes {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name in brackets may contain anything; utime and stime are fields 14 and 15, the state after the name is
        // field 3.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        ticks += fields.skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum::<u64>();
    }
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_per_second))
}

/// Returns the memory of these processes together, in bytes: resident pages, including those of shared files.
pub(crate) fn memory(processes: &[u32]) -> Result<u64> {
    let mut bytes = 0;
    for process in processes {
        let statm = std::fs::read_to_string(format!("/proc/{process}/statm"))?;
        let pages: u64 = statm.split_whitespace().nth(1).unwrap_or_default().parse()?;
        bytes += pages * rustix::param::page_size() as u64;
    }
    Ok(bytes)
}

/// Pins this process, and all that it starts, to the first core.
pub(crate) fn pin() -> Result<()> {
    let mut first = rustix::thread::CpuSet::new();
    first.set(0);
    Ok(rustix::thread::sched_setaffinity(None, &first)?)
}
