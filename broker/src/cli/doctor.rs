//! `millrace doctor`: findings about the machine, each with what to do about it.

use std::fmt;

use super::host_facts::HostFacts;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// The broker runs, but slower or with less safety margin.
    Warning,
    /// The broker does not run here.
    Failure,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// How serious it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, unless all is well.
    pub fix: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn good(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Good, found: found.into(), fix: None }
    }

    /// It works, but could be better.
    pub fn warning(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    /// It does not work.
    pub fn failure(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Failure, found: found.into(), fix: Some(fix.into()) }
    }
}

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
        u8::from(self.findings.iter().any(|finding| finding.verdict == Verdict::Failure))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = match finding.verdict {
                Verdict::Good => "ok  ",
                Verdict::Warning => "warn",
                Verdict::Failure => "FAIL",
            };
            writeln!(formatter, "{mark}  {:<16}{}", finding.check, finding.found)?;
            if let Some(fix) = &finding.fix {
                writeln!(formatter, "      {:<16}-> {fix}", "")?;
            }
        }
        Ok(())
    }
}

/// The oldest kernel with everything the runtime asks of io_uring (SINGLE_ISSUER and DEFER_TASKRUN).
const KERNEL_MIN: (u32, u32) = (6, 1);
/// Enough for the registered buffers and rings of a few shards.
const MEMLOCK_BYTES_WANTED: u64 = 64 << 20;
/// A connection and a segment take a descriptor each.
const OPEN_FILES_WANTED: u64 = 16_384;
/// File systems on which mixing direct writes with reads through the page cache was tried.
const FILE_SYSTEMS_TRIED: &[&str] = &["ext4", "xfs"];

/// Judges what the kernel reports.
#[must_use]
pub fn examine_host(facts: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![kernel(facts)];
    findings.extend(io_uring_setting(facts));
    findings.extend(limit(
        "memlock",
        facts.memlock_bytes,
        MEMLOCK_BYTES_WANTED,
        "raise it (ulimit -l, LimitMEMLOCK= of the service, --ulimit memlock= of the container); without it, buffers are \
         not registered with the kernel",
    ));
    findings.extend(limit(
        "open files",
        facts.open_files,
        OPEN_FILES_WANTED,
        "raise it (ulimit -n, LimitNOFILE= of the service, --ulimit nofile= of the container)",
    ));
    findings.push(file_system(facts));
    findings
}

fn kernel(facts: &HostFacts) -> Finding {
    let (major, minor) = KERNEL_MIN;
    match &facts.kernel {
        Some((found_major, found_minor, release)) if (*found_major, *found_minor) >= KERNEL_MIN => {
            Finding::good("kernel", release)
        }
        Some((_, _, release)) => Finding::failure(
            "kernel",
            format!("{release} is too old"),
            format!("run a kernel of {major}.{minor} or newer"),
        ),
        None => Finding::warning(
            "kernel",
            "its version cannot be read",
            format!("make sure that it is {major}.{minor} or newer"),
        ),
    }
}

fn io_uring_setting(facts: &HostFacts) -> Option<Finding> {
    let fix = "sysctl -w kernel.io_uring_disabled=0";
    match facts.io_uring_disabled? {
        0 => None,
        1 => Some(Finding::warning(
            "io_uring",
            "kernel.io_uring_disabled is 1: only for members of kernel.io_uring_group",
            fix,
        )),
        _ => Some(Finding::failure("io_uring", "kernel.io_uring_disabled is 2: refused to everyone", fix)),
    }
}

fn limit(check: &'static str, found: Option<u64>, wanted: u64, fix: &str) -> Option<Finding> {
    let found = found?;
    Some(match found {
        u64::MAX => Finding::good(check, "unlimited"),
        enough if enough >= wanted => Finding::good(check, enough.to_string()),
        less => Finding::warning(check, format!("{less}, less than {wanted}"), fix),
    })
}

fn file_system(facts: &HostFacts) -> Finding {
    match facts.file_system.as_deref() {
        Some(kind) if FILE_SYSTEMS_TRIED.contains(&kind) => Finding::good("file system", kind),
        Some(kind) => Finding::warning(
            "file system",
            format!("{kind} has not been tried with direct I/O"),
            "keep the data directory on ext4 or xfs",
        ),
        None => Finding::warning(
            "file system",
            "its type cannot be read",
            "keep the data directory on ext4 or xfs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> HostFacts {
        HostFacts {
            kernel: Some((6, 18, "6.18.5".to_owned())),
            io_uring_disabled: Some(0),
            memlock_bytes: Some(u64::MAX),
            open_files: Some(1 << 20),
            file_system: Some("ext4".to_owned()),
        }
    }

    #[test]
    fn each_fault_is_found_alone() {
        type Fault = fn(&mut HostFacts);
        let cases: [(&str, Fault, Verdict); 9] = [
            ("kernel", |facts| facts.kernel = Some((5, 15, "5.15".to_owned())), Verdict::Failure),
            ("kernel", |facts| facts.kernel = Some((6, 0, "6.0".to_owned())), Verdict::Failure),
            ("kernel", |facts| facts.kernel = None, Verdict::Warning),
            ("io_uring", |facts| facts.io_uring_disabled = Some(1), Verdict::Warning),
            ("io_uring", |facts| facts.io_uring_disabled = Some(2), Verdict::Failure),
            ("memlock", |facts| facts.memlock_bytes = Some(8 << 20), Verdict::Warning),
            ("open files", |facts| facts.open_files = Some(1024), Verdict::Warning),
            ("file system", |facts| facts.file_system = Some("overlay".to_owned()), Verdict::Warning),
            ("file system", |facts| facts.file_system = None, Verdict::Warning),
        ];
        for (check, fault, verdict) in cases {
            let mut facts = sound();
            fault(&mut facts);
            let report = Report { findings: examine_host(&facts) };
            let bad: Vec<_> = report.findings.iter().filter(|f| f.verdict != Verdict::Good).collect();
            assert_eq!(bad.len(), 1, "{report}");
            assert_eq!((bad[0].check, bad[0].verdict), (check, verdict));
            assert!(bad[0].fix.is_some());
            assert_eq!(report.exit_code() == 1, verdict == Verdict::Failure);
        }
    }

    #[test]
    fn a_sound_machine_has_no_complaint() {
        let report = Report { findings: examine_host(&sound()) };
        assert!(report.findings.iter().all(|finding| finding.verdict == Verdict::Good), "{report}");
        assert_eq!(report.exit_code(), 0);
    }

    #[test]
    fn the_report_names_the_fix() {
        let findings =
            vec![Finding::good("kernel", "6.18"), Finding::failure("io_uring", "refused", "allow it")];
        let expected =
            "ok    kernel          6.18\nFAIL  io_uring        refused\n                      -> allow it\n";
        assert_eq!(Report { findings }.to_string(), expected);
    }
}
