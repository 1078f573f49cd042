//! What a test needs of the machine beside Rust, by name: `SWEEP_TEST_REQUIRE=docker,registry` makes a test fail that
//! would be skipped without it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::process::{Command, Stdio};

/// Whether `SWEEP_TEST_REQUIRE` asks for the tests that need this.
pub(crate) fn is_required(requirement: &str) -> bool {
    let required = std::env::var("SWEEP_TEST_REQUIRE").unwrap_or_default();
    required.split([',', ' ']).any(|name| name == requirement)
}

/// Says that a test, or the rest of it, is not done here; panics where it is required.
pub(crate) fn skip(requirement: &str, why: &str) {
    assert!(!is_required(requirement), "{requirement}: {why}");
    eprintln!("skipped: {requirement}: {why}");
}

/// Whether the machine has the program, asked with these words; a test that lacks it is skipped.
pub(crate) fn has_program(requirement: &str, program: &str, words: &[&str]) -> bool {
    let asked = Command::new(program)
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let there = asked.is_ok_and(|status| status.success());
    if !there {
        skip(
            requirement,
            &format!("`{program} {}` does not work here", words.join(" ")),
        );
    }
    there
}
