use super::*;
use crate::loading::content::digest;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

const LIMIT: u64 = 1 << 20;

struct Fixture {
    folder: TempDir,
    sending: EventSender<RunEvent>,
    events: Receiver<RunEvent>,
}

impl Fixture {
    fn new() -> Self {
        let (sender, events) = channel();
        let sending = EventSender::new(move |event, _| sender.send(event).unwrap_or_default());
        Self { folder: tempfile::tempdir().unwrap(), sending, events }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("state").join(name)
    }

    fn try_open(&self, plugins: &str, limit: u64) -> Result<Arc<History>, HistoryError> {
        History::open(&self.path(""), Path::new(plugins), limit, self.sending.clone())
    }

    fn open(&self) -> Arc<History> {
        self.try_open("/plugins", LIMIT).unwrap()
    }
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn version(number: u64, content: &[u8], state: GenerationState) -> Version {
    let (digest, bytes) = (digest(content), content.len() as u64);
    Version { number, state, digest, bytes, signature: None, loaded_at: number }
}

/// Returns a record in which version 2, the file in the folder, was rolled back to version 1.
fn rolled_back() -> Record {
    let versions = vec![version(1, b"one", GenerationState::Serving), version(2, b"two", GenerationState::RolledBack)];
    Record { file: digest(b"two"), newest: 2, versions, rolled_back: Vec::new(), removed_at: None }
}

/// Keeps a record with the bytes of its versions, and closes the history like a node that stops.
fn keep(history: &Arc<History>, name: &str, record: Record, contents: &[&[u8]]) {
    for content in contents {
        drop(history.keep(&digest(content), content.to_vec()));
    }
    history.record(&service(name), Some(record), None);
    history.close();
}

/// Waits until the thread of a closed history has released the folder.
fn release(history: Arc<History>) {
    let history = Arc::downgrade(&{ history });
    while history.strong_count() > 0 {
        std::thread::yield_now();
    }
}

/// Opens the folder again.
fn reopen(scene: &Fixture, history: Arc<History>, plugins: &str, limit: u64) -> Arc<History> {
    release(history);
    // The lock is released a moment after the last reference to the history is dropped.
    loop {
        match scene.try_open(plugins, limit) {
            Err(HistoryError::InUse(_)) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

#[test]
fn a_lock_that_is_not_a_file_is_an_error_and_does_not_block() {
    let scene = Fixture::new();
    fs::create_dir(scene.path("")).unwrap();
    fs::set_permissions(scene.path(""), fs::Permissions::from_mode(0o700)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scene.path("lock"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let why = scene.try_open("/plugins", LIMIT).map(drop).unwrap_err().to_string();
    assert!(why.contains("cannot open its lock"), "{why}");
}

#[test]
fn records_and_bytes_survive_a_restart() {
    let scene = Fixture::new();
    let history = scene.open();
    keep(&history, "a", rolled_back(), &[b"one", b"two"]);
    let history = reopen(&scene, history, "/plugins", LIMIT);
    assert_eq!(history.take(&service("a")), Some(rolled_back()));
    assert_eq!(history.take(&service("a")), None, "once");
    assert_eq!(history.bytes(&digest(b"one")).unwrap(), b"one");
    assert_eq!(history.bytes(&digest(b"two")).unwrap(), b"two");
}

#[test]
fn records_belong_to_their_plugin_folder() {
    let scene = Fixture::new();
    let history = scene.open();
    keep(&history, "a", rolled_back(), &[b"one", b"two"]);
    let history = reopen(&scene, history, "/others", LIMIT);
    assert_eq!(history.take(&service("a")), None);
    history.close();
    let history = reopen(&scene, history, "/plugins", LIMIT);
    assert_eq!(history.take(&service("a")), Some(rolled_back()), "and another folder does not change them");
}

/// Returns the run and the text of the next answer.
fn next_answer(scene: &Fixture) -> (RunId, String) {
    let event = scene.events.recv().unwrap();
    let RunEvent::Finished(Finished { run, result }) = event else { panic!("{event:?}") };
    (run, String::from_utf8(result.unwrap().concat()).unwrap())
}

#[test]
fn an_answer_is_sent_once_its_record_is_on_disk() {
    let scene = Fixture::new();
    let history = scene.open();
    let request = RunId(7);
    history.record(&service("a"), Some(rolled_back()), Some((request, "done\n".into())));
    assert_eq!(next_answer(&scene), (request, "done\n".into()));
    assert!(fs::read_to_string(scene.path("versions.json")).unwrap().contains("\"service\":\"a\""));
}

#[test]
fn an_answer_reports_that_its_record_cannot_be_written() {
    let scene = Fixture::new();
    let history = scene.open();
    fs::create_dir(scene.path("versions.json")).unwrap();
    let request = RunId(7);
    history.record(&service("a"), Some(rolled_back()), Some((request, "done\n".into())));
    let (answered, text) = next_answer(&scene);
    assert_eq!(answered, request);
    assert!(text.starts_with("done; it will be lost in a restart: "), "{text}");
    fs::remove_dir(scene.path("versions.json")).unwrap();
    history.record(&service("a"), Some(rolled_back()), Some((request, "done\n".into())));
    assert_eq!(next_answer(&scene).1, "done\n", "written once that is possible");
    assert!(scene.path("versions.json").is_file());
}

#[test]
fn a_folder_in_use_or_open_to_others_is_refused() {
    let scene = Fixture::new();
    let _first = scene.open();
    let second = scene.try_open("/plugins", LIMIT).err().unwrap().to_string();
    let expected = format!("another node with this name, process {}, uses it", std::process::id());
    assert!(second.contains(&expected), "{second}");
    let other = Fixture::new();
    fs::create_dir(other.path("")).unwrap();
    fs::set_permissions(other.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let open = other.try_open("/plugins", LIMIT).err().unwrap().to_string();
    assert!(open.contains("chmod go-w"), "{open}");
}

#[test]
fn damaged_files_are_set_aside_and_undamaged_ones_are_kept() {
    let scene = Fixture::new();
    let history = scene.open();
    keep(&history, "a", rolled_back(), &[b"one", b"two"]);
    fs::write(scene.path("versions").join(digest(b"one")), "1").unwrap();
    let history = reopen(&scene, history, "/plugins", LIMIT);
    assert!(history.bytes(&digest(b"one")).unwrap_err().to_string().ends_with("is damaged"));
    assert_eq!(history.bytes(&digest(b"two")).unwrap(), b"two");
    history.close();
    release(history);
    for damage in ["", "{\"format\":1,\"services\":[{}]}", "{\"format\":2,\"services\":[]}"] {
        fs::write(scene.path("versions.json"), damage).unwrap();
        let _ = fs::remove_file(scene.path("versions.json.damaged"));
        let history = scene.open();
        assert_eq!(history.take(&service("a")), None);
        assert_eq!(fs::read_to_string(scene.path("versions.json.damaged")).unwrap(), damage);
        history.close();
        release(history);
    }
}

#[test]
fn a_record_whose_digest_is_a_path_is_ignored() {
    let scene = Fixture::new();
    let history = scene.open();
    let mut record = rolled_back();
    record.versions[0].digest = format!("../../{}", "x".repeat(58));
    keep(&history, "a", record, &[]);
    let history = reopen(&scene, history, "/plugins", LIMIT);
    assert_eq!(history.take(&service("a")), None);
}

#[test]
fn over_the_limit_the_oldest_are_removed_first_and_serving_versions_last() {
    const LARGE: usize = 400 << 10;
    let scene = Fixture::new();
    let history = scene.try_open("/plugins", 1 << 20).unwrap();
    let contents: Vec<Vec<u8>> = (1..=3).map(|number| vec![number; LARGE]).collect();
    let states = [GenerationState::Serving, GenerationState::RolledBack, GenerationState::RolledBack];
    let versions = (1..).zip(&contents).zip(states);
    let versions: Vec<Version> = versions.map(|((number, content), state)| version(number, content, state)).collect();
    let record =
        Record { file: versions[2].digest.clone(), newest: 3, versions, rolled_back: Vec::new(), removed_at: None };
    let borrowed: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    keep(&history, "a", record, &borrowed);
    let is_kept = contents.iter().map(|content| history.bytes(&digest(content)).is_ok());
    assert_eq!(is_kept.collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn bytes_that_no_record_names_are_removed() {
    let scene = Fixture::new();
    let history = scene.open();
    keep(&history, "a", rolled_back(), &[b"one", b"two"]);
    let history = reopen(&scene, history, "/plugins", LIMIT);
    fs::write(scene.path("versions/left-behind.new"), "x").unwrap();
    history.record(&service("a"), None, None);
    history.close();
    assert_eq!(fs::read_dir(scene.path("versions")).unwrap().count(), 1, "except those that no record names");
    let _history = reopen(&scene, history, "/plugins", LIMIT);
    assert_eq!(fs::read_dir(scene.path("versions")).unwrap().count(), 0);
}

/// Returns the record of a service whose only version has this content.
fn only(content: &[u8]) -> Record {
    let versions = vec![version(1, content, GenerationState::Serving)];
    Record { file: digest(content), newest: 1, versions, rolled_back: Vec::new(), removed_at: None }
}

/// Stores the record of a service, or its removal, and waits until that is on disk.
fn record(scene: &mut Fixture, history: &History, name: &str, record: Option<Record>) {
    history.record(&service(name), record, Some((RunId(1), "done\n".into())));
    assert_eq!(next_answer(scene).1, "done\n");
}

#[test]
fn bytes_that_are_loaded_again_while_their_record_is_removed_are_kept() {
    for returning in ["a", "b"] {
        let mut scene = Fixture::new();
        let history = scene.open();
        let first = history.keep(&digest(b"one"), b"one".to_vec());
        record(&mut scene, &history, "a", Some(only(b"one")));
        drop(first);
        // The loader claims the bytes before the driver's record of the removal is written; the record of the new file
        // follows after that.
        let again = history.keep(&digest(b"one"), b"one".to_vec());
        record(&mut scene, &history, "a", None);
        history.record_loaded(&service(returning), Some(only(b"one")), again);
        record(&mut scene, &history, "c", Some(only(b"three")));
        assert_eq!(history.bytes(&digest(b"one")).unwrap(), b"one");
        record(&mut scene, &history, returning, None);
        assert!(history.bytes(&digest(b"one")).is_err(), "no record names them");
    }
}

#[test]
fn claimed_bytes_are_not_removed_over_the_limit() {
    const LARGE: usize = 700 << 10;
    let mut scene = Fixture::new();
    let history = scene.open();
    let (old, new) = (vec![1; LARGE], vec![2; LARGE]);
    drop(history.keep(&digest(&old), old.clone()));
    record(&mut scene, &history, "a", Some(only(&old)));
    let _comes_again = history.keep(&digest(&old), old.clone());
    drop(history.keep(&digest(&new), new.clone()));
    let mut newer = only(&new);
    newer.versions[0].loaded_at = 2;
    record(&mut scene, &history, "b", Some(newer));
    assert!(history.bytes(&digest(&old)).is_ok());
    assert!(history.bytes(&digest(&new)).is_err());
}

#[test]
fn a_failed_write_of_bytes_is_retried_with_the_next_record() {
    let mut scene = Fixture::new();
    let history = scene.open();
    let obstacle = scene.path("versions").join(format!("{}.new", digest(b"one")));
    fs::create_dir(&obstacle).unwrap();
    drop(history.keep(&digest(b"one"), b"one".to_vec()));
    record(&mut scene, &history, "a", Some(only(b"one")));
    assert!(history.bytes(&digest(b"one")).is_err());
    fs::remove_dir(&obstacle).unwrap();
    record(&mut scene, &history, "b", Some(only(b"two")));
    assert_eq!(history.bytes(&digest(b"one")).unwrap(), b"one");
}

#[test]
fn damaged_bytes_are_replaced_when_a_file_has_them() {
    let mut scene = Fixture::new();
    let history = scene.open();
    drop(history.keep(&digest(b"one"), b"one".to_vec()));
    record(&mut scene, &history, "a", Some(only(b"one")));
    fs::write(scene.path("versions").join(digest(b"one")), "1").unwrap();
    assert!(history.bytes(&digest(b"one")).is_err());
    drop(history.keep(&digest(b"one"), b"one".to_vec()));
    record(&mut scene, &history, "b", Some(only(b"one")));
    assert_eq!(history.bytes(&digest(b"one")).unwrap(), b"one");
}

#[test]
fn records_of_the_services_removed_last_are_kept() {
    let scene = Fixture::new();
    let history = scene.open();
    let name = |number: u64| format!("s{number}");
    for number in 0..=REMOVED_RECORDS as u64 {
        let removed = Record { versions: Vec::new(), removed_at: Some(number), ..only(b"one") };
        history.record(&service(&name(number)), Some(removed), None);
    }
    history.close();
    let history = reopen(&scene, history, "/plugins", LIMIT);
    assert_eq!(history.take(&service(&name(0))), None);
    assert!(history.take(&service(&name(1))).is_some_and(|record| record.removed_at == Some(1)));
}
