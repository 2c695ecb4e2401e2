//! Any text as a configuration, for every role. One that passes must say the same when it is printed and read again.
#![no_main]

use tollgate_runtime::config::{Role, parse};

/// Every variable has a value; no file is opened.
fn lookup(name: &str) -> Result<Option<String>, String> {
    if name.starts_with("file:") { Err("no files here".to_owned()) } else { Ok(Some("value".to_owned())) }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for role in [Role::Ingress, Role::Guardrail, Role::RouterWorker, Role::UsageAggregator, Role::All] {
        let Ok(loaded) = parse(text, role, &lookup) else { continue };
        let printed = serde_json::to_string(&loaded.config).expect("it can be printed");
        // JSON is YAML.
        let again = parse(&printed, role, &lookup).expect("what was printed is read");
        assert_eq!(serde_json::to_string(&again.config).expect("it can be printed"), printed);
    }
});
