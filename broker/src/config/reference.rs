//! The reference page docs/CONFIG.md and the answer of `millrace config KEY`, both out of the table.

use std::fmt::Write as _;

use super::definition::{Definition, Effect, Scope, UpdateMode};
use super::definitions::Definitions;
use super::error::ConfigError;

/// The whole page in Markdown.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str("\n## Topic settings\n\n");
    page.push_str(
        "Set when a topic is created or later (kafka-configs.sh --alter); a change takes effect at once.\n\n",
    );
    table(&mut page, Definitions::topic().filter(|row| row.effect == Effect::Active));
    page.push_str("\n## Broker settings\n\n");
    table(&mut page, Definitions::broker().filter(|row| row.effect == Effect::Active));
    page.push_str("\n## Accepted without effect\n\n");
    page.push_str("Kafka's settings that are kept and reported back, so that its files and tools work.\n\n");
    page.push_str("| Key | Set on | Why |\n|---|---|---|\n");
    for row in Definitions::topic().chain(Definitions::broker()) {
        if let Effect::Stored(reason) = row.effect {
            let _ = writeln!(page, "| `{}` | {} | {} |", row.name, scope_name(row.scope), reason.prose());
        }
    }
    page
}

/// What the table says about one key, on topics and on the broker.
pub fn explain(key: &str) -> Result<String, ConfigError> {
    let mut text = String::new();
    for row in Definitions::require_anywhere(key)? {
        let _ = writeln!(text, "{} ({} setting)", row.name, scope_name(row.scope));
        let _ = writeln!(text, "  {}", row.documentation());
        let _ = writeln!(text, "  type: {}", row.value_type.name().to_lowercase());
        if !row.allowed().is_empty() {
            let _ = writeln!(text, "  allowed: {}", row.allowed());
        }
        let _ = writeln!(text, "  default: {}", default_text(row));
        if !inherits(row).is_empty() {
            let _ = writeln!(text, "  inherits from: {}", inherits(row));
        }
        if row.scope == Scope::Broker {
            let _ = writeln!(text, "  can be changed: {}", change_text(row.mode));
        }
    }
    Ok(text)
}

const INTRODUCTION: &str = "# Settings\n\n\
    Generated from the table in broker/src/config (a test compares; regenerate with `millrace config > docs/CONFIG.md`).\n\n\
    `millrace serve` takes broker settings from a file in Java's properties format (`--config FILE`), then from `--set KEY=VALUE`, then from\n\
    its flags; the last one counts. `millrace config KEY` explains a key, `millrace check` says what counts and where it comes from. Keys and\n\
    their meaning are Kafka's unless they begin with `millrace.`; `durability` is ours too. In a file and on the command line numbers may have\n\
    units: us, ms, s, min, h, d; B, kB, MB, GB, TB, KiB, MiB, GiB, TiB.\n";

fn table<'a>(page: &mut String, rows: impl Iterator<Item = &'a Definition>) {
    page.push_str("| Key | Type | Default | Allowed | Inherits from / changed | What it does |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let origin = match row.scope {
            Scope::Topic => inherits(row),
            Scope::Broker => change_text(row.mode).to_owned(),
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            row.name,
            row.value_type.name().to_lowercase(),
            default_text(row),
            row.allowed(),
            origin,
            row.documentation()
        );
    }
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Topic => "topic",
        Scope::Broker => "broker",
    }
}

fn default_text(row: &Definition) -> String {
    match row.default {
        None => "not set".to_owned(),
        Some("") => "empty".to_owned(),
        Some("9223372036854775807") => "unlimited (9223372036854775807)".to_owned(),
        Some("2147483647") => "unlimited (2147483647)".to_owned(),
        Some(text) => format!("`{text}`"),
    }
}

fn inherits(row: &Definition) -> String {
    row.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect::<Vec<_>>().join(", ")
}

fn change_text(mode: UpdateMode) -> &'static str {
    match mode {
        UpdateMode::ReadOnly => "at start",
        UpdateMode::PerBroker => "while running, per broker",
        UpdateMode::ClusterWide => "while running",
    }
}
