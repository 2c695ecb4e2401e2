//! libFuzzer with the target that `TARGET` names; without it, a list of the targets and where their inputs begin, for `fuzz/run`.
#![no_main]

use std::sync::OnceLock;
use tollgate_fuzz::TARGETS;

static RUN: OnceLock<fn(&[u8])> = OnceLock::new();

fn choose() -> fn(&[u8]) {
    let Ok(name) = std::env::var("TARGET") else {
        TARGETS.iter().for_each(|target| println!("{} {}", target.name, target.seeds.join(" ")));
        std::process::exit(0);
    };
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}")).run
}

libfuzzer_sys::fuzz_target!(
    init: {
        RUN.get_or_init(choose);
    },
    |data: &[u8]| RUN.get_or_init(choose)(data)
);
