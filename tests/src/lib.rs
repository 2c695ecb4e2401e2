//! Checks on the tree itself: sizes, module docs, crate edges, one place per dispatch. The end-to-end suite is `tests/e2e`.

#[cfg(test)]
mod tidy {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
        process::Command,
    };

    const FILE_MAX_LINES: usize = 500;
    const FUNCTION_MAX_LINES: usize = 70;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    /// Every Rust file of the workspace but those generated or fetched, with its text.
    fn sources() -> Vec<(String, String)> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).expect("a readable folder").map(|e| e.expect("entry").path()) {
                let name = entry.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                if entry.is_dir() && !name.starts_with('.') && !matches!(name, "target" | "node_modules") {
                    walk(&entry, found);
                } else if entry.extension().is_some_and(|e| e == "rs") {
                    found.push(entry);
                }
            }
        }
        let mut found = Vec::new();
        for folder in ["schemas", "crates", "services", "tests", "bench", "fuzz"] {
            walk(&root().join(folder), &mut found);
        }
        assert!(found.len() > 30, "the walk found too little");
        let name = |path: &Path| path.strip_prefix(root()).expect("below the root").display().to_string();
        found.into_iter().map(|path| (name(&path), fs::read_to_string(&path).expect("UTF-8"))).collect()
    }

    fn assert_none(what: &str, found: Vec<String>) {
        assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
    }

    #[test]
    fn files_are_short() {
        let long = sources().into_iter().filter(|(name, _)| !name.ends_with("config/model.rs"));
        let long = long.filter(|(_, text)| text.lines().count() > FILE_MAX_LINES);
        assert_none(
            "files over 500 lines",
            long.map(|(name, text)| format!("{name}: {}", text.lines().count())).collect(),
        );
    }

    #[test]
    fn functions_are_short() {
        let mut long = Vec::new();
        for (name, text) in sources() {
            // rustfmt's layout: a function ends at the first `}` with the indentation of its `fn`.
            let lines: Vec<&str> = text.lines().collect();
            for (at, line) in lines.iter().enumerate() {
                let trimmed = line.trim_start();
                let header = trimmed.split("fn ").next().unwrap_or_default();
                let is_fn = trimmed.contains("fn ")
                    && header
                        .split_whitespace()
                        .all(|w| matches!(w, "pub" | "pub(crate)" | "pub(super)" | "async" | "const" | "unsafe"));
                if !is_fn || trimmed.ends_with(';') {
                    continue;
                }
                let indent = line.len() - trimmed.len();
                let end = lines[at..].iter().position(|l| l.len() == indent + 1 && l.ends_with('}')).unwrap_or(0);
                if end > FUNCTION_MAX_LINES {
                    long.push(format!("{name}:{}: {} lines", at + 1, end));
                }
            }
        }
        assert_none("functions over 70 lines", long);
    }

    #[test]
    fn modules_say_what_they_are_for() {
        let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//!"));
        assert_none("files without a module doc", silent.map(|(name, _)| name).collect());
    }

    #[test]
    fn nothing_is_left_unfinished() {
        // Spelled apart, so that this file does not find itself.
        let marks =
            [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME"), concat!("#[ig", "nore")];
        let found = sources().into_iter().filter(|(_, text)| marks.iter().any(|mark| text.contains(mark)));
        assert_none("unfinished code", found.map(|(name, _)| name).collect());
    }

    /// Provider kinds are told apart where a provider is made, and where the configuration is read and checked.
    #[test]
    fn provider_kinds_are_matched_in_one_place() {
        let allowed = [
            "crates/runtime/src/config/",
            "services/router-worker/src/providers/mod.rs",
            "services/router-worker/src/fuzz.rs",
            "services/router-worker/src/tests",
        ];
        let spread = sources().into_iter().filter(|(name, text)| {
            let matches_kind = ["ProviderKind::Openai", "ProviderKind::Anthropic", "ProviderKind::Mock"]
                .iter()
                .any(|kind| text.contains(kind));
            matches_kind && name != "tests/src/lib.rs" && !allowed.iter().any(|a| name.starts_with(a))
        });
        assert_none("provider kinds matched elsewhere", spread.map(|(name, _)| name).collect());
    }

    /// Every error a caller can see stands in docs/api.md with its status.
    #[test]
    fn errors_are_documented() {
        let document = fs::read_to_string(root().join("docs/api.md")).expect("docs/api.md");
        let missing = tollgate_schemas::ErrorCode::ALL.iter().filter(|code| {
            let status = match code.as_str() {
                "provider_rejected" | "context_length_exceeded" | "content_policy_violation" => {
                    "the provider's 4xx".to_owned()
                }
                _ => code.status().to_string(),
            };
            !document.contains(&format!("| `{}` | {status} |", code.as_str()))
        });
        assert_none("errors missing in docs/api.md", missing.map(|code| code.as_str().to_owned()).collect());
    }

    /// `tollgate → services → {admission → runtime, bus} → schemas`; services never see each other; the broker and the recognisers of personal data know nothing of Tollgate; only `bus` (and the benchmark, which
    /// measures against it) names rdkafka.
    #[test]
    fn dependencies_point_one_way() {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
            .current_dir(root())
            .output()
            .expect("cargo metadata");
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let mut wrong = Vec::new();
        for package in metadata["packages"].as_array().expect("packages") {
            let name = package["name"].as_str().expect("name");
            let deps: BTreeSet<&str> =
                package["dependencies"].as_array().expect("list").iter().filter_map(|d| d["name"].as_str()).collect();
            let ours: BTreeSet<&str> = deps.iter().copied().filter(|d| d.starts_with("tollgate")).collect();
            let allowed: &[&str] = match name {
                "tollgate-schemas" | "tollgate-broker" | "tollgate-pii" => &[],
                "tollgate-bus" | "tollgate-runtime" => &["tollgate-schemas"],
                "tollgate-admission" => &["tollgate-runtime", "tollgate-schemas"],
                "tollgate-guardrail" => {
                    &["tollgate-admission", "tollgate-bus", "tollgate-pii", "tollgate-runtime", "tollgate-schemas"]
                }
                "tollgate-ingress" | "tollgate-router-worker" | "tollgate-usage-aggregator" => {
                    &["tollgate-admission", "tollgate-bus", "tollgate-runtime", "tollgate-schemas"]
                }
                _ => continue,
            };
            wrong.extend(ours.iter().filter(|d| !allowed.contains(d)).map(|d| format!("{name} → {d}")));
            if deps.contains("rdkafka") && name != "tollgate-bus" {
                wrong.push(format!("{name} → rdkafka"));
            }
        }
        assert_none("dependencies against the grain", wrong);
    }
}
