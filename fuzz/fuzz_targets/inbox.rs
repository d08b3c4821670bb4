#![no_main]

use im_fuzz::inbox::{Operation, run};

libfuzzer_sys::fuzz_target!(|operations: Vec<Operation>| run(&operations));
