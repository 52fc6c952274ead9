//! `millrace-test-model [--walks N] [--seed N] [--ablations]`: walks through the durability rule. With `--ablations` each
//! thing that can be left out of the rule has to be found; otherwise nothing may be. Exits with 1 if not.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use model_tests::{ABLATIONS, Ablation, Options, Outcome, walks};

fn main() -> ExitCode {
    let mut options = Options { seed: 0, walks: 20_000, ablation: None };
    let mut ablations = false;
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let number = args.next_if_number(&flag);
        match (flag.as_str(), number) {
            ("--walks", Some(number)) => options.walks = number,
            ("--seed", Some(number)) => options.seed = number,
            ("--ablations", None) => ablations = true,
            _ => {
                eprintln!("usage: [--walks N] [--seed N] [--ablations]");
                return ExitCode::from(2);
            }
        }
    }
    let is_good = if ablations {
        ABLATIONS.iter().filter(|ablation| !is_found(options, **ablation)).count() == 0
    } else {
        let outcome = walks(options);
        print(&outcome);
        outcome.violation.is_none()
    };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_found(options: Options, ablation: Ablation) -> bool {
    let outcome = walks(Options { ablation: Some(ablation), ..options });
    print!("{ablation:?}: ");
    print(&outcome);
    outcome.violation.is_some()
}

fn print(outcome: &Outcome) {
    let Outcome { walks, steps, acknowledged, elections, .. } = outcome;
    println!("{walks} walks, {steps} steps, {acknowledged} records acknowledged, {elections} elections");
    if let Some((broken, path, seed)) = &outcome.violation {
        println!("  seed {seed}: {broken:?}");
        println!("  {}", path.iter().map(|step| format!("{step:?}")).collect::<Vec<_>>().join(" · "));
    }
}

trait NextIfNumber {
    fn next_if_number(&mut self, flag: &str) -> Option<u64>;
}

impl<I: Iterator<Item = String>> NextIfNumber for I {
    fn next_if_number(&mut self, flag: &str) -> Option<u64> {
        if flag == "--ablations" { None } else { self.next().and_then(|value| value.parse().ok()) }
    }
}
