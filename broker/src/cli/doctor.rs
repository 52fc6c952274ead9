//! `millrace doctor`: checks the machine and the place of the data, and says what to do about each finding. The checks
//! themselves are `runtime`'s.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use runtime::probe::{self, Finding, Status};

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

/// Examines this machine and the place where the data is or will be. Writes small temporary files there and leaves
/// nothing behind.
#[must_use]
pub fn diagnose(data_dir: &Path) -> Report {
    let findings = match nearest_directory(data_dir) {
        Ok(place) => probe::all(&place),
        Err(problem) => {
            let mut findings = probe::start();
            findings.push(Finding {
                name: "data directory",
                status: Status::Fail,
                detail: problem,
                fix: "name a directory with --data-dir".to_owned(),
            });
            findings
        }
    };
    Report { findings }
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
        let found: Vec<_> = cases.iter().map(|(path, _)| diagnose(&root.join(path))).collect();
        let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        fs::remove_dir_all(&root).unwrap();
        for ((path, problem), report) in cases.iter().zip(found) {
            let of_directory =
                report.findings.iter().find(|finding| finding.name == "data directory").map(|f| &f.detail);
            let expected =
                problem.is_some_and(|part| of_directory.is_some_and(|detail| detail.contains(part)));
            assert!(expected || (problem.is_none() && of_directory.is_none()), "{path}: {report}");
        }
        assert_eq!(left, ["file"]);
    }
}
