//! A compiler process: limits itself, reads one file, compiles it, and ends.
//!
//! The limits are set before the first byte of the file is read. If the file causes a panic, an endless loop, exhausted
//! memory or a stack overflow in the parsers or the compiler, then this process ends and not the node, which refuses
//! the file with that reason.

use super::adapt::{NotAComponent, as_component, describe};
use super::pool;
use super::protocol::{self, Answer, CompileJob, Wanted};
use crate::error::EngineError;
use rayon::ThreadPoolBuildError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use std::fmt;
use std::io::{self, Read, Write};
use std::num::TryFromIntError;
use std::process::ExitCode;

/// Address space that the process may have in addition to its memory limit, in bytes: for the program itself, for
/// stacks, and for memory that allocators reserve and do not use.
const ADDRESS_SPACE: u64 = 4 << 30;

/// Reason why a process serves no job.
#[derive(Debug)]
enum ChildError {
    /// It would not notice the end of the node.
    Watch(io::Error),
    /// The engine cannot start.
    Engine(EngineError),
    /// The job cannot be read, or the answer cannot be written.
    Exchange(io::Error),
    /// Its limits cannot be set.
    Limit(io::Error),
    /// The system refuses to start a thread.
    Thread(ThreadPoolBuildError),
    /// The file is larger than the address space.
    Size(TryFromIntError),
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watch(source) => write!(f, "cannot watch the node: {source}"),
            Self::Engine(source) => write!(f, "cannot start the WebAssembly engine: {source}"),
            Self::Exchange(source) => write!(f, "cannot read the job or write the answer: {source}"),
            Self::Limit(source) => write!(f, "cannot limit itself: {source}"),
            Self::Thread(source) => write!(f, "the system refuses to start a thread: {source}"),
            Self::Size(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for ChildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Watch(source) | Self::Exchange(source) | Self::Limit(source) => Some(source),
            Self::Engine(source) => Some(source),
            Self::Thread(source) => Some(source),
            Self::Size(source) => Some(source),
        }
    }
}

/// Runs one job from standard input, and writes the answer to standard output. FileName by the binary's hidden command.
#[must_use]
pub fn compile_process() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let _nowhere_else_to_say_it = writeln!(io::stderr(), "{panic}");
    }));
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _nowhere_else_to_say_it = writeln!(io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), ChildError> {
    end_with_the_node().map_err(ChildError::Watch)?;
    let engine = super::engine().map_err(|error| ChildError::Engine(EngineError(error)))?;
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    stdout.write_all(&protocol::greeting(&super::settings_digest(&engine))).map_err(ChildError::Exchange)?;
    stdout.flush().map_err(ChildError::Exchange)?;

    let job: CompileJob = protocol::read(&mut stdin).map_err(ChildError::Exchange)?;
    limit(&job).map_err(ChildError::Limit)?;
    let threads = if job.is_low_priority { pool::low_priority(job.threads) } else { pool::with_caller(job.threads) };
    let threads = threads.map_err(ChildError::Thread)?;
    let mut bytes = vec![0; usize::try_from(job.bytes).map_err(ChildError::Size)?];
    stdin.read_exact(&mut bytes).map_err(ChildError::Exchange)?;
    let done = threads.install(|| work(&engine, &bytes, job.wanted));
    let (answer, code) = done.unwrap_or_else(|why| (Answer::Refused(why.to_string()), Vec::new()));
    protocol::write(&mut stdout, &answer, &code).map_err(ChildError::Exchange)
}

fn work(engine: &wasmtime::Engine, bytes: &[u8], wanted: Wanted) -> Result<(Answer, Vec<u8>), NotAComponent> {
    let component = as_component(bytes)?;
    if wanted == Wanted::Description {
        return Ok((Answer::Description(describe(&component)), Vec::new()));
    }
    let code = engine.precompile_component(&component);
    let code = code.map_err(|error| NotAComponent::Invalid(EngineError(error)))?;
    Ok((Answer::Code { bytes: code.len() as u64 }, code))
}

/// Ends this process when the node's end of standard input closes, as it does for every kind of exit of the node. A
/// parent death signal (`PR_SET_PDEATHSIG`, `prctl(2)`) would already arrive when the node's *thread* ends.
fn end_with_the_node() -> io::Result<()> {
    let watch = || {
        let stdin = io::stdin();
        loop {
            // Without requested events, only the hang-up is reported, even if there is data to read.
            let mut watched = [PollFd::new(&stdin, PollFlags::empty())];
            match poll(&mut watched, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        let _it_ends_with_this_call = kill_process(getpid(), Signal::KILL);
    };
    std::thread::Builder::new().name("node-watch".into()).spawn(watch).map(drop)
}

/// Sets the limits of this process, which cannot be raised again.
fn limit(job: &CompileJob) -> io::Result<()> {
    let address_space = job.memory.saturating_add(ADDRESS_SPACE);
    // The hard limit is one second above the soft one, whose signal (SIGXCPU) identifies the reason.
    lower(Resource::Cpu, job.seconds, job.seconds.saturating_add(1))?;
    // Limits memory that is written to and, where the system does not count that, memory that is reserved.
    lower(Resource::Data, job.memory, job.memory)?;
    lower(Resource::As, address_space, address_space)?;
    lower(Resource::Core, 0, 0)?;
    lower(Resource::Fsize, 0, 0)
}

fn lower(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit { current: Some(current.min(most)), maximum: Some(maximum.min(most)) };
    Ok(setrlimit(resource, limit)?)
}
