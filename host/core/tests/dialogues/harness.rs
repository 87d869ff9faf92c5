//! Harness of dialogues: each line is an input of the node, or an output that it must have produced.

use crate::notation::{Dialects, Variables, patterns, show, text};
use crate::script::Dialogue;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wasmnode_core::message::{Reply, Request};
use wasmnode_core::{
    Access, Body, CallId, CallsAs, Code, ConnectionId, Failure, Frame, Grant, Input, Node, NodeSettings, OnFailure,
    Output, Quota, RequestId, Role, Run, ServiceName, ServiceSettings, Time, Transport,
};

/// Line at which a dialogue differs, and the difference.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) text: String,
}

type Outcome = Result<(), String>;

/// Plays one dialogue to its end.
pub(crate) fn play(dialogue: &Dialogue, dialects: Dialects) -> Result<(), Mistake> {
    let (configuration, story): (Vec<_>, Vec<_>) = dialogue.lines.iter().partition(|(_, words)| words[0] == "config");
    let mut settings = NodeSettings::default();
    for (line, words) in configuration {
        configure(&mut settings, &words[1..]).map_err(|text| Mistake { line: *line, text })?;
    }
    let mut stage = Harness {
        access: settings.access.clone().unwrap_or_default(),
        node: Node::new(settings),
        now: Time::from_micros(1_000_000),
        dialects,
        outputs: VecDeque::new(),
        events: Vec::new(),
        frames: Variables::new(),
        runs: BTreeMap::new(),
        calls: BTreeMap::new(),
    };
    let mut last = 0;
    for (line, words) in story {
        last = *line;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        stage.step(&words).map_err(|text| Mistake { line: *line, text })?;
    }
    stage.nothing().map_err(|text| Mistake { line: last, text })
}

struct Harness {
    node: Node,
    access: Access,
    now: Time,
    dialects: Dialects,
    /// Outputs of the node since the last input, without events.
    outputs: VecDeque<Output>,
    events: Vec<String>,
    frames: Variables,
    runs: BTreeMap<String, RequestId>,
    calls: BTreeMap<String, CallId>,
}

impl Harness {
    fn step(&mut self, words: &[&str]) -> Outcome {
        match words {
            [peer, ">", frames @ ..] => self.input(Input::Message { from: id_of(peer), frames: self.sent(frames)? }),
            [peer, "<", frames @ ..] => self.expect_send(peer, frames, words),
            [peer, "asks", id, service, frames @ ..] => {
                let (id, body) = (id.parse().map_err(|_| format!("{id} is no number"))?, self.sent(frames)?);
                self.input(Input::Request { from: id_of(peer), request: Box::new(request(id, service, body)) })
            }
            [peer, "cancels", id] => {
                let id = id.parse().map_err(|_| format!("{id} is no number"))?;
                self.input(Input::Cancel { from: id_of(peer), id })
            }
            [_, "replied", ..] => self.expect(words, |stage, output| Ok(stage.show(output) == words.join(" "))),
            [time] if time.starts_with('+') => self.pass(duration(&time[1..])?),
            ["quarantine", service, time] => {
                self.input(Input::Quarantine { service: name(service)?, lasts: duration(time)? })
            }
            ["plugin", service] => self.input(Input::Offered(name(service)?)),
            ["withdraw", service] => self.input(Input::Withdrawn(name(service)?)),
            ["run", rest @ ..] => self.expect_run(rest, words),
            ["stop", run] => self.expect_stop(run, words),
            ["partial", run, frames @ ..] => {
                let (request, body) = (self.run(run)?, self.sent(frames)?);
                self.input(Input::Partial { request, body })
            }
            ["finish", run, frames @ ..] => {
                let (request, body) = (self.run(run)?, self.sent(frames)?);
                self.input(Input::Finished { request, result: Ok(body) })
            }
            ["fail", run, code, reason] => {
                let (request, failure) = (self.run(run)?, failure(code, reason)?);
                self.input(Input::Finished { request, result: Err(failure) })
            }
            ["call", call, "of", run, service, frames @ ..] => self.call(call, run, service, frames),
            ["answer", call, rest @ ..] => self.expect_answer(call, rest, words),
            ["gone", peer, frames @ ..] => {
                self.input(Input::Undeliverable { to: id_of(peer), frames: self.sent(frames)? })
            }
            ["lost", peer] => self.input(Input::Gone(id_of(peer))),
            ["trust", name, grants @ ..] => {
                trust(&mut self.access, name, grants)?;
                self.input(Input::Trust(self.access.clone()))
            }
            ["revoke", name] => {
                self.access.grants.remove(*name);
                self.input(Input::Trust(self.access.clone()))
            }
            ["disconnect", peer] => self.expect(words, |_, output| Ok(*output == Output::Disconnect(id_of(peer)))),
            ["node", "drains"] => self.input(Input::Drain),
            ["node", "stops"] => self.input(Input::Stop),
            ["nothing"] => self.nothing(),
            ["event", part] => self.expect_event(part),
            ["services", names @ ..] => self.expect_services(names),
            ["outstanding", count] => {
                let got = self.node.outstanding().to_string();
                if got == *count { Ok(()) } else { Err(format!("  expected: outstanding {count}\n  got:      {got}")) }
            }
            _ => Err(format!("nobody understands: {}", words.join(" "))),
        }
    }

    fn input(&mut self, input: Input) -> Outcome {
        self.nothing()?;
        self.events.clear();
        self.node.handle(input, self.now);
        self.drain();
        Ok(())
    }

    fn drain(&mut self) {
        while let Some(output) = self.node.next_output() {
            match output {
                Output::Event(event) => self.events.push(event.to_string()),
                Output::Zone(event) => self.events.push(event.to_string()),
                other => self.outputs.push_back(other),
            }
        }
    }

    /// Lets time pass, and wakes the node whenever it is due.
    fn pass(&mut self, time: Duration) -> Outcome {
        self.nothing()?;
        self.events.clear();
        let end = self.now + time;
        while let Some(due) = self.node.next_wake().filter(|due| *due <= end) {
            if due < self.now {
                return Err("the node requests a wake-up in the past".into());
            }
            self.now = due;
            self.node.handle(Input::Tick, due);
            self.drain();
        }
        self.now = end;
        Ok(())
    }

    fn call(&mut self, call: &str, run: &str, service: &str, frames: &[&str]) -> Outcome {
        let id = CallId(self.calls.len() as u64 + 1);
        self.calls.insert(call.to_owned(), id);
        let (parent, service, body) = (self.run(run)?, name(service)?, self.sent(frames)?);
        self.input(Input::Call { call: id, parent, service, body })
    }

    fn nothing(&self) -> Outcome {
        let Some(first) = self.outputs.front() else { return Ok(()) };
        Err(format!("  expected: nothing\n  got:      {}", self.show(first)))
    }

    /// Takes the next output if `accepts` does.
    fn expect(&mut self, words: &[&str], accepts: impl FnOnce(&mut Self, &Output) -> Result<bool, String>) -> Outcome {
        let output = self.outputs.pop_front();
        if let Some(output) = &output
            && accepts(self, output)?
        {
            return Ok(());
        }
        let got = output.map_or("nothing".into(), |output| self.show(&output));
        Err(format!("  expected: {}\n  got:      {got}", words.join(" ")))
    }

    fn expect_send(&mut self, peer: &str, frames: &[&str], words: &[&str]) -> Outcome {
        self.expect(words, |stage, output| {
            let Output::Send { to, frames: got } = output else { return Ok(false) };
            Ok(*to == id_of(peer) && stage.matches(frames, got)?)
        })
    }

    /// Expects `print "hello" as $1`, and after `with` any of `caller=`, `within=` (time left), `key=`, `trace=`.
    fn expect_run(&mut self, rest: &[&str], words: &[&str]) -> Outcome {
        let (said, facts) = split(rest, "with");
        let (said, run) = split(said, "as");
        let [service, body @ ..] = said else { return Err("run lacks the service".into()) };
        let [run] = run else { return Err("run lacks `as $variable`".into()) };
        self.expect(words, |stage, output| {
            let Output::Run(request) = output else { return Ok(false) };
            stage.runs.insert((*run).to_owned(), request.id);
            let facts = facts.iter().map(|fact| stage.holds(fact, request)).collect::<Result<Vec<_>, _>>()?;
            Ok(request.service.as_str() == *service && stage.matches(body, &request.body)? && !facts.contains(&false))
        })
    }

    fn holds(&self, fact: &str, request: &Run) -> Result<bool, String> {
        let frame = |text: &str| Some(Frame::from(text.to_owned()));
        Ok(match fact.split_once('=') {
            Some(("caller", caller)) => match caller.strip_prefix("client:") {
                Some(peer) => request.caller.to_string() == format!("client:{}", id_of(peer)),
                None => request.caller.to_string() == caller,
            },
            Some(("within", time)) => request.deadline == self.now + duration(time)?,
            Some(("key", key)) => request.idempotency_key == frame(key),
            Some(("trace", parent)) => request.traceparent == frame(parent),
            _ => return Err(format!("a run has no {fact}")),
        })
    }

    fn expect_stop(&mut self, run: &str, words: &[&str]) -> Outcome {
        let request = self.run(run)?;
        self.expect(words, |_, output| Ok(*output == Output::Stop(request)))
    }

    /// Expects `$call "frames"`, or `$call failure 403 "part of the reason"`.
    fn expect_answer(&mut self, call: &str, rest: &[&str], words: &[&str]) -> Outcome {
        let expected = *self.calls.get(call).ok_or(format!("{call} is no call"))?;
        self.expect(words, |stage, output| {
            let Output::Answer { call, result } = output else { return Ok(false) };
            Ok(*call == expected
                && match (rest, result) {
                    (["failure", code, part], Err(failure)) => {
                        let part = text(part)?;
                        failure.code.number().to_string() == *code
                            && failure.reason.contains(String::from_utf8_lossy(&part).as_ref())
                    }
                    (["failure", ..], _) | (_, Err(_)) => false,
                    (frames, Ok(body)) => stage.matches(frames, body)?,
                })
        })
    }

    fn expect_event(&self, part: &str) -> Outcome {
        let part = String::from_utf8_lossy(&text(part)?).into_owned();
        if self.events.iter().any(|event| event.contains(&part)) {
            return Ok(());
        }
        Err(format!("  expected: event {part:?}\n  got:      {}", self.events.join("\n            ")))
    }

    fn expect_services(&self, names: &[&str]) -> Outcome {
        let got: Vec<String> = self.node.services(self.now).map(|service| service.name.to_string()).collect();
        if got == names {
            return Ok(());
        }
        Err(format!("  expected: services {}\n  got:      services {}", names.join(" "), got.join(" ")))
    }

    fn matches(&mut self, words: &[&str], frames: &[Frame]) -> Result<bool, String> {
        let patterns = patterns(&owned(words), self.dialects)?;
        let variables = &mut self.frames;
        Ok(patterns.len() == frames.len()
            && patterns.iter().zip(frames).all(|(pattern, frame)| pattern.matches(frame, variables)))
    }

    fn sent(&self, words: &[&str]) -> Result<Vec<Frame>, String> {
        patterns(&owned(words), self.dialects)?.iter().map(|pattern| pattern.frame(&self.frames)).collect()
    }

    fn run(&self, run: &str) -> Result<RequestId, String> {
        self.runs.get(run).copied().ok_or(format!("{run} is no run"))
    }

    fn show(&self, output: &Output) -> String {
        let variables = &self.frames;
        match output {
            Output::Send { to, frames } => format!("{} < {}", name_of(to), show(frames, variables)),
            Output::Run(request) => format!("run {} {}", request.service, show(&request.body, variables)),
            Output::Stop(run) => {
                let known = self.runs.iter().find(|(_, id)| *id == run);
                known.map_or(format!("stop {run:?}"), |(name, _)| format!("stop {name}"))
            }
            Output::Answer { call, result } => match result {
                Ok(body) => format!("answer {call:?} {}", show(body, variables)),
                Err(failure) => format!("answer {call:?} failure {} {:?}", failure.code.number(), failure.reason),
            },
            Output::Event(event) => format!("event {event}"),
            Output::Zone(event) => format!("event {event}"),
            Output::Disconnect(peer) => format!("disconnect {}", name_of(peer)),
            Output::Reply { to, id, reply } => match reply {
                Reply::Partial(body) => format!("{} replied {id} partial {}", name_of(to), show(body, variables)),
                Reply::Final(body) => format!("{} replied {id} final {}", name_of(to), show(body, variables)),
                Reply::Failure(failure) => format!("{} replied {id} failure {}", name_of(to), failure.code.number()),
            },
            Output::Dial { link, endpoint, .. } => format!("dial {endpoint} as {link}"),
            Output::Post { link, frames } => format!("{link} < {}", show(frames, variables)),
            Output::HangUp(link) => format!("hang up {link}"),
        }
    }
}

/// Routing ids as libzmq makes them: they begin with a zero byte and are not text (mistake 7).
const ID_BEGINS: &[u8] = b"\0\xff";

fn id_of(peer: &str) -> ConnectionId {
    if peer.starts_with("http") {
        return ConnectionId::of_transport(Transport::Http, peer, None);
    }
    let name = peer.rsplit_once('/').map_or(peer, |(_, name)| name);
    let has_own_identity = name.starts_with(|first: char| first.is_ascii_uppercase());
    let id = if has_own_identity { peer.as_bytes().to_vec() } else { [ID_BEGINS, peer.as_bytes()].concat() };
    match peer.split_once('/').map(|(principal, _)| principal.parse()) {
        Some(Ok(principal)) => ConnectionId::authenticated(id, principal),
        _ => ConnectionId::new(id),
    }
}

/// Returns a request of a transport that reads its own protocol.
fn request(id: u64, service: &str, body: Body) -> Request {
    let service = Frame::copy_from_slice(service.as_bytes());
    let (deadline_ms, traceparent, idempotency_key) = (None, None, None);
    Request { id, service, deadline_ms, wait: false, trace: false, traceparent, idempotency_key, body }
}

fn name_of(peer: &ConnectionId) -> String {
    String::from_utf8_lossy(peer.as_bytes().strip_prefix(ID_BEGINS).unwrap_or(peer.as_bytes())).into_owned()
}

fn name(service: &str) -> Result<ServiceName, String> {
    service.parse().map_err(|invalid| format!("{service}: {invalid}"))
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn split<'a>(words: &'a [&'a str], at: &str) -> (&'a [&'a str], &'a [&'a str]) {
    words.iter().position(|word| *word == at).map_or((words, &[]), |place| (&words[..place], &words[place + 1..]))
}

fn failure(code: &str, reason: &str) -> Result<Failure, String> {
    let code = code.parse().ok().and_then(Code::from_number).ok_or(format!("{code} is no code"))?;
    Ok(Failure::new(code, String::from_utf8_lossy(&text(reason)?)))
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| format!("{text} is no duration"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(format!("{text} is no duration: it ends in ms or s")),
    }
}

fn configure(settings: &mut NodeSettings, words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text} is no number"));
    let (limits, majordomo) = (&mut settings.limits, &mut settings.majordomo);
    match words.as_slice() {
        ["requests", limit] => limits.requests = number(limit)?,
        ["requests-per-client", limit] => limits.requests_per_client = number(limit)?,
        ["held-bytes", limit] => limits.held_bytes = number(limit)?,
        ["message", limit] => limits.message = number(limit)?,
        ["frames", limit] => limits.frames = number(limit)?,
        ["workers", limit] => limits.workers = number(limit)?,
        ["call-depth", limit] => limits.call_depth = number(limit)?,
        ["trust", name, grants @ ..] => trust(settings.access.get_or_insert_default(), name, grants)?,
        ["majordomo-heartbeat", heartbeat, expiry] => {
            (majordomo.heartbeat, majordomo.expiry) = (duration(heartbeat)?, duration(expiry)?);
        }
        ["wait", time] => majordomo.wait = duration(time)?,
        ["majordomo-deadline", time] => majordomo.deadline = Some(duration(time)?),
        ["default-deadline", time] => settings.defaults.deadline = Some(duration(time)?),
        ["on-failure", "status"] => majordomo.on_failure = OnFailure::Status,
        [key, service, values @ ..] => {
            let service = settings.services.entry(name(service)?).or_default();
            return configure_service(service, key, values);
        }
        _ => return Err(format!("no setting: {}", words.join(" "))),
    }
    Ok(())
}

/// Trusts a client with `allow=SERVICES` and `work=SERVICES`, patterns separated by commas, `outstanding=` and `rate=`.
fn trust(access: &mut Access, name: &str, grants: &[&str]) -> Outcome {
    let mut grant =
        Grant { role: Role::Client, allow: Vec::new(), work: Vec::new(), is_admin: false, quota: Quota::default() };
    for given in grants {
        if let Some(most) = given.strip_prefix("outstanding=") {
            grant.quota.outstanding = most.parse().ok();
            continue;
        }
        if let Some(rate) = given.strip_prefix("rate=") {
            grant.quota.requests_per_second = rate.parse().ok();
            continue;
        }
        let (key, patterns) = given.split_once('=').ok_or(format!("{given} is no grant"))?;
        let patterns = patterns.split(',').map(|pattern| pattern.parse().map_err(|_| format!("{pattern}: no pattern")));
        let patterns = patterns.collect::<Result<_, _>>()?;
        match key {
            "allow" => grant.allow = patterns,
            "work" => grant.work = patterns,
            _ => return Err(format!("{given} is no grant")),
        }
    }
    access.grants.insert(name.parse().map_err(|_| format!("{name} is no name"))?, grant);
    Ok(())
}

fn configure_service(service: &mut ServiceSettings, key: &str, values: &[&str]) -> Outcome {
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text} is no number"));
    match (key, values) {
        ("idempotent", []) => service.idempotent = true,
        ("concurrency", [limit]) => service.concurrency = number(limit)?,
        ("queue", [limit]) => service.queue = number(limit)?,
        ("deadline", [time]) => service.deadline = Some(duration(time)?),
        ("calls", patterns) => {
            let parsed = patterns.iter().map(|pattern| pattern.parse().map_err(|_| format!("{pattern}: no pattern")));
            service.calls = parsed.collect::<Result<_, _>>()?;
        }
        ("calls-as", ["caller"]) => service.calls_as = CallsAs::Caller,
        _ => return Err(format!("a service has no setting {key}")),
    }
    Ok(())
}
