#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| hostmux_fuzz::request::scanned(input));
