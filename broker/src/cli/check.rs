//! `millrace check`: the settings of a start without the start. All mistakes at once, and every value that counts with where
//! it comes from.

use std::fmt::Write as _;

use runtime::probe::Resources;

use super::{CheckArgs, allowed_cores};
use crate::cli::start_plan::StartPlan;
use crate::config::effective_settings;
use crate::logging;

/// What to print, and whether a start would get past its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The text.
    pub text: String,
    /// Whether there was no mistake.
    pub is_good: bool,
}

/// Checks the settings as `serve` would with the same options.
#[must_use]
pub fn check(args: &CheckArgs) -> Checked {
    let settings = args.serve.settings();
    let environment = std::env::var("RUST_LOG").ok();
    let log_level = logging::check(args.serve.log_level.as_deref(), environment.as_deref()).err();
    let planned = settings.clone().check();
    let planned = planned.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect());
    let planned = planned.and_then(|config| {
        let plan = allowed_cores().and_then(|allowed| StartPlan::new(config, &allowed, &Resources::read()));
        plan.map_err(|problem| vec![problem])
    });
    let planned = match (planned, log_level) {
        (Ok(_), Some(mistake)) => Err(vec![mistake]),
        (Err(mistakes), Some(mistake)) => Err([mistakes, vec![mistake]].concat()),
        (planned, None) => planned,
    };
    let mut text = String::new();
    let plan = match planned {
        Ok(plan) => plan,
        Err(mistakes) => {
            for mistake in mistakes {
                let _ = writeln!(text, "mistake  {mistake}");
            }
            text.push_str("A start with these settings would be refused.\n");
            return Checked { text, is_good: false };
        }
    };
    for warning in plan.config.warnings() {
        let _ = writeln!(text, "warning  {warning}");
    }
    let _ = writeln!(text, "cores    {}", plan.cores);
    let _ = writeln!(text, "memory   {}", plan.memory);
    let shown: Vec<_> = effective_settings(&plan.config, &settings)
        .into_iter()
        .filter(|setting| args.all || !setting.is_default)
        .collect();
    let what =
        if args.all { "Every setting" } else { "Settings that are not defaults (--all shows every one)" };
    let _ = writeln!(text, "{what}:");
    for setting in shown {
        let _ = writeln!(text, "  {} = {}   [{}]", setting.name, setting.value, setting.origin);
    }
    Checked { text, is_good: true }
}
