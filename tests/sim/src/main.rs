//! `millrace-test-sim [--scenario NAME] [--seeds N] [--first N] | [--seed N]`: runs scenarios under many
//! seeds, or one seed again. Exits with 1 if an invariant was broken; the message names the seed.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use sim_tests::SCENARIOS;

struct Options {
    scenario: Option<String>,
    first: u64,
    count: u64,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\nusage: [--scenario NAME] [--seeds N] [--first N] | [--seed N]");
            return ExitCode::from(2);
        }
    };
    let mut failures = 0;
    let chosen = SCENARIOS.iter().filter(|it| options.scenario.as_ref().is_none_or(|name| name == it.name));
    for scenario in chosen {
        for seed in options.first..options.first + options.count {
            if let Err(broken) = (scenario.run)(seed) {
                failures += 1;
                println!("{} --seed {seed}: {broken}", scenario.name);
            }
        }
        println!("{}: {} seeds from {}", scenario.name, options.count, options.first);
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { scenario: None, first: 0, count: 100 };
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} wants a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{flag}: {value:?} is not a number"));
        match flag.as_str() {
            "--scenario" if SCENARIOS.iter().any(|it| it.name == value) => options.scenario = Some(value),
            "--scenario" => {
                let known: Vec<&str> = SCENARIOS.iter().map(|it| it.name).collect();
                return Err(format!("no scenario {value:?}; there are {}", known.join(", ")));
            }
            "--seeds" => options.count = number()?,
            "--first" => options.first = number()?,
            "--seed" => (options.first, options.count) = (number()?, 1),
            _ => return Err(format!("unknown option {flag}")),
        }
    }
    Ok(options)
}
