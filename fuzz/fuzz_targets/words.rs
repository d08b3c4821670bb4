#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| im_fuzz::moderation::words(data));
