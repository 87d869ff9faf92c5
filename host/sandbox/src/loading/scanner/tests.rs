use super::*;
use std::fs::File;
use std::sync::{LazyLock, Mutex};
use tempfile::TempDir;

const FILE: &str = "print.wasm";
const SIGNATURE: &str = "print.wasm.minisig";

struct Fixture {
    folder: Scanner,
    start: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: Scanner::default(), start: Instant::now() }
    }

    /// Scans `ms` milliseconds after the start; the file has this content, and was closed by its writer or not.
    fn scan(&mut self, ms: u64, content: Option<u64>, closed: bool) -> Vec<Change> {
        self.scan_both(ms, (content, closed), (None, false))
    }

    /// Scans a plugin with its signature.
    fn scan_both(&mut self, ms: u64, plugin: (Option<u64>, bool), signature: (Option<u64>, bool)) -> Vec<Change> {
        let files = [(FILE, plugin), (SIGNATURE, signature)];
        let found =
            files.iter().filter_map(|(file, (content, _))| Some((file.into(), Ok(stamp((*content)?))))).collect();
        let closed = files.iter().filter(|(_, (_, closed))| *closed).map(|(file, _)| file.into()).collect();
        self.folder.scan(&found, &closed, self.start + Duration::from_millis(ms))
    }

    /// Scans while the plugin's file cannot be used, for this reason.
    fn scan_failing(&mut self, ms: u64, error: FileError) -> Vec<Change> {
        let found = BTreeMap::from([(FILE.into(), Err(error))]);
        self.folder.scan(&found, &BTreeSet::new(), self.start + Duration::from_millis(ms))
    }

    /// Records a failed attempt to read this content; returns the pause until the next one in milliseconds.
    fn fail(&mut self, ms: u64, content: u64) -> Option<u128> {
        let stamp = Stamp { plugin: stamp(content), signature: None };
        let now = self.start + Duration::from_millis(ms);
        self.folder.failed(Path::new(FILE), &stamp, now).map(|pause| pause.as_millis())
    }

    fn next_scan_ms(&self) -> Option<u128> {
        self.folder.next_scan().map(|next| (next - self.start).as_millis())
    }
}

/// Returns the stamp of an unchanging file of this length, which equals only stamps made from the same number.
fn stamp(content: u64) -> files::Stamp {
    static KNOWN: LazyLock<(TempDir, Mutex<BTreeMap<u64, files::Stamp>>)> =
        LazyLock::new(|| (tempfile::tempdir().unwrap(), Mutex::default()));
    let (folder, known) = &*KNOWN;
    *known.lock().unwrap().entry(content).or_insert_with(|| {
        let file = folder.path().join(content.to_string());
        File::create(&file).unwrap().set_len(content).unwrap();
        files::Stamp::of(&file).unwrap()
    })
}

fn denied() -> FileError {
    FileError::Io(io::ErrorKind::PermissionDenied, "permission denied".into())
}

fn unusable(error: FileError) -> Vec<Change> {
    vec![Change::Unusable(FILE.into(), error)]
}

fn whole(content: u64) -> Vec<Change> {
    vec![Change::Whole(FILE.into(), Stamp { plugin: stamp(content), signature: None })]
}

fn signed(content: u64, signature: u64) -> Vec<Change> {
    vec![Change::Whole(FILE.into(), Stamp { plugin: stamp(content), signature: Some(Ok(stamp(signature))) })]
}

fn gone() -> Vec<Change> {
    vec![Change::Gone(FILE.into())]
}

#[test]
fn a_file_that_was_closed_is_whole_once_it_has_settled() {
    let mut scene = Fixture::new();
    assert_eq!(scene.scan(0, Some(1), true), []);
    assert_eq!(scene.next_scan_ms(), Some(50));
    assert_eq!(scene.scan(49, Some(1), false), []);
    assert_eq!(scene.scan(50, Some(1), false), whole(1));
    assert_eq!(scene.scan(9_000, Some(1), false), []);
    assert_eq!(scene.next_scan_ms(), None);
}

#[test]
fn a_copy_that_stalls_is_whole_only_after_a_long_quiet_time() {
    let mut scene = Fixture::new();
    assert_eq!(scene.scan(0, Some(1), false), []);
    assert_eq!(scene.scan(1_900, Some(1), false), []);
    assert_eq!(scene.scan(1_950, Some(2), false), [], "it continued");
    assert_eq!(scene.scan(2_100, Some(2), false), []);
    assert_eq!(scene.next_scan_ms(), Some(3_950));
    assert_eq!(scene.scan(3_950, Some(2), false), whole(2));
}

#[test]
fn a_file_that_changes_after_it_was_closed_waits_for_the_next_close() {
    let mut scene = Fixture::new();
    scene.scan(0, Some(1), true);
    assert_eq!(scene.scan(60, Some(2), false), []);
    assert_eq!(scene.scan(200, Some(2), false), []);
    assert_eq!(scene.scan(210, Some(2), true), whole(2));
}

#[test]
fn a_file_that_an_editor_removes_and_writes_again_is_never_reported_as_gone() {
    let mut scene = Fixture::new();
    scene.scan(0, Some(1), true);
    scene.scan(50, Some(1), false);
    assert_eq!(scene.scan(100, None, false), []);
    assert_eq!(scene.scan(200, Some(2), true), []);
    assert_eq!(scene.scan(250, Some(2), false), whole(2));
}

#[test]
fn a_missing_file_is_reported_as_gone_once_and_may_return() {
    let mut scene = Fixture::new();
    scene.scan(0, Some(1), true);
    scene.scan(50, Some(1), false);
    scene.scan(100, None, false);
    assert_eq!(scene.next_scan_ms(), Some(400));
    assert_eq!(scene.scan(400, None, false), gone());
    assert_eq!(scene.scan(500, None, false), []);
    scene.scan(600, Some(1), true);
    assert_eq!(scene.scan(650, Some(1), false), whole(1));
}

#[test]
fn the_removal_of_an_incomplete_file_is_not_reported() {
    let mut scene = Fixture::new();
    scene.scan(0, Some(1), false);
    scene.scan(10, None, false);
    assert_eq!(scene.scan(1_000, None, false), []);
    assert_eq!(scene.next_scan_ms(), None);
}

#[test]
fn a_signature_that_arrives_with_its_plugin_is_reported_with_it() {
    let mut scene = Fixture::new();
    scene.scan(0, Some(1), true);
    assert_eq!(scene.scan_both(40, (Some(1), false), (Some(7), false)), [], "it is still being written");
    assert_eq!(scene.scan_both(60, (Some(1), false), (Some(8), true)), []);
    assert_eq!(scene.next_scan_ms(), Some(110));
    assert_eq!(scene.scan_both(110, (Some(1), false), (Some(8), false)), signed(1, 8));
    assert_eq!(scene.next_scan_ms(), None);
}

#[test]
fn a_signature_that_arrives_later_changes_its_plugin() {
    let mut scene = Fixture::new();
    scene.scan(0, Some(1), true);
    assert_eq!(scene.scan(50, Some(1), false), whole(1));
    assert_eq!(scene.scan_both(9_000, (Some(1), false), (Some(7), true)), []);
    assert_eq!(scene.scan_both(9_050, (Some(1), false), (Some(7), false)), signed(1, 7));
}

#[test]
fn a_signature_that_arrives_first_waits_for_its_plugin() {
    let mut scene = Fixture::new();
    assert_eq!(scene.scan_both(0, (None, false), (Some(7), true)), []);
    assert_eq!(scene.scan_both(9_000, (None, false), (Some(7), false)), []);
    assert_eq!(scene.next_scan_ms(), None);
    assert_eq!(scene.scan_both(9_010, (Some(1), false), (Some(7), false)), [], "only the signature is closed");
    assert_eq!(scene.scan_both(9_020, (Some(1), true), (Some(7), false)), []);
    assert_eq!(scene.scan_both(9_060, (Some(1), false), (Some(7), false)), signed(1, 7));
}

#[test]
fn the_removal_of_a_signature_leaves_its_plugin_unsigned() {
    let mut scene = Fixture::new();
    scene.scan_both(0, (Some(1), true), (Some(7), true));
    assert_eq!(scene.scan_both(50, (Some(1), false), (Some(7), false)), signed(1, 7));
    assert_eq!(scene.scan(100, Some(1), false), []);
    assert_eq!(scene.scan(399, Some(1), false), []);
    assert_eq!(scene.scan(400, Some(1), false), whole(1));
    scene.scan(500, None, false);
    assert_eq!(scene.scan(800, None, false), gone());
}

#[test]
fn plugins_and_signatures_are_recognised_by_name() {
    for (name, is_one) in [
        ("a.wasm", true),
        ("a.wasm.minisig", true),
        ("a.minisig", false),
        (".a.wasm", false),
        (".a.wasm.minisig", false),
        ("a.wasm.1.minisig", false),
        ("a.wasm.minisig.minisig", false),
    ] {
        assert_eq!(is_of_plugin(Path::new(name)), is_one, "{name}");
    }
    assert_eq!(plugin_of(&signature_of(Path::new("p/a.b.wasm"))), Path::new("p/a.b.wasm"));
}

#[test]
fn an_error_is_a_separate_state_and_never_means_that_the_file_is_gone() {
    let mut scene = Fixture::new();
    scene.scan(0, Some(1), true);
    assert_eq!(scene.scan(50, Some(1), false), whole(1));
    assert_eq!(scene.scan_failing(100, denied()), []);
    assert_eq!(scene.scan_failing(400, denied()), unusable(denied()));
    for ms in [1_400, 20_000, 90_000] {
        assert_eq!(scene.scan_failing(ms, denied()), [], "reported once");
    }
    let other = FileError::NotAFile("a FIFO");
    scene.scan_failing(91_000, other.clone());
    assert_eq!(scene.scan_failing(91_300, other.clone()), unusable(other));
    assert_eq!(scene.next_scan_ms(), None, "only transient errors are tried again");
    // The same content as before is reported, so that the error can be cleared.
    scene.scan(92_000, Some(1), true);
    assert_eq!(scene.scan(92_050, Some(1), false), whole(1));
}

#[test]
fn a_brief_error_is_not_reported() {
    let mut scene = Fixture::new();
    scene.scan(0, Some(1), true);
    scene.scan(50, Some(1), false);
    scene.scan_failing(100, denied());
    assert_eq!(scene.scan(200, Some(1), false), []);
    assert_eq!(scene.next_scan_ms(), None);
}

#[test]
fn a_transient_error_is_retried_after_growing_pauses() {
    let mut scene = Fixture::new();
    scene.scan_failing(0, denied());
    scene.scan_failing(300, denied());
    let mut now = 300;
    for pause in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        now += pause;
        assert_eq!(scene.next_scan_ms(), Some(u128::from(now)));
        assert_eq!(scene.scan_failing(now, denied()), []);
    }
}

#[test]
fn an_unusable_file_does_not_affect_other_files() {
    let mut folder = Scanner::default();
    let start = Instant::now();
    let found = BTreeMap::from([("a.wasm".into(), Err(denied())), (FILE.into(), Ok(stamp(1)))]);
    let closed = BTreeSet::from([PathBuf::from(FILE)]);
    folder.scan(&found, &closed, start);
    assert_eq!(folder.scan(&found, &closed, start + SETTLED), whole(1));
}

#[test]
fn a_content_that_could_not_be_read_is_reported_again_until_it_changes() {
    let mut scene = Fixture::new();
    scene.scan(0, Some(1), true);
    assert_eq!(scene.scan(50, Some(1), false), whole(1));
    assert_eq!(scene.fail(60, 1), Some(1_000));
    assert_eq!(scene.scan(1_059, Some(1), false), []);
    assert_eq!(scene.scan(1_060, Some(1), false), whole(1));
    assert_eq!(scene.scan(9_000, Some(1), false), [], "the second attempt has not failed");
    assert_eq!(scene.fail(9_000, 1), Some(2_000));
    scene.scan(9_100, Some(2), true);
    assert_eq!(scene.scan(9_150, Some(2), false), whole(2));
    assert_eq!(scene.next_scan_ms(), None, "the old content is forgotten");
    assert_eq!(scene.fail(9_200, 1), None);
    assert_eq!(scene.fail(9_200, 2), Some(1_000));
}

#[test]
fn a_signature_that_cannot_be_read_belongs_to_the_state_of_its_plugin() {
    let mut scene = Fixture::new();
    let error = FileError::NotAFile("a FIFO");
    let found = BTreeMap::from([(FILE.into(), Ok(stamp(1))), (SIGNATURE.into(), Err(error.clone()))]);
    let closed = BTreeSet::from([PathBuf::from(FILE)]);
    scene.folder.scan(&found, &closed, scene.start);
    let changes = scene.folder.scan(&found, &closed, scene.start + MISSING);
    assert_eq!(changes, [Change::Whole(FILE.into(), Stamp { plugin: stamp(1), signature: Some(Err(error)) })]);
}
