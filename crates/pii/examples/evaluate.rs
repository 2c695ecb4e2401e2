//! Reads texts as JSONL (`{"text": …}`) from standard input and writes what is found in each, overlaps resolved, as JSONL with
//! offsets in characters; a last line says how long the recognisers took. `tests/pii/evaluate.py` calls it; `--entities` lists their names.
//!
//! ```text
//! cargo run --release -p tollgate-pii --example evaluate -- US,GB,DE < texts.jsonl
//! ```

use serde_json::{Value, json};
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};
use tollgate_pii::fold::Folded;
use tollgate_pii::mask::resolve;
use tollgate_pii::{Entity, Pii};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let regions = std::env::args().nth(1).unwrap_or_else(|| "US".to_owned());
    if regions == "--entities" {
        Entity::ALL.iter().try_for_each(|entity| writeln!(out, "{}", entity.as_str()))?;
        return Ok(out.flush()?);
    }
    let regions = regions.split(',').map(str::to_owned).collect::<Vec<_>>();
    let pii = Pii::new(Entity::ALL, &regions)?;
    // what is compiled once is not what a text costs
    pii.scan(&Folded::new("+1 212 555 0123 a@b.com"), &mut Vec::new());
    let (mut took, mut bytes) = (Duration::ZERO, 0);
    for line in io::stdin().lock().lines() {
        let line: Value = serde_json::from_str(&line?)?;
        let text = line["text"].as_str().ok_or("a line without a text")?;
        let begun = Instant::now();
        let mut found = Vec::new();
        pii.scan(&Folded::new(text), &mut found);
        let found = resolve(found);
        took += begun.elapsed();
        bytes += text.len();
        let chars = |byte: usize| text[..byte].chars().count();
        let found = found.iter().map(|finding| {
            let (start, end) = (chars(finding.span.start), chars(finding.span.end));
            json!({ "type": finding.label, "start": start, "end": end, "score": finding.score })
        });
        writeln!(out, "{}", json!({ "findings": found.collect::<Vec<_>>() }))?;
    }
    writeln!(out, "{}", json!({ "seconds": took.as_secs_f64(), "bytes": bytes }))?;
    out.flush()?;
    Ok(())
}
