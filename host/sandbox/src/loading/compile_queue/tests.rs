//! Tests of the order and the cancellation of tasks, without a process.

use super::*;
use crate::loading::scanner::{Change, Stamp};

fn gone(file: &str) -> Task {
    Task::Change(Change::Gone(file.into()))
}

/// A task of a large file.
fn large(file: &str) -> Task {
    Task::Try { staged: file.into(), called: None, bytes: LARGE }
}

fn names<const COUNT: usize>(names: [&str; COUNT]) -> [ServiceName; COUNT] {
    names.map(|name| name.parse().unwrap())
}

/// Takes a task of a lane, as text.
fn take(state: &mut State, lane: Lane) -> Option<String> {
    state.take(lane).map(|(service, task, _)| format!("{service}: {task:?}"))
}

/// Returns the services of a lane in the order in which they are served; between any two, a later scan finds those of
/// `later`.
fn order(state: &mut State, mut later: impl FnMut() -> Option<ServiceName>) -> Vec<String> {
    let mut order = Vec::new();
    while let Some((service, ..)) = state.take(Lane::Quick) {
        state.end(&service, Next::Others);
        order.push(service.to_string());
        if let Some(service) = later() {
            state.scan += 1;
            state.put(service, gone("1"));
        }
    }
    order
}

#[test]
fn tasks_of_a_service_stay_in_order_and_only_its_last_waiting_change_is_kept() {
    let mut state = State::default();
    let [a, b] = names(["a", "b"]);
    assert!(state.keep_order(&a, gone("1")).is_some(), "nothing of it is here");
    state.put(a.clone(), large("1"));
    assert!(state.keep_order(&a, gone("2")).is_none(), "it must not overtake");
    assert!(state.keep_order(&a, gone("3")).is_none());
    assert!(state.keep_order(&b, gone("1")).is_some());
    assert_eq!(take(&mut state, Lane::Quick), None);
    assert_eq!(take(&mut state, Lane::Large).unwrap(), "a: Try { staged: \"1\", called: None, bytes: 1048576 }");
    assert_eq!(take(&mut state, Lane::Large), None);
    state.end(&a, Next::Others);
    assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Change(Gone(\"3\"))", "it is small");
    assert!(state.keep_order(&a, gone("4")).is_none(), "another is being done");
    assert!(state.keep_order(&a, gone("5")).is_none());
    assert_eq!(take(&mut state, Lane::Quick), None, "one after the other");
    state.end(&a, Next::Others);
    assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Change(Gone(\"5\"))");
    state.end(&a, Next::Others);
    assert!(state.keep_order(&a, gone("6")).is_some());
    assert!(state.services.is_empty());
}

#[test]
fn a_change_replaces_the_waiting_ones_of_its_service_without_waiting() {
    let mut state = State::default();
    let [a, b] = names(["a", "b"]);
    state.put(a.clone(), gone("1"));
    state.put(b, gone("1"));
    assert!(state.keep_order(&a, gone("2")).is_some());
    assert_eq!(order(&mut state, || None), ["b"]);
    assert!(state.services.is_empty());
}

#[test]
fn a_requested_verdict_is_given_despite_other_tasks_of_the_service() {
    let mut state = State::default();
    let [a] = names(["a"]);
    state.put(a.clone(), gone("1"));
    assert!(state.keep_order(&a, Task::Try { staged: "staged".into(), called: None, bytes: 1 }).is_none());
    assert!(state.keep_order(&a, gone("2")).is_none());
    assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Try { staged: \"staged\", called: None, bytes: 1 }");
    state.end(&a, Next::Others);
    assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Change(Gone(\"2\"))");
    state.end(&a, Next::Others);
    assert!(state.services.is_empty());
}

#[test]
fn a_newer_change_of_a_file_cancels_its_compilation_unless_only_the_signature_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.wasm");
    let whole = || Task::Change(Change::Whole(file.clone(), Stamp::of(&file).unwrap()));
    let mut state = State::default();
    let [a] = names(["a"]);
    std::fs::write(&file, "1").unwrap();
    state.put(a.clone(), whole());
    let (_, _, cancel) = state.take(Lane::Quick).unwrap();
    std::fs::write(folder.path().join("a.wasm.minisig"), "1").unwrap();
    assert!(state.keep_order(&a, whole()).is_none());
    assert!(!cancel.is_cancelled());
    std::fs::write(&file, "22").unwrap();
    assert!(state.keep_order(&a, whole()).is_none());
    assert!(cancel.is_cancelled());
    state.end(&a, Next::Others);
    let (_, _, cancel) = state.take(Lane::Quick).unwrap();
    assert!(!cancel.is_cancelled());
    assert!(state.keep_order(&a, gone("a.wasm")).is_none());
    assert!(cancel.is_cancelled());
}

#[test]
fn a_verdict_is_given_even_if_the_file_is_removed_before_it_is_compiled() {
    let mut state = State::default();
    let [a] = names(["a"]);
    state.put(a.clone(), large("staged"));
    let (_, task, cancel) = state.take(Lane::Large).unwrap();
    assert!(state.keep_order(&a, gone("1")).is_none());
    assert!(!cancel.is_cancelled(), "it is another file");
    state.cancel(|task| matches!(task, Task::Try { .. }));
    let next = Next::of(&task, Some(Postponed::Stopped), cancel.is_cancelled());
    assert_eq!(next, Next::Again);
    state.end(&a, next);
    assert!(take(&mut state, Lane::Large).is_some());
    assert_eq!(Next::of(&task, None, false), Next::Others);
    assert_eq!(Next::of(&gone("1"), Some(Postponed::MoreEffort), true), Next::Others, "a newer one follows");
}

#[test]
fn lanes_are_independent_and_slow_files_move_to_the_slow_lane() {
    let mut state = State::default();
    let [a, b, c] = names(["a", "b", "c"]);
    state.put(a.clone(), gone("1"));
    state.put(b, large("1"));
    state.put(c.clone(), gone("1"));
    assert_eq!(take(&mut state, Lane::Large).unwrap(), "b: Try { staged: \"1\", called: None, bytes: 1048576 }");
    assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Change(Gone(\"1\"))");
    assert!(state.keep_order(&a, gone("2")).is_none());
    state.end(&a, Next::Longer);
    assert_eq!(take(&mut state, Lane::Quick).unwrap(), "c: Change(Gone(\"1\"))");
    state.end(&c, Next::Others);
    assert_eq!(take(&mut state, Lane::Slow).unwrap(), "a: Change(Gone(\"1\"))", "the newer one waits");
    state.end(&a, Next::Others);
    assert_eq!(take(&mut state, Lane::Quick).unwrap(), "a: Change(Gone(\"2\"))", "it is tried again");
}

#[test]
fn the_last_scan_comes_first_and_services_of_one_scan_in_order() {
    let mut state = State::default();
    for (scan, service) in ["a", "b", "c", "d"].into_iter().enumerate() {
        state.scan = scan as u64 / 2;
        state.put(service.parse().unwrap(), gone("1"));
    }
    let [e] = names(["e"]);
    let mut later = Some(e);
    assert_eq!(order(&mut state, || later.take()), ["c", "e", "d", "a", "b"]);
}

#[test]
fn a_waiting_file_is_not_starved_by_later_ones() {
    let mut state = State::default();
    for service in names(["old1", "old2"]) {
        state.put(service, gone("1"));
    }
    let mut new = (0..30).map(|number| format!("new{number}").parse().unwrap());
    let order = order(&mut state, || new.next());
    assert_eq!(order.iter().position(|service| service == "old1"), Some(0));
    assert_eq!(order.iter().position(|service| service == "old2"), Some(1 + OVERTAKES as usize));
    assert_eq!(order.len(), 32);
}

#[test]
fn the_first_pass_is_over_when_no_small_file_is_left_to_try() {
    let mut state = State::default();
    let [a, b, c] = names(["a", "b", "c"]);
    state.put(a.clone(), gone("1"));
    state.put(b.clone(), gone("1"));
    state.put(c.clone(), large("1"));
    state.is_first_pass = true;
    for (service, next) in [(&a, Next::Longer), (&b, Next::Others)] {
        assert_eq!(state.end_first_pass(), None);
        assert!(state.take(Lane::Quick).is_some());
        assert_eq!(state.end_first_pass(), None, "it is being tried");
        state.end(service, next);
    }
    assert_eq!(state.end_first_pass(), Some(vec![a, c]));
    assert_eq!(state.end_first_pass(), None, "reported once");
}
