//! One node under test: a process with its own folder, which ends with the test.

use crate::guests;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wasmnode_client::{Body, Client, Code, Error, Request};

/// Time limit for events that are certain to happen: long, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Folder of a node: `plugins/` with the given guests, and `node.toml`.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// Creates a folder with these plugins, each `SERVICE`, or `GUEST=SERVICE` with a name of `tests/guests`.
    pub(crate) fn new(plugins: &[&str]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir(folder.path("plugins")).unwrap();
        for plugin in plugins {
            let (guest, service) = plugin.split_once('=').unwrap_or((plugin, plugin));
            folder.plugin(service, &component(guest));
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn plugin(&self, service: &str, bytes: &[u8]) {
        fs::write(self.path(&format!("plugins/{service}.wasm")), bytes).unwrap();
    }

    /// Writes `node.toml`: one ipc endpoint, one tcp port that the system chooses, and the given settings. Settings
    /// that begin with `name` belong to `[node]`, and may set the name and the endpoints.
    pub(crate) fn configure(&self, settings: &str) -> PathBuf {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
        let mut node = format!("[node]\ncache = '{}'\n", cache.display());
        if !settings.starts_with("name") {
            node.push_str("name = 'under-test'\n");
        }
        if !settings.contains("listen =") {
            node.push_str("listen = ['ipc://node.ipc', 'tcp://127.0.0.1:0']\n");
        }
        let file = self.path("node.toml");
        fs::write(&file, node + settings).unwrap();
        file
    }
}

/// Returns a shipped plugin, or the guest of that name.
fn component(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match fs::read(root.join(format!("plugins/{name}.wasm"))) {
        Ok(shipped) => shipped,
        Err(_) => guests::component(&fs::read_to_string(root.join(format!("tests/guests/{name}.wat"))).unwrap()),
    }
}

/// Running node.
pub(crate) struct Node {
    pub(crate) folder: Folder,
    process: Child,
    log: Receiver<String>,
    seen: Vec<String>,
    /// Endpoint on tcp.
    pub(crate) tcp: String,
}

fn request(service: &str, frames: &[&[u8]]) -> Request {
    Request::new(service).body(frames.iter().map(|frame| frame.to_vec())).deadline(PATIENCE)
}

impl Node {
    /// Starts a node with these plugins and settings, and waits until it is ready.
    pub(crate) fn start(plugins: &[&str], settings: &str) -> Self {
        Self::start_in(Folder::new(plugins), settings, &[])
    }

    /// Starts a node in a prepared folder, with further arguments.
    pub(crate) fn start_in(folder: Folder, settings: &str, arguments: &[&str]) -> Self {
        Self::start_by(wasmnode(), folder, settings, arguments)
    }

    /// Starts a node by a command that runs another one; `before` is its beginning.
    pub(crate) fn start_inside(before: &[String], folder: Folder, settings: &str) -> Self {
        let mut command = wasmnode();
        if let Some((program, arguments)) = before.split_first() {
            let node = command.get_program().to_owned();
            command = Command::new(program);
            command.args(arguments).arg(node).env_remove("RUST_LOG");
        }
        Self::start_by(command, folder, settings, &[])
    }

    /// Starts a node by a command that runs the binary, or becomes it.
    pub(crate) fn start_by(command: Command, folder: Folder, settings: &str, arguments: &[&str]) -> Self {
        let config = folder.configure(settings);
        let (process, log) = spawn(command, &config, arguments);
        let mut node = Self { folder, process, log, seen: Vec::new(), tcp: String::new() };
        node.wait_until_ready();
        node
    }

    /// Starts a node in a prepared folder, and waits only until it listens.
    pub(crate) fn start_unready(folder: Folder, settings: &str) -> Self {
        let config = folder.configure(settings);
        let (process, log) = spawn(wasmnode(), &config, &[]);
        let mut node = Self { folder, process, log, seen: Vec::new(), tcp: String::new() };
        node.wait_for("listening on tcp://");
        node.read_endpoint();
        node
    }

    /// Starts a node with a cache of its own instead of the one that tests share.
    pub(crate) fn start_with_cache(folder: Folder, cache: &str, settings: &str) -> Self {
        let config = folder.configure(settings);
        let text = fs::read_to_string(&config).unwrap();
        let shared = text.lines().find(|line| line.starts_with("cache = ")).unwrap();
        fs::write(&config, text.replace(shared, &format!("cache = '{cache}'"))).unwrap();
        let (process, log) = spawn(wasmnode(), &config, &[]);
        let mut node = Self { folder, process, log, seen: Vec::new(), tcp: String::new() };
        node.wait_until_ready();
        node
    }

    /// Restarts a node that has ended, in its folder and at its endpoints, and clears its log.
    pub(crate) fn start_again(&mut self) {
        self.wait();
        let config = self.folder.path("node.toml");
        let settings = fs::read_to_string(&config).unwrap().replace("tcp://127.0.0.1:0", &self.tcp);
        fs::write(&config, settings).unwrap();
        (self.process, self.log) = spawn(wasmnode(), &config, &[]);
        self.seen.clear();
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        self.wait_for("is ready");
        self.read_endpoint();
    }

    fn read_endpoint(&mut self) {
        let listening = self.seen.iter().find_map(|line| line.split_once("listening on tcp://"));
        self.tcp = format!("tcp://{}", listening.unwrap().1);
    }

    /// Returns the endpoint on ipc.
    pub(crate) fn ipc(&self) -> String {
        format!("ipc://{}", self.folder.path("node.ipc").display())
    }

    pub(crate) fn id(&self) -> i32 {
        self.process.id().try_into().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.ipc()).unwrap()
    }

    /// Calls a service with these frames.
    pub(crate) fn call(&self, service: &str, frames: &[&[u8]]) -> Result<Body, Error> {
        self.client().call(request(service, frames), |_| {})
    }

    /// Calls a service as soon as it is offered: a busy machine may compile a large plugin for longer than a node's
    /// start waits for its plugins.
    pub(crate) fn call_when_offered(&self, service: &str, frames: &[&[u8]]) -> Result<Body, Error> {
        self.client().call(request(service, frames).wait(true), |_| {})
    }

    /// Calls a service that is expected to fail, and returns the failure.
    pub(crate) fn fail(&self, service: &str, frames: &[&[u8]]) -> (Code, String) {
        match self.call(service, frames) {
            Err(Error::Failure(failure)) => (failure.code, failure.reason),
            other => panic!("{service} was expected to fail, but: {other:?}"),
        }
    }

    /// Returns the report of `node.services`.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_slice(&self.call("node.services", &[]).unwrap()[0]).unwrap()
    }

    /// Waits until a figure of a service's report has this value.
    pub(crate) fn wait_for_figure(&self, service: &str, name: &str, figure: u64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let report = self.report();
            let services = report["services"].as_array().unwrap();
            if services.iter().any(|entry| entry["name"] == service && entry[name] == figure) {
                return;
            }
            assert!(Instant::now() < until, "{service} never had {name} = {figure}: {report}");
        }
    }

    /// Waits until the newest file of this service is refused for this reason.
    pub(crate) fn wait_for_refusal(&self, service: &str, why: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let plugins: Value = serde_json::from_slice(&self.call("node.plugins", &[]).unwrap()[0]).unwrap();
            let plugins = plugins.as_array().unwrap();
            let found = plugins.iter().find(|plugin| plugin["service"] == service);
            let said = found.and_then(|plugin| plugin["refused"]["why"].as_str());
            if said.is_some_and(|said| said.contains(why)) {
                return;
            }
            assert!(Instant::now() < until, "{found:?}");
        }
    }

    /// Waits until no request is held and no worker registered.
    pub(crate) fn wait_until_quiet(&self, patience: Duration) {
        let until = Instant::now() + patience;
        loop {
            let report = self.report();
            let busy = |service: &Value| {
                ["running", "queued", "workers_idle", "workers_busy"].iter().any(|name| service[name] != 0)
            };
            if !report["services"].as_array().unwrap().iter().any(busy) {
                return;
            }
            assert!(Instant::now() < until, "it is still busy: {report}");
        }
    }

    /// Waits until the plugin of this service runs one request.
    pub(crate) fn wait_until_running(&self, service: &str) {
        self.wait_for_figure(service, "running", 1);
    }

    /// Waits until this number of idle workers is registered.
    pub(crate) fn wait_for_workers(&self, service: &str, workers: u64) {
        self.wait_for_figure(service, "workers_idle", workers);
    }

    /// Waits until this number of workers serves a request.
    pub(crate) fn wait_for_busy_workers(&self, service: &str, workers: u64) {
        self.wait_for_figure(service, "workers_busy", workers);
    }

    /// Waits for a log line that contains this; returns it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        self.wait_for_any(&[text])
    }

    /// Waits for a log line that contains one of these; returns it.
    pub(crate) fn wait_for_any(&mut self, texts: &[&str]) -> String {
        let until = Instant::now() + PATIENCE;
        let is_one = |line: &str| texts.iter().any(|text| line.contains(text));
        if let Some(line) = self.seen.iter().find(|line| is_one(line)) {
            return line.clone();
        }
        loop {
            match self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if is_one(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no log line with {texts:?} in\n{}", self.seen.join("\n")),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without {texts:?}:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Clears the log up to now.
    pub(crate) fn clear_log(&mut self) {
        self.log.try_iter().for_each(drop);
        self.seen.clear();
    }

    /// Returns all log lines so far, except the cleared ones.
    pub(crate) fn log_so_far(&mut self) -> &[String] {
        self.seen.extend(self.log.try_iter());
        &self.seen
    }

    /// Returns all log lines until the end of the log, including those seen before.
    pub(crate) fn log_to_its_end(&mut self) -> &[String] {
        self.seen.extend(self.log.iter());
        &self.seen
    }

    /// Kills the node, as in a crash.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.wait();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// Waits until the node ends, at most for `patience`.
    pub(crate) fn wait_at_most(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Returns the number of open file descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// Returns the resident memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _it_may_have_ended = self.process.kill();
        let _nothing_to_reap = self.process.wait();
    }
}

/// Starts a process; returns it with the lines of its log.
fn spawn(mut command: Command, config: &Path, arguments: &[&str]) -> (Child, Receiver<String>) {
    let state = config.parent().unwrap().join("state");
    command.env("XDG_STATE_HOME", state).arg("--config").arg(config).args(arguments).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let (lines, log) = channel();
    let stderr = BufReader::new(process.stderr.take().unwrap());
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    (process, log)
}

/// Returns a command of the binary under test.
pub(crate) fn wasmnode() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmnode"));
    command.env_remove("RUST_LOG").env("XDG_STATE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("state"));
    command
}

/// Runs the binary until it ends.
pub(crate) fn run(arguments: &[&str]) -> Output {
    wasmnode().args(arguments).output().unwrap()
}
