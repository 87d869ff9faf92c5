//! Checks of the sources and the documents: sizes and widths, which module may name which crate, the direction of
//! dependencies, types of errors, and agreement of the reference with the code. Each rule has a test that it detects a
//! violation.

mod dependencies;
mod documents;
mod errors;
mod sizes;
mod sources;

use sources::sources;

/// Fails with the list of all violations.
fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn files_are_short_and_their_comments_narrow() {
    assert_none(&sizes::violations(&sources()));
}

#[test]
fn crates_of_others_are_named_where_they_belong() {
    assert_none(&dependencies::misplaced_names(&sources()));
}

#[test]
fn crates_depend_downwards() {
    assert_none(&dependencies::upward_crates(&sources()));
}

#[test]
fn modules_depend_downwards() {
    assert_none(&dependencies::upward_modules(&sources()));
}

#[test]
fn errors_are_types() {
    assert_none(&errors::texts(&sources()));
}

#[test]
fn links_between_documents_lead_somewhere() {
    assert_none(&documents::dead_links(&sources()));
}

#[test]
fn the_reference_has_every_key_of_the_configuration_and_no_other() {
    assert_none(&documents::keys(&sources()));
}

#[test]
fn defaults_in_the_reference_are_those_of_the_code() {
    assert_none(&documents::defaults(&sources()));
}

#[test]
fn the_table_of_codes_is_that_of_the_code() {
    assert_none(&documents::codes(&sources()));
}
