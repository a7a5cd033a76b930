#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| paygate::fuzz::event_stream(bytes));
