//! `millrace doctor`: checks the machine and the place of the data, and says what to do about each finding. The checks
//! themselves are `runtime`'s.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use runtime::probe::{self, Finding, Status};

use super::place_checks;
use super::serve_args::ServeArgs;

/// All findings; `Display` is the text for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// 1 when something keeps the broker from running, else 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(self.findings.iter().any(|finding| finding.status == Status::Fail))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(formatter, "{finding}")?;
        }
        formatter.write_str(match self.findings.iter().map(|finding| finding.status).max() {
            Some(Status::Fail) => "Millrace does not run here as it is.\n",
            Some(Status::Warn) => "Millrace runs here; the warnings say what could be better.\n",
            Some(Status::Ok) | None => "Millrace runs well here.\n",
        })
    }
}

/// Examines this machine and what a start with these options would use. Writes small temporary files to where the data is
/// or will be and leaves nothing behind.
#[must_use]
pub fn diagnose(args: &ServeArgs) -> Report {
    let mut findings = probe::machine();
    match args.settings().check() {
        Ok(config) => {
            findings.extend(place_checks::plan(&config));
            let is_running = place_checks::is_locked(config.log_dir());
            findings.extend(place_checks::ports(&config, is_running));
            findings.extend(of_directory(config.log_dir(), config.disk_reserve_bytes()));
            if config.log_dir().is_dir() {
                findings.extend(place_checks::existing(config.log_dir(), &config, is_running));
            }
        }
        Err(mistakes) => {
            let fix = "`millrace config KEY` explains a setting";
            findings
                .extend(mistakes.iter().map(|mistake| Finding::fail("settings", mistake.to_string(), fix)));
        }
    }
    Report { findings }
}

fn of_directory(data_dir: &Path, reserve_bytes: u64) -> Vec<Finding> {
    const NAME: &str = "data directory";
    let shown =
        |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    match nearest_directory(data_dir) {
        Ok(place) => {
            let detail = if place == data_dir {
                shown(data_dir)
            } else {
                format!("{} is not there yet, looked at {}", shown(data_dir), shown(&place))
            };
            [Finding::ok(NAME, detail)].into_iter().chain(probe::directory(&place, reserve_bytes)).collect()
        }
        Err(problem) => vec![Finding::fail(NAME, problem, "name a directory with --data-dir")],
    }
}

/// `path` itself, or the nearest part of it that exists: the broker creates the rest. An error where that is not a
/// directory.
pub(super) fn nearest_directory(path: &Path) -> Result<PathBuf, String> {
    for candidate in path.ancestors() {
        let candidate = if candidate.as_os_str().is_empty() { Path::new(".") } else { candidate };
        match fs::metadata(candidate) {
            Ok(metadata) if metadata.is_dir() => return Ok(candidate.to_owned()),
            Ok(_) => return Err(format!("{} is not a directory", candidate.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", candidate.display())),
        }
    }
    Err(format!("{} does not exist", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(status: Status) -> Finding {
        Finding { name: "thing", status, detail: "found".to_owned(), fix: "mend it".to_owned() }
    }

    #[test]
    fn the_worst_finding_decides() {
        for (statuses, exit_code, conclusion) in [
            (&[][..], 0, "runs well"),
            (&[Status::Ok, Status::Ok], 0, "runs well"),
            (&[Status::Ok, Status::Warn], 0, "could be better"),
            (&[Status::Fail, Status::Warn], 1, "does not run"),
        ] {
            let report = Report { findings: statuses.iter().copied().map(finding).collect() };
            assert_eq!(report.exit_code(), exit_code, "{statuses:?}");
            let text = report.to_string();
            assert!(text.contains(conclusion), "{text}");
            assert_eq!(text.matches("mend it").count(), statuses.len(), "{text}");
        }
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_is_examined_where_it_will_be() {
        let root = std::env::temp_dir().join(format!("millrace-doctor-test-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("file"), b"").unwrap();
        let cases = [
            ("", None),
            ("new/deep", None),
            ("file", Some("is not a directory")),
            ("file/below", Some("Not a directory")),
        ];
        let found: Vec<_> =
            cases.iter().map(|(path, _)| Report { findings: of_directory(&root.join(path), 0) }).collect();
        let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        fs::remove_dir_all(&root).unwrap();
        for ((path, problem), report) in cases.iter().zip(found) {
            let found = report.findings.iter().find(|finding| finding.name == "data directory").unwrap();
            let expected = if problem.is_some() { Status::Fail } else { Status::Ok };
            assert_eq!(found.status, expected, "{path}: {report}");
            assert!(found.detail.contains(problem.unwrap_or("millrace-doctor-test")), "{path}: {report}");
        }
        assert_eq!(left, ["file"]);
    }
}
