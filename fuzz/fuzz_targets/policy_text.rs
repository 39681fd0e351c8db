//! Whatever an operator or a program writes into a policy's file: an error with a place, or a policy, and never a panic.
#![no_main]

use wardroom_policy::Policy;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(errors) = Policy::parse("agent.toml", text) {
        assert!(!errors.to_string().is_empty());
    }
});
