#![no_main]

use im_core::frame::Codec;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| im_fuzz::codec::check(Codec::MessagePack, bytes));
