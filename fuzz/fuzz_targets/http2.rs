#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wardroom_gate::fuzzing::http2(data));
