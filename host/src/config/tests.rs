//! Whole files: their meaning, and the reports of their mistakes.

use super::*;
use std::num::NonZeroU32;
use wasmnode_core::{CallsAs, DirectorySettings, PLUGIN_DEADLINE, PeerSettings, Seed, ServiceSettings};
use wasmnode_sandbox::{FolderGrant, Grants, HttpGrant, Reuse, SandboxSettings, Trial};

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("etc/node.toml")).unwrap()
}

fn mistakes(text: &str) -> String {
    Config::parse(text, Path::new("etc/node.toml")).expect_err(text).to_string()
}

fn example(file: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(file);
    Config::load(&path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = Config::parse("", Path::new("node.toml")).unwrap();
    assert_eq!(config, Config { has_built_in: false, ..Config::embedded() });
    assert_eq!(config, Config::parse("[node]\n[limits]\n[majordomo]\n[defaults]\n[service]", Path::new("x")).unwrap());
    assert_eq!(config.node.zone.as_str(), "local");
    assert_eq!(config.node.limits, Limits::default());
    assert_eq!(config.node.majordomo, Majordomo::default());
    assert_eq!(config.node.defaults, ServiceSettings::default());
    assert!(config.node.services.is_empty());
    let listen = [Endpoint::Ipc("wasmnode.ipc".into()), Endpoint::Tcp("127.0.0.1:5555".into())];
    assert_eq!(config.listen, listen);
    assert_eq!(config.plugins, Path::new("plugins"));
    assert_eq!(config.services, None);
    assert!(config.cache.is_absolute());
    assert_eq!(config.drain, Duration::from_secs(10));
    assert_eq!((config.instances, config.plugin_descriptors), (1_000, None));
    assert_eq!(config.sandboxes.defaults, SandboxSettings::default());
    assert!(config.sandboxes.by_service.is_empty());
}

#[test]
fn every_key_reaches_its_field() {
    let config = parse(
        r#"
        node = { name = "n", zone = "z-eu", listen = ["tcp://localhost:*", "tcp://[::1]:*"], plugins = "/p",
                 seeds = ["ipc:///a.ipc", "tcp://localhost:1"], advertise = "tcp://[::1]:2", services = [], cache = "c", drain = "1m" }
        limits = { requests = 1, requests-per-client = 2, held-bytes = "3MiB", kept-replies = 14, kept-bytes = "15KiB", message = 4096, frames = 50, workers = 6,
                   call-depth = 7, reconnect = "8s", requests-per-peer = 10, members = 11, offers = 12, routes = 13, instances = 8, plugin-descriptors = 16, unread-bytes = "9MiB",
                   unfinished-bytes = "10MiB", plugin = "7KiB",
                   compile-time = "15s", compile-time-per-mib = "16s", compile-memory = "67MiB", cache-bytes = "18MiB" }
        peers = { heartbeat = "10ms", expiry = "1s", retry-budget = 5, probe = "2s", suspicion = "3s", lease = "4s" }
        majordomo = { heartbeat = "1s", expiry = "3s", wait = "4s", deadline = "5s", on-failure = "status" }
        defaults.queue = 9
        [service.print]
        memory = "1MiB"
        deadline = "2.5s"
        concurrency = 3
        spill = 2
        reuse = 4
        lifetime = "request"
        idempotent = true
        reply = "5KiB"
        log-lines = 6
        trial-requests = 7
        trial-crashes = 8
        quarantine-after = 9
        env = { A = "b" }
        fs = [{ host = "d", guest = "/d", bytes = "7KiB", files = 8 }]
        net = ["tcp:127.0.0.1:9"]
        http = ["h.example:8"]
        calls = ["print", "storage.*"]
        calls-as = "caller"
        "#,
    );
    assert_eq!((config.node.name.as_str(), config.node.zone.as_str()), ("n", "z-eu"));
    assert_eq!(config.listen, [Endpoint::Tcp("127.0.0.1:*".into()), Endpoint::Tcp("[::1]:*".into())]);
    assert_eq!((config.plugins, config.cache), ("/p".into(), "etc/c".into()));
    assert_eq!(config.services, Some(BTreeSet::new()));
    assert_eq!((config.drain, config.instances), (Duration::from_secs(60), 8));
    assert_eq!(config.plugin_descriptors, Some(16));
    assert_eq!((config.unread_bytes, config.plugin_bytes), (9 << 20, 7 << 10));
    assert_eq!(config.unfinished_bytes, 10 << 20);
    assert_eq!(config.node.seeds, ["ipc:///a.ipc", "tcp://127.0.0.1:1"].map(Seed::at));
    assert_eq!(config.advertise, Some(Endpoint::Tcp("[::1]:2".into())));
    let (heartbeat, expiry) = (Duration::from_millis(10), Duration::from_secs(1));
    assert_eq!(config.node.peers, PeerSettings { heartbeat, expiry, retry_budget: 5 });
    let members = &config.node.members;
    assert_eq!((members.probe_period, members.suspicion), (Duration::from_secs(2), Duration::from_secs(3)));
    assert_eq!(members.limit, 11);
    assert_eq!(config.node.routes, DirectorySettings { lease: Duration::from_secs(4), offers: 12, routes: 13 });
    let limits = Limits {
        requests: 1,
        requests_per_peer: 10,
        requests_per_client: 2,
        held_bytes: 3 << 20,
        kept_replies: 14,
        kept_bytes: 15 << 10,
        message: 4096,
        frames: 50,
        workers: 6,
        call_depth: 7,
        reconnect: Duration::from_secs(8),
    };
    let compile = CompileSettings {
        time: Duration::from_secs(15),
        time_per_mib: Duration::from_secs(16),
        memory: 67 << 20,
        cache_bytes: 18 << 20,
        ..CompileSettings::default()
    };
    assert_eq!(config.compile, compile);
    assert_eq!(config.node.limits, limits);
    let [heartbeat, expiry, wait] = [1, 3, 4].map(Duration::from_secs);
    let (deadline, on_failure) = (Some(Duration::from_secs(5)), OnFailure::Status);
    assert_eq!(config.node.majordomo, Majordomo { heartbeat, expiry, wait, deadline, on_failure });
    let print = ServiceSettings {
        deadline: Some(Duration::from_millis(2500)),
        concurrency: 3,
        queue: 9,
        spill: 2,
        idempotent: true,
        calls: vec!["print".parse().unwrap(), "storage.*".parse().unwrap()],
        calls_as: CallsAs::Caller,
    };
    assert_eq!(config.node.services, BTreeMap::from([(name("print"), print)]));
    let reuse = Reuse::Requests(NonZeroU32::new(4).unwrap());
    let sandbox = SandboxSettings {
        memory: 1 << 20,
        reuse,
        reply: 5 << 10,
        log_lines: 6,
        trial: Trial { requests: 7, crashes: 8 },
        quarantine_after: 9,
        grants: Grants {
            env: BTreeMap::from([("A".into(), "b".into())]),
            fs: vec![FolderGrant { host: "etc/d".into(), guest: "/d".into(), write: false, bytes: 7 << 10, files: 8 }],
            net: vec!["127.0.0.1:9".parse().unwrap()],
            http: vec![HttpGrant { host: "h.example".into(), port: Some(8), address: None }],
        },
    };
    assert_eq!(config.sandboxes.by_service, BTreeMap::from([(name("print"), sandbox)]));
}

#[test]
fn a_service_takes_what_it_leaves_out_from_the_defaults() {
    let config = parse("service.a.memory = '2MiB'\n[defaults]\nmemory = '1MiB'\nreuse = 5\nqueue = 7\n[service.b]");
    let five = Reuse::Requests(NonZeroU32::new(5).unwrap());
    let sandbox = config.sandbox().sandboxes;
    assert_eq!((sandbox.of(&name("a")).memory, sandbox.of(&name("a")).reuse), (2 << 20, five));
    assert_eq!(sandbox.of(&name("b")), &config.sandboxes.defaults);
    assert_eq!(sandbox.of(&name("elsewhere")), &config.sandboxes.defaults);
    assert_eq!(config.node.services[&name("a")].queue, 7);
    assert_eq!(config.node.services[&name("b")], config.node.defaults);
}

#[test]
fn a_singleton_runs_one_request_at_a_time() {
    let config = parse("[defaults]\nreuse = 5\nconcurrency = 9\n[service.a]\nlifetime = 'singleton'\n[service.b]");
    assert_eq!(config.sandbox().sandboxes.of(&name("a")).reuse, Reuse::Singleton);
    assert_eq!(config.node.services[&name("a")].concurrency, 1);
    assert_eq!(config.node.services[&name("b")].concurrency, 9);
    parse("[service.a]\nlifetime = 'singleton'\nreuse = 1\nconcurrency = 1");
}

#[test]
fn a_service_may_override_the_singleton_of_the_defaults() {
    let config = parse("[defaults]\nlifetime = 'singleton'\n[service.a]\nlifetime = 'request'\n[service.b]");
    assert_eq!(config.sandbox().sandboxes.of(&name("a")).reuse, Reuse::Requests(NonZeroU32::MIN));
    assert_eq!(config.node.services[&name("a")].concurrency, 64);
    assert_eq!(config.sandbox().sandboxes.of(&name("b")).reuse, Reuse::Singleton);
    assert_eq!(config.node.defaults.concurrency, 1);
}

#[test]
fn paths_start_at_the_folder_of_the_file() {
    let text = "[node]\nlisten = ['ipc://a.ipc']\nplugins = '../plugins'\ncache = 'cache'";
    let config = parse(text);
    assert_eq!((config.plugins, config.cache), ("etc/../plugins".into(), "etc/cache".into()));
    assert_eq!(config.listen, [Endpoint::Ipc("etc/a.ipc".into())]);
    let config = Config::parse(text, Path::new("node.toml")).unwrap();
    assert_eq!((config.plugins, config.cache), ("../plugins".into(), "cache".into()));
    assert_eq!(config.listen, [Endpoint::Ipc("a.ipc".into())]);
}

#[test]
fn compiled_plugins_and_state_are_kept_in_xdg_folders() {
    let folder = |kind, xdg: &'static str, home: &'static str| {
        default_folder(kind, |name| {
            let value = if name == "HOME" { home } else { xdg };
            (!value.is_empty()).then(|| value.into())
        })
    };
    assert_eq!(folder(&CACHE, "/caches", "/home/me"), Path::new("/caches/wasmnode"));
    assert_eq!(folder(&CACHE, "relative", "/home/me"), Path::new("/home/me/.cache/wasmnode"));
    assert_eq!(folder(&CACHE, "", ""), std::env::temp_dir().join("wasmnode-cache"));
    assert_eq!(folder(&STATE, "/states", "/home/me"), Path::new("/states/wasmnode"));
    assert_eq!(folder(&STATE, "", "/home/me"), Path::new("/home/me/.local/state/wasmnode"));
    assert_eq!(folder(&STATE, "", ""), std::env::temp_dir().join("wasmnode-state"));
}

#[test]
fn the_examples_are_valid() {
    let (node1, node2) = (example("node1.toml"), example("node2.toml"));
    assert_eq!((node1.node.name.as_str(), node2.node.name.as_str()), ("node1", "node2"));
    assert_eq!(node1.services, Some(BTreeSet::from([name("print")])));
    assert_eq!(node2.services, Some(BTreeSet::from([name("afficher")])));
    assert_eq!(node1.listen[1], Endpoint::Tcp("127.0.0.1:5555".into()));
    assert_eq!(node2.listen[1], Endpoint::Tcp("127.0.0.1:5556".into()));
    assert!(node1.node.services.contains_key("print"));
    assert!(node2.node.services.contains_key("afficher"));
    assert_eq!(node1.sandboxes.defaults, SandboxSettings::default());
    assert_eq!(node1.sandboxes.by_service[&name("print")], SandboxSettings::default(), "node1.toml names the defaults");
    // Without a setting, the deadline of plugins applies.
    let named = ServiceSettings { deadline: Some(PLUGIN_DEADLINE), ..ServiceSettings::default() };
    assert_eq!(node1.node.services[&name("print")], named, "node1.toml names the defaults");
}

#[test]
fn with_keys_a_node_may_listen_anywhere_and_its_seeds_have_names() {
    let config = parse(
        "node = { listen = ['tcp://0.0.0.0:5555'], advertise = 'tcp://10.0.0.2:5555', seeds = ['node1@tcp://10.0.0.1:5555'] }\n\
         security = { keys = 'k', ipc-group = 50 }\n\
         router.neighbour.lyon = { endpoint = 'tcp://10.1.0.1:5555', router = 'lyon1' }",
    );
    let seed = Seed { name: Some("node1".parse().unwrap()), endpoint: "tcp://10.0.0.1:5555".into() };
    assert_eq!(config.node.seeds, [seed]);
    assert_eq!((config.keys, config.ipc.group), (Some("etc/k".into()), Some(50)));
    let router = config.node.router.unwrap();
    assert_eq!((router.neighbours[0].name.as_str(), router.neighbours[0].zone.as_str()), ("lyon1", "lyon"));
}

#[test]
fn each_mistake_has_its_place_problem_and_remedy() {
    let table = [
        ("nod = {}", "etc/node.toml:1: nod: unknown key; did you mean node? (known here: security, node, limits, "),
        (
            "[node]\nzzzzzz = 1",
            "etc/node.toml:2: node.zzzzzz: unknown key (known here: name, zone, listen, advertise, ",
        ),
        ("[service.a]\nlog_lines = 1", ":2: service.a.log_lines: unknown key; did you mean log-lines?"),
        ("[service.storage.read]", ":1: service.storage.read: unknown key; a service name with a dot needs quotes: "),
        ("node = 3", ":1: node: expected a table, [node], got the number 3"),
        ("[[service.a]]\n[[service.a]]", ":1: service.a: expected a table, [service.a], got a list"),
        ("service = []", ":1: service: expected a table, [service], got a list"),
        ("[node]\nname = 1", ":2: node.name: expected a name such as \"node1\", got the number 1"),
        ("[node]\nname = 'a b'", ":2: node.name: \"a b\" is not a name; write 1 to 63 letters of"),
        ("[node]\nzone = ''", "node.zone: \"\" is not a name"),
        ("[node]\nzone = '\u{7f}é'", "not TOML"),
        ("[node]\nname = \"\\u001b[2J\"", "node.name: \"\\u{1b}[2J\" is not a name"),
        ("[node]\nplugins = ''", "node.plugins: is empty"),
        ("[node]\nplugins = {}", "node.plugins: expected a path such as \"../plugins\", got a table"),
        ("[node]\ncache = '~/cache'", "node.cache: \"~/cache\": '~' is not expanded; write the whole path"),
        ("[node]\nservices = 'print'", "node.services: expected a list such as [\"...\"], got \"print\""),
        (
            "[node]\nservices = [\n'print',\n'a b']",
            ":4: node.services[1]: \"a b\": the service name contains white space",
        ),
        ("[node]\nservices = ['mmi.x']", "node.services[0]: \"mmi.x\" is a name that the node answers itself"),
        ("[node]\ndrain = 5", "node.drain: expected a duration such as \"2s\" or \"250ms\", got the number 5"),
        ("[node]\ndrain = '0s'", "node.drain: \"0s\" is out of range; write a duration from \"1ms\" to \"30d\""),
        ("[node]\ndrain = '2'", "node.drain: \"2\" is not a duration; write \"2s\""),
        ("[node]\nlisten = []", ":2: node.listen: is empty, so that no client could reach the node"),
        (
            "[node]\nlisten = ['node1.ipc']",
            "node.listen[0]: \"node1.ipc\" is not an endpoint; write \"ipc://node.ipc\"",
        ),
        ("[node]\nlisten = ['ipc://@x']", "\"ipc://@x\": no file permissions would protect it"),
        ("[node]\nlisten = ['ipc://*']", "\"ipc://*\": no file permissions would protect it"),
        ("[node]\nlisten = ['tcp://127.0.0.1']", "\"tcp://127.0.0.1\": expected a host and a port"),
        ("[node]\nlisten = ['tcp://127.0.0.1:65536']", "the port is a number from 0 to 65535, or '*'"),
        ("[node]\nlisten = ['tcp://::1:1']", "an IPv6 address needs brackets"),
        (
            "[node]\nlisten = ['tcp://*:5555']",
            "\"tcp://*:5555\": listening beyond this machine without keys would give access to everyone; make some with",
        ),
        ("[node]\nlisten = ['tcp://192.168.0.1:1']", "set security.keys = \"keys\""),
        ("[node]\nlisten = ['ipc://a', 'ipc://./a']", "node.listen[1]: \"ipc://etc/./a\" is given twice"),
        ("[node]\nlisten = ['tcp://127.0.0.1:1', 'tcp://localhost:1']", "\"tcp://127.0.0.1:1\" is given twice"),
        ("[limits]\nrequests = 0", "limits.requests: the number 0 is out of range; write 1 to 10000000"),
        ("[limits]\nrequests = -1", "the number -1 is out of range"),
        ("[limits]\nrequests = 0x", "out of range"),
        ("[limits]\nrequests = 99999999999999999999999999999999999999999999", "is out of range; write 1 to 10000000"),
        ("[limits]\nrequests = 1.5", "expected a whole number from 1 to 10000000, got the number 1.5"),
        (
            "[limits]\nmessage = '2GiB'",
            "limits.message: \"2GiB\" is out of range; write a size from \"1KiB\" to \"1GiB\"",
        ),
        ("[limits]\nmessage = 1979-05-27", "got the date 1979-05-27"),
        (
            "[majordomo]\nexpiry = '7s'",
            ":2: majordomo.expiry: an expiry of 7s is less than three heartbeats; set expiry to 7s 500ms",
        ),
        (
            "[peers]\nexpiry = '900ms'",
            ":2: peers.expiry: an expiry of 900ms is less than four heartbeats; set expiry to",
        ),
        ("[security]\nkeys = ''", "security.keys: is empty"),
        ("[security]\nkeys = 'k'\ninsecure = true", ":3: security.insecure: has no effect beside security.keys"),
        ("[security]\nipc-group = 'no such group'", ":2: security.ipc-group: \"no such group\" is not a group"),
        (
            "[security]\nipc-group = []",
            "security.ipc-group: expected a group such as \"staff\", or its number, got a list",
        ),
        (
            "[security]\nkeys = 'k'\n[node]\nseeds = ['tcp://10.0.0.1:5']",
            ":4: node.seeds[0]: its key cannot be checked without its name; write \"NAME@tcp://10.0.0.1:5\"",
        ),
        ("[node]\nseeds = ['a b@tcp://10.0.0.1:5']", "node.seeds[0]: \"a b@tcp://10.0.0.1:5\": \"a b\" is not a name"),
        ("[majordomo]\nheartbeat = '4s'", ":2: majordomo.heartbeat: an expiry of 10s is less than three heartbeats"),
        ("[majordomo]\non-failure = 'x'", "majordomo.on-failure: expected \"silence\" or \"status\", got \"x\""),
        ("[defaults]\nmemory = '64 potatoes'", ":2: defaults.memory: \"64 potatoes\" is not a size; write \"64MiB\""),
        ("[defaults]\nmemory = '63KiB'", "write a size from \"64KiB\" to \"4GiB\""),
        ("[defaults]\nreuse = 0", "write 1 to 4294967295"),
        ("[defaults]\nidempotent = 'yes'", "defaults.idempotent: expected true or false, got \"yes\""),
        ("[service.'node.x']", ":1: service.\"node.x\": \"node.x\" is a name that the node answers itself"),
        ("[service.'']", ":1: service.\"\": \"\": the service name is empty"),
        ("[service.a]\ncalls = ['a*b']", ":2: service.a.calls[0]: \"a*b\": the service name pattern has a '*'"),
        ("[service.a]\ncalls = [[]]", "service.a.calls[0]: expected the name of a service, or a beginning"),
        ("[service.a]\nlifetime = 'singleton'\nreuse = 2", ":3: service.a.reuse: a singleton is never replaced"),
        ("[service.a]\nconcurrency = 2\nlifetime = 'singleton'", ":2: service.a.concurrency: a singleton runs one"),
        ("[defaults]\nlifetime = 'singleton'\n[service.a]\nreuse = 2", ":4: service.a.reuse: a singleton is never"),
        ("[node]\nname =\n", "etc/node.toml:2: not TOML: "),
        ("[node]\nname = 'a'\nname = 'b'", ":3: not TOML: duplicate key"),
        ("[node", ":1: not TOML: "),
    ];
    for (text, expected) in table {
        let said = mistakes(text);
        assert!(said.contains(expected), "{text}\n  expected {expected}\n  said     {said}");
        assert_eq!(said.lines().count(), 1, "{text}\n  {said}");
    }
}

#[test]
fn all_mistakes_are_reported_in_the_order_of_the_file() {
    let said = mistakes(
        "[service.print]\nmemory = \"64 potatoes\"\nreuse = \"x\"\nlifetime = \"singleton\"\nconcurrency = 5\n\n\
         [node]\nname = \"\"\nlisten = [\"x\",\n  \"tcp://0.0.0.0:1\"]\nporgam = 1\n\n\
         [limits]\nframes = 1\n[majordomo]\nheartbeat = \"bad\"\nexpiry = \"1s\"\n[service.\"a b\"]\nqueue = -1\n",
    );
    let places: Vec<_> = said.lines().map(|line| line.splitn(4, ':').take(3).collect::<String>()).collect();
    let expected = [
        "etc/node.toml2 service.print.memory",
        "etc/node.toml3 service.print.reuse",
        "etc/node.toml5 service.print.concurrency",
        "etc/node.toml8 node.name",
        "etc/node.toml9 node.listen[0]",
        "etc/node.toml10 node.listen[1]",
        "etc/node.toml11 node.porgam",
        "etc/node.toml14 limits.frames",
        "etc/node.toml16 majordomo.heartbeat",
        "etc/node.toml18 service.\"a b\"",
        "etc/node.toml19 service.\"a b\".queue",
    ];
    assert_eq!(places, expected, "{said}");
}

#[test]
fn the_deadline_of_defaults_is_that_of_plugins_and_no_other_services_own() {
    let config = parse("[defaults]\ndeadline = '5s'\n[service.a]\nqueue = 1\n[service.b]\ndeadline = '1s'");
    let own = |service| config.node.services[&name(service)].deadline;
    assert_eq!((config.node.defaults.deadline, own("a")), (Some(Duration::from_secs(5)), None));
    assert_eq!((own("b"), config.node.majordomo.deadline), (Some(Duration::from_secs(1)), None));
}

#[test]
fn a_value_of_the_wrong_type_never_panics() {
    let values =
        ["1", "-1", "1.5", "nan", "true", "''", "'x'", "[]", "[[]]", "[{}]", "{}", "{a.b = 1}", "07:32:00", "0o"];
    let keys = [
        "node",
        "limits",
        "majordomo",
        "defaults",
        "service",
        "service.a",
        "node.name",
        "node.listen",
        "node.plugins",
        "node.services",
        "node.cache",
        "node.drain",
        "limits.requests",
        "limits.held-bytes",
        "majordomo.expiry",
        "majordomo.on-failure",
        "defaults.memory",
        "defaults.reuse",
        "defaults.lifetime",
        "defaults.calls",
        "defaults.idempotent",
    ];
    for (key, value) in keys.iter().flat_map(|key| values.iter().map(move |value| (key, value))) {
        let result = Config::parse(&format!("{key} = {value}"), Path::new("x"));
        assert!(result.is_ok() || result.is_err_and(|error| error.to_string().starts_with("x:1: ")), "{key} = {value}");
    }
}

#[test]
fn a_default_socket_in_too_deep_a_folder_is_reported() {
    let deep = Path::new("/").join("x".repeat(120)).join("node.toml");
    let said = Config::parse("", &deep).unwrap_err().to_string();
    assert!(said.contains("node.listen: the default") && said.contains("a Unix socket's may have 107"), "{said}");
    Config::parse("[node]\nlisten = ['tcp://127.0.0.1:*']", &deep).unwrap();
}

#[test]
fn an_unreadable_file_is_reported_with_a_remedy() {
    let said = Config::load(Path::new("no/such.toml")).unwrap_err().to_string();
    assert!(said.starts_with("no/such.toml: no such file") && said.contains("; name a file that exists"), "{said}");
    let error = String::from_utf8(b"a\n\xff".to_vec()).unwrap_err();
    let said = ConfigError::not_text(Path::new("x"), error.as_bytes(), error.utf8_error()).to_string();
    assert_eq!(said, "x:2: not UTF-8; save it as UTF-8 text");
}

#[test]
fn a_configuration_that_is_not_a_regular_file_is_rejected_without_waiting_for_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("node.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let said = Config::load(&pipe).unwrap_err().to_string();
    assert!(said.contains("node.toml: not a regular file but a FIFO; name a file"), "{said}");
    let said = Config::load(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(said.starts_with("/dev/zero: not a regular file but a device"), "{said}");
}
