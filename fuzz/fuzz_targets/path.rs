#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| hostmux_fuzz::paths::route(input));
