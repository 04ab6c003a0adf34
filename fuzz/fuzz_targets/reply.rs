#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cachex_fuzz::run("reply", bytes));
